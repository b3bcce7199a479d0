"""scripts/test_gpu.sh with programs that only say that they were called: its parts, verdicts and archive."""

import pathlib
import re
import shutil
import subprocess
import tarfile

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ["test_kernels_cuda", "test_comm_cuda", "test_backend_cuda", "mpi_comm_cuda", "bench_kernels_cuda", "bench_gemms",
            "bench_device_exchange", "bench_submission"]
BENCH = """#!/usr/bin/env bash
echo "$*" >> calls
while [[ $# -gt 0 ]]; do
    [[ $1 != --report ]] || echo "{\\"path\\": \\"$PWD/x\\"}" > "$2"
    [[ $1 != --config || $2 != *"${BROKEN:-nothing}"* ]] || exit 4
    shift
done
"""


@pytest.fixture(name="checkout")
def make_checkout(tmp_path):
    folder = tmp_path / "checkout"
    shutil.copytree(SOURCE / "scripts", folder / "scripts")
    for name in "configs", "tests":
        (folder / name).symlink_to(SOURCE / name)
    for name in "programs", "path":
        (folder / name).mkdir()

    def script(path, text):
        path.write_text(text)
        path.chmod(0o755)

    for name in PROGRAMS:
        script(folder / "programs" / name, f"#!/bin/sh\necho {name}\n")
    script(folder / "programs/eps-bench", BENCH)
    script(folder / "path/mpirun", '#!/bin/sh\nshift 2\nexec "$@"\n')
    return folder


def run(checkout, *arguments, **env):
    return subprocess.run(
        ["bash", "scripts/test_gpu.sh", *map(str, arguments)], cwd=checkout, capture_output=True, text=True, timeout=120, check=False,
        env={"PATH": f"{checkout}/path:/usr/bin:/bin", "HOME": "/home/nobody", "EPS_GPU_BUILD": "programs",
             "EPS_GPU_OUT": str(checkout / "out"), **env})


@pytest.mark.parametrize("gpus", [1, 2, 4])
def test_parts(checkout, gpus):
    done = run(checkout, gpus, "kernels", "exchange", "cases", "figures")
    assert (done.returncode, done.stderr) == (0, "")
    last = done.stdout.splitlines()[-1]
    assert re.findall(r"(\w+) passed in \d+ s", last) == ["kernels", "exchange", "cases", "moe", "model", "tables", "benches"]
    with tarfile.open(checkout / "out/gpu-reports.tar.gz") as archive:
        names = archive.getnames()
        told = archive.extractfile("moe-16384.json").read().decode()
    assert {"moe-16384.json", "attention-4096.json", "model-1024.json", "experts-3072.json", "gemms.txt"} <= set(names)
    assert ("wire.json" in names) == ("strategies.json" in names) == (gpus > 1)
    assert str(checkout) not in told
    calls = (checkout / "calls").read_text().splitlines()
    for call in calls:
        config = re.search(r"--config (\S+)", call)
        assert config is None or (SOURCE / config[1]).exists()
    lengths = {length: int(re.search(rf"--name gpu-lengths-{length} .*--batch (\d+)", "\n".join(calls))[1]) for length in (1024, 8192)}
    assert lengths == {1024: 16 * gpus, 8192: 2 * gpus}
    (moe,) = [call for call in calls if "--name gpu-moe-16384 " in call]
    assert ('/cases=[{"strategy": "ep", "gemm": ["group", "dense"]}]' in moe) == (gpus == 1)
    layers = {int(found) for found in re.findall(r"--layers (\d+)", "\n".join(calls))}
    assert layers == {15 * gpus}


def test_a_failure_is_told_and_the_rest_goes_on(checkout):
    done = run(checkout, 2, "moe", "benches", BROKEN="gpu-wire")
    assert done.returncode == 1
    assert re.search(r"moe FAILED in \d+ s; benches passed in \d+ s", done.stdout.splitlines()[-1])
    assert done.stderr.startswith("test_gpu: failed: mpirun -n 2 programs/eps-bench --config configs/gpu-wire.json")
    assert done.stderr.count("\n") == 1


def test_an_unknown_part(checkout):
    done = run(checkout, 2, "everything")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("test_gpu: no part 'everything'")
