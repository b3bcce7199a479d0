"""The script that checks the walls finds each kind of offence."""
import os
import pathlib
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(os.environ["EPS_SOURCE_DIR"])
SCRIPT = SOURCE / "scripts" / "check_includes.py"
HEADER = "// What this is for.\n#pragma once\n"


def check(root):
    return subprocess.run([sys.executable, SCRIPT, "--root", root], capture_output=True, text=True, check=False)


@pytest.fixture(name="tree")
def make_tree(tmp_path):
    """A small project without offences: rooms base < plan < backend/cpu, and comm beside them."""
    files = {
        "lib/CMakeLists.txt": "eps_room(base)\neps_room(plan DEPS base)\neps_room(comm DEPS base LIBRARIES eps_mpi)\n"
        "eps_room(backend_cpu FOLDER backend/cpu DEPS plan)\n",
        "lib/base/error.hpp": HEADER,
        "lib/plan/op.hpp": HEADER + '#include "base/error.hpp"\n',
        "lib/comm/mpi.cpp": "#include <mpi.h>\n",
        "lib/backend/cpu/executor.cpp": '#include <vector>\n#include "base/error.hpp"\n#include "plan/op.hpp"\n',
        "app/main.cpp": '#include <mpi.h>\n#include "plan/op.hpp"\n',
        "tests/plan/test_op.cpp": '#include "plan/op.hpp"\n',
    }
    for name, text in files.items():
        write(tmp_path, name, text)
    return tmp_path


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_clean_tree_passes(tree):
    result = check(tree)
    assert result.returncode == 0, result.stdout
    assert "6 files, 4 rooms, 0 offences" in result.stdout


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("lib/base/up.cpp", '#include "plan/op.hpp"\n', 'room base may not see room plan ("plan/op.hpp")'),
        ("lib/plan/side.cpp", '  #  include "comm/x.hpp"\n', 'no such file "lib/comm/x.hpp"'),
        ("lib/plan/app.cpp", '#include "app/options.hpp"\n', 'may not see "app/options.hpp"'),
        ("lib/plan/mpi.cpp", "#include <mpi.h>\n", "<mpi.h> may be included only by lib/comm/"),
        ("lib/plan/dnnl.cpp", '#include "oneapi/dnnl/dnnl.hpp"\n', "may be included only by lib/kernels/"),
        ("lib/plan/json.hpp", HEADER + "#include <nlohmann/json.hpp>\n", "may be included only by"),
        ("lib/plan/version.cpp", '#include "eps_version.hpp"\n', "belongs to app/"),
        ("lib/plan/silent.hpp", "#pragma once\n", "does not say what the file is for"),
        ("lib/plan/twice.hpp", "// Why.\n", "no #pragma once"),
        ("lib/stray/x.cpp", "", "its folder is no room"),
        ("app/cuda.cpp", "#include <cuda_runtime.h>\n", "may be included only by"),
    ],
)
def test_each_offence_is_named(tree, name, text, said):
    write(tree, name, text)
    result = check(tree)
    assert result.returncode == 1
    assert f"{name}: " in result.stdout and said in result.stdout


def test_a_room_may_name_only_rooms_above_it(tree):
    write(tree, "lib/CMakeLists.txt", "eps_room(base DEPS plan)\neps_room(plan DEPS base)\neps_room(comm)\n")
    assert "base names plan, which is not a room above it" in check(tree).stdout


def test_an_empty_tree_is_an_error(tmp_path):
    write(tmp_path, "lib/CMakeLists.txt", "")
    result = check(tmp_path)
    assert result.returncode == 1 and "nothing was checked" in result.stderr
