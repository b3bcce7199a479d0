"""Every command of README.md works: it is run here, or by a script that is named here and holds it."""

import copy
import json
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys

import pytest

from report_checks import SOURCE
from running import BENCH, LIMIT_S, QUICK

README = (SOURCE / "README.md").read_text()
REPORT = SOURCE / "results/quickstart/4-ranks.json"
PROGRAM = re.compile(r"(mpirun -n \d+ )?build/cpu/eps-bench ")
COMMAND = re.compile(r"(scripts/\S+|build/\S+|mpirun|cmake|source|python3|git)( |$)")
NOT_COMMANDS = ("strategy    base ", "Table 2: ")  # how indented text begins that is no list of commands

# Commands that others run: where, and in which words.
ELSEWHERE = {
    "scripts/quickstart.sh": (".ci/run", ["\nscripts/quickstart.sh "]),
    "scripts/test.sh": (".ci/run", ["\nscripts/test.sh "]),
    "scripts/install_deps.sh": ("scripts/test.sh", ["\nscripts/install_deps.sh "]),
    "cmake --preset cpu && cmake --build --preset cpu":
        ("scripts/test.sh", ["\ncmake --preset cpu ", "\ncmake --build --preset cpu "]),
    "mpirun -n 4 build/cpu/eps-bench --config configs/quickstart.json":
        ("scripts/quickstart.sh", ["\nmpirun -n 4 build/cpu/eps-bench --config configs/quickstart.json "]),
    "scripts/vendor_deps.sh deps": (".ci/run", ["scripts/vendor_deps.sh deps"]),
    "cmake --preset cuda -DEPS_DEPS_DIR=deps && cmake --build --preset cuda":
        (".ci/run", ["\n    cmake --preset cuda ", "\n    cmake --build --preset cuda "]),
    "build/cuda/eps-bench --list-devices": ("scripts/test_gpu.sh", ['\n"$bench" --list-devices']),
    "mpirun -n 4 build/cuda/eps-bench --config configs/gpu-moe.json":
        ("scripts/test_gpu.sh", ['"$bench" --config "configs/$config.json"', "measure gpu-moe "]),
    "scripts/test_gpu.sh 4": (".ci/run", ["scripts/test_gpu.sh"]),
    "scripts/test_gpu.sh GPUS [PART...]": (".ci/run", ["scripts/test_gpu.sh"]),
    "scripts/gpu_figures.py FOLDER": ("tests/cli/test_gpu_figures.py", ["scripts/gpu_figures.py"]),
    "scripts/compare_model.py MEASURED.json MODELLED.json": ("tests/cli/test_sim.py", ["scripts/compare_model.py"]),
}

# What stands for something else.
FILLED_IN = {
    "--strategy NAME": "--strategy eps_serial",
    "python3 scripts/plot_results.py REPORT... [--timeline FILE]":
        f"{sys.executable} scripts/plot_results.py {REPORT} --out pictures --format svg",
}


def blocks():
    """(language, lines) of the code in the text: "" where it is indented by four."""
    for language, fenced, indented in re.findall(r"^```(\w+)\n((?:.*\n)*?)```$|((?:^ {4}.*\n)+)", README, re.MULTILINE):
        yield language, re.sub("^ {4}", "", indented, flags=re.MULTILINE).splitlines() or fenced.splitlines()


def listed_commands():
    for language, lines in blocks():
        if language == "" and not lines[0].startswith(NOT_COMMANDS):
            for line in lines:
                assert COMMAND.match(line), f"README.md has an indented line that is no known command: {line}"
                yield re.sub(r"\s+# .*", "", line)
    prose = re.sub(r"^```\w(.*\n)*?```$", "", README, flags=re.MULTILINE)
    for span in re.findall(r"(?<!`)`([^`]+)`", prose):
        span = " ".join(span.split())
        if COMMAND.match(span) and (" " in span or span.endswith(".sh")):
            yield span


def job_steps():
    """The shell text of each step of the CI job."""
    job = [lines for language, lines in blocks() if language == "yaml"]
    assert len(job) == 1
    steps = re.split(r"\n {8}run: \|\n", "\n".join(job[0]))[1:]
    return [re.sub(r"^ {10}", "", step.split("\n      - ")[0], flags=re.MULTILINE) for step in steps]


COMMANDS = list(dict.fromkeys(listed_commands()))


@pytest.fixture(name="checkout")
def make_checkout(tmp_path):
    """A folder that looks like a checkout after a build, with two reports."""
    for name in "configs", "scripts", "results":
        (tmp_path / name).symlink_to(SOURCE / name)
    (tmp_path / "build/cpu").mkdir(parents=True)
    (tmp_path / "build/cpu/eps-bench").symlink_to(BENCH)
    for name in "base.json", "new.json":
        shutil.copy(REPORT, tmp_path / name)
    return tmp_path


def shell(command, folder, **env):
    return subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=folder, env={**os.environ, **env},
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=LIMIT_S, check=False)


def test_code_is_recognised():
    assert {language for language, _ in blocks()} == {"", "cpp", "yaml"}
    assert len(COMMANDS) >= 15
    assert set(ELSEWHERE) <= set(COMMANDS)
    assert all(any(words in command for command in COMMANDS) for words in FILLED_IN)


@pytest.mark.parametrize("command", ELSEWHERE)
def test_others_run_what_they_are_said_to_run(command):
    path, words = ELSEWHERE[command]
    text = (SOURCE / path).read_text()
    assert all(part in text for part in words)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in ELSEWHERE])
def test_command(checkout, command):
    for words, meaning in FILLED_IN.items():
        command = command.replace(words, meaning)
    if re.fullmatch(r"build/cpu/test_\w+", command):  # run by ctest
        listed = shell(f"ctest --test-dir {os.environ['EPS_BUILD_DIR']} -N", checkout)
        assert re.search(rf": {os.path.basename(command)}$", listed.stdout, re.MULTILINE)
        return
    if PROGRAM.match(command) and "--config" in command:
        own = checkout / "report.json"  # a neighbour may start in the same second
        command += f" --set '/measure={json.dumps(QUICK)}' --set '/report=\"{own}\"'"
    ended = shell(command, checkout)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout or command.startswith("source ")
    assert "eps-bench: " not in ended.stderr


def slowed(report):
    report = copy.deepcopy(report)
    for result in report["results"]:
        rate = result["metrics"]["tokens_per_second"]
        for key in "value", "median", "min", "max", "ci_low", "ci_high":
            rate[key] *= 0.5
        rate["samples"] = [0.5 * sample for sample in rate["samples"]]
    return report


QUICKSTART = """#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ $# -eq 2 && $1 == --report && ! -e $2 ]]
cp measured.json "$2"
"""


@pytest.mark.parametrize("slower", [False, True])
def test_the_ci_job(tmp_path, slower):
    """Its steps, in a repository whose quickstart is quick: a change that makes everything slower, or nothing."""
    origin, work = tmp_path / "origin", tmp_path / "work"
    report = json.loads(REPORT.read_text())
    (origin / "scripts").mkdir(parents=True)
    script = origin / "scripts/quickstart.sh"
    script.write_text(QUICKSTART)
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    (origin / "measured.json").write_text(json.dumps(report))
    git = "git -c user.name=x -c user.email=x@example.org"
    made = shell(f"{git} init -q -b main && {git} add . && {git} commit -qm base && "
                 f"git clone -q . {work}", origin)
    assert made.returncode == 0, made.stderr
    if slower:
        (work / "measured.json").write_text(json.dumps(slowed(report)))
    (work / "build/cpu").mkdir(parents=True)
    (work / "build/cpu/eps-bench").symlink_to(BENCH)
    (tmp_path / "summary.md").write_text("# before\n")
    measure, judge = [shell(step, work, GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md")) for step in job_steps()]
    assert measure.returncode == 0, measure.stderr
    assert (judge.returncode, judge.stderr) == (7 if slower else 0, "")
    word = f"{len(report['results'])} {'SLOWER' if slower else 'SAME'}"
    assert f"\n{word}; " in judge.stdout
    assert (tmp_path / "summary.md").read_text().startswith(f"# before\n**{word}; ")


def test_flags_exist(tmp_path):
    plots = f"{sys.executable} {SOURCE}/scripts/plot_results.py"
    told = shell(f"{BENCH} --help; {BENCH} compare --help; {plots} --help", tmp_path)
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README))
    known = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", told.stdout)) | {"--preset", "--build"}  # cmake's
    assert len(flags) > 10
    assert flags <= known, flags - known


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) > 5
    assert not [link for link in links if "://" not in link and not (SOURCE / link).exists()]


def test_folders_of_the_map_are_those_there_are():
    rooms = {path.name for path in (SOURCE / "lib").iterdir() if path.is_dir()}
    assert {name for name in re.findall(r"^\| `lib/(\w+)/` \|", README, re.MULTILINE)} == rooms


def test_headers_may_lie_in_one_folder(tmp_path):
    """-DEPS_DEPS_DIR=FOLDER, for machines without network."""
    cache = (pathlib.Path(os.environ["EPS_BUILD_DIR"]) / "CMakeCache.txt").read_text()
    folder = tmp_path / "headers"
    folder.mkdir()
    found = dict(re.findall(r"^EPS_(CLI11|JSON|FMT|CATCH)_INCLUDE:PATH=(.*)$", cache, re.MULTILINE))
    for variable, name in ("CLI11", "CLI"), ("JSON", "nlohmann"), ("FMT", "fmt"), ("CATCH", "catch2"):
        if variable in found or variable != "CATCH":  # Catch2 3.x is no header
            (folder / name).symlink_to(f"{found[variable]}/{name}")
    made = shell(f"cmake -S {SOURCE} -B build -G Ninja -DEPS_CLI_TESTS=OFF -DEPS_DEPS_DIR={folder}", tmp_path)
    assert made.returncode == 0, made.stderr
    cache = (tmp_path / "build/CMakeCache.txt").read_text()
    assert cache.count(f"_INCLUDE:PATH={folder}\n") == len(found)
    assert "-DFMT_HEADER_ONLY" in (tmp_path / "build/build.ninja").read_text()
