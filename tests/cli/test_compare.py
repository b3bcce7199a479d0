"""eps-bench compare: verdicts on copies of a real report, what is refused, what is written, exit status."""

import copy
import json
import os
import random
import subprocess

import jsonschema
import pytest

from report_checks import SOURCE
from running import BENCH, LIMIT_S, case_of_files

REAL = json.loads((SOURCE / "results/quickstart/4-ranks.json").read_text())
SCHEMA = json.loads((SOURCE / "configs/schema/comparison.schema.json").read_text())
NAMES = [result["name"] for result in REAL["results"]]
GATE = ("--fail-on", "regression")


def scaled(factors, report=REAL):
    """A copy whose case i is `factors[i]` times as fast, each sample alike."""
    report = copy.deepcopy(report)
    for result, factor in zip(report["results"], factors, strict=True):
        rate = result["metrics"]["tokens_per_second"]
        for key in "value", "median", "min", "max", "ci_low", "ci_high":
            rate[key] *= factor
        rate["samples"] = [factor * sample for sample in rate["samples"]]
    return report


def steady(report=REAL):
    """A copy whose intervals are 1 % wide on either side."""
    report = copy.deepcopy(report)
    for result in report["results"]:
        rate = result["metrics"]["tokens_per_second"]
        rate["ci_low"], rate["ci_high"] = 0.99 * rate["median"], 1.01 * rate["median"]
    return report


def one_slow():
    return scaled([0.8] + [1] * (len(NAMES) - 1), steady())


@pytest.fixture(name="compare")
def make_compare(tmp_path):
    """compare(base, new, flags...): two reports, as objects or texts, written to files and compared."""

    def compare(base, new, *flags, stdout=subprocess.PIPE, launcher=(), **env):
        for name, report in ("base.json", base), ("new.json", new):
            (tmp_path / name).write_text(report if isinstance(report, str) else json.dumps(report))
        return subprocess.run(
            [*launcher, BENCH, "compare", "base.json", "new.json", *map(str, flags)], cwd=tmp_path, timeout=LIMIT_S,
            env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, text=True,
            check=False)

    compare.folder = tmp_path
    return compare


def as_json(ended):
    assert ended.stderr == ""
    document = json.loads(ended.stdout)
    jsonschema.Draft7Validator(SCHEMA).validate(document)
    return document


def verdicts(ended):
    return {case["name"]: case["verdict"] for case in as_json(ended)["cases"]}


def verdict_by_the_rule(base, new, percent):
    """The rule once more, from the reports alone."""
    base, new = base["metrics"]["tokens_per_second"], new["metrics"]["tokens_per_second"]
    near = abs(new["median"] - base["median"]) <= percent / 100 * base["median"]
    if not near and new["ci_low"] > base["ci_high"]:
        return "FASTER"
    if not near and new["ci_high"] < base["ci_low"]:
        return "SLOWER"
    return "SAME" if near else "NOISY"


def test_a_report_equals_itself(compare):
    ended = compare(REAL, REAL, *GATE)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "warning" not in ended.stdout
    assert ended.stdout.endswith(f"\n{len(NAMES)} SAME; no regression\n")
    rows = [line.split() for line in ended.stdout.splitlines()]
    assert [row[0] for row in rows if row[-1:] == ["SAME"]] == NAMES


@pytest.mark.parametrize("percent", [0, 3, 10])
def test_verdicts_follow_the_rule(compare, percent):
    draw = random.Random(percent)
    base = scaled([draw.uniform(0.7, 1.3) for _ in NAMES])
    new = scaled([draw.uniform(0.7, 1.3) for _ in NAMES])
    base["results"] += steady(scaled([1.0] * len(NAMES)))["results"]
    new["results"] += steady(scaled([draw.uniform(0.9, 1.1) for _ in NAMES]))["results"]
    for report in base, new:
        for idx, result in enumerate(report["results"][len(NAMES):]):
            result["name"] += "/again"
            result["params"]["chunks"] = 100 + idx
    expected = {a["name"]: verdict_by_the_rule(a, b, percent) for a, b in zip(base["results"], new["results"])}
    ended = compare(base, new, "--threshold", f"{percent}%", "--format", "json", *GATE)
    assert verdicts(ended) == expected
    assert len(set(expected.values())) >= 3  # the draw tries the rule
    assert ended.returncode == (7 if "SLOWER" in expected.values() else 0)


def test_the_status_tells_of_a_regression_only_where_asked(compare):
    assert compare(steady(), one_slow()).returncode == 0
    ended = compare(steady(), one_slow(), *GATE)
    assert (ended.returncode, ended.stderr) == (7, "")
    assert ended.stdout.endswith(f"\n1 SLOWER, {len(NAMES) - 1} SAME; regression: {NAMES[0]}\n")
    assert compare(one_slow(), steady(), *GATE).returncode == 0  # faster
    assert compare(steady(), one_slow(), *GATE, "--threshold", "25%").returncode == 0
    wide = scaled([0.8] + [1] * (len(NAMES) - 1))
    wide["results"][0]["metrics"]["tokens_per_second"]["ci_high"] = 1e9
    assert compare(REAL, wide, *GATE).returncode == 0  # noisy


def test_missing_and_new_cases_are_named_and_are_no_regression(compare):
    base, new = copy.deepcopy(REAL), copy.deepcopy(REAL)
    del base["results"][2], new["results"][4]
    ended = compare(base, new, "--format", "json", *GATE)
    assert ended.returncode == 0
    told = as_json(ended)
    assert told["counts"] == {"FASTER": 0, "SLOWER": 0, "SAME": len(NAMES) - 2, "NOISY": 0, "INVALID": 0, "MISSING": 1, "NEW": 1}
    by_verdict = {case["verdict"]: case for case in told["cases"]}
    assert by_verdict["MISSING"]["name"] == NAMES[4] and by_verdict["MISSING"]["new"] is None
    assert by_verdict["NEW"]["name"] == NAMES[2] and by_verdict["NEW"]["base"] is None
    assert [case["name"] for case in told["cases"]] == [n for n in NAMES if n != NAMES[2]] + [NAMES[2]]


def invalid(report, idx):
    report = copy.deepcopy(report)
    report["results"][idx].update(valid=False, invalid_reasons=["reference: layer 2 differs"])
    return report


def test_a_case_that_lost_its_validity_is_a_regression(compare):
    ended = compare(REAL, invalid(REAL, 3), *GATE)
    assert ended.returncode == 7
    assert f"\n{NAMES[3]}: INVALID in the new report: reference: layer 2 differs\n" in ended.stdout
    ended = compare(invalid(REAL, 3), REAL, *GATE, "--format", "json")
    assert ended.returncode == 0
    assert verdicts(ended) == {**dict.fromkeys(NAMES, "SAME"), NAMES[3]: "INVALID"}


def changed(pointer, value, report=REAL):
    report = copy.deepcopy(report)
    *parents, last = pointer.strip("/").split("/")
    place = report
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place[key]
    place[int(last) if isinstance(place, list) else last] = value
    return report


@pytest.mark.parametrize(
    "pointer, value, said",
    [
        ("/environment/hosts/0/name", "other", "host: vm in the base, other in the new report"),
        ("/environment/ranks", REAL["environment"]["ranks"][:2], "ranks: 4 in the base, 2 in the new report"),
        ("/environment/ranks/3/threads", 2, "threads per rank: 1 in the base, 1, 2 in the new report"),
        ("/environment/env/OMP_NUM_THREADS", "2", "environment variables differ: OMP_NUM_THREADS"),
        ("/tool/build/type", "Debug", "build: Release in the base, Debug in the new report"),
        ("/run/config/dtype", "bf16", "dtype: f32 in the base, bf16 in the new report"),
        ("/run/config/backend", "sim", "the base is measured, the new report modelled"),
        ("/run/config/workload/seed", 7, "workload/seed: 1 in the base, 7 in the new report"),
        ("/run/interrupted", True, "the run of new.json did not finish: cases may be missing"),
        ("/run/utc_end", None, "the run of new.json did not finish: cases may be missing"),
    ],
)
def test_other_conditions_are_warned_of(compare, pointer, value, said):
    ended = compare(REAL, changed(pointer, value))
    assert ended.returncode == 0
    assert f"\nwarning: {said}\n" in ended.stdout
    for style in "json", "markdown":
        assert said in compare(REAL, changed(pointer, value), "--format", style).stdout


def test_modelled_figures_have_no_noise(compare):
    def modelled(factor):
        report = scaled([factor] * len(NAMES))
        report["run"]["config"]["backend"] = "sim"
        for result in report["results"]:
            rate = result["metrics"]["tokens_per_second"]
            rate.update(n=1, samples=[rate["median"]], ci_low=None, ci_high=None)
        return report

    told = as_json(compare(modelled(1), modelled(0.9), "--format", "json"))
    assert told["counts"]["SLOWER"] == len(NAMES)
    assert told["base"]["modelled"] and told["new"]["modelled"] and told["warnings"] == []


def without(key):
    return {k: v for k, v in REAL.items() if k != key}


@pytest.mark.parametrize(
    "new, said",
    [
        ("", "new.json: is empty"),
        ("{]", "new.json: not JSON"),
        ("[]", "new.json: the document is [], expected an object"),
        ('{"traceEvents": []}', "new.json: is not a report of eps-bench: its /schema is missing"),
        (changed("/schema", "eps-bench/comparison"), 'its /schema is "eps-bench/comparison"'),
        (changed("/schema_version", 2), "new.json: /schema_version is 2, expected 1"),
        (without("results"), "new.json: /results is missing"),
        (changed("/results", []), "new.json: /results is empty"),
        (changed("/results/3/metrics/tokens_per_second/median", None),
         "/results/3/metrics/tokens_per_second/median is null"),
        (changed("/run/config/workload/batch", 16), "of different work, which cannot be compared: "
         "/run/config/workload/batch is 8 and 16"),
        (changed("/run/config/scope", "moe"), '/run/config/scope is "model" and "moe"'),
        (changed("/results", [changed("/results/0/params/strategy", "x")["results"][0] | {"name": "x"}]),
         f"have no case in common: the one has {', '.join(NAMES[:3])}, ..., the other x"),
    ],
    ids=range(12),
)
def test_what_cannot_be_compared_is_refused(compare, new, said):
    ended = compare(REAL, new, *GATE)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("eps-bench: ") and ended.stderr.count("\n") == 1
    assert said in ended.stderr


@pytest.mark.parametrize(
    "words, said",
    [
        (["compare"], "BASE is required"),
        (["compare", "a.json"], "NEW is required"),
        (["compare", "none.json", "none.json"], "none.json: no such file"),
        (["compare", ".", "."], ".: is a folder, expected a file"),
        (["compare", "a", "b", "--threshold", "3"], "--threshold is '3', expected a percentage"),
        (["compare", "a", "b", "--fail-on", "noise"], "--fail-on is 'noise', expected regression"),
        (["--config", "x.json", "compare", "a", "b"], "--config belongs to a run, not to compare"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_command_lines_that_are_refused(tmp_path, words, said):
    ended = subprocess.run([BENCH, *words], cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr and ended.stderr.count("\n") == 1


def test_a_file_gets_the_document_and_the_terminal_the_table(compare):
    table = compare(steady(), one_slow()).stdout
    markdown = compare(steady(), one_slow(), "--format", "markdown").stdout
    assert f"| {NAMES[0]} | " in markdown and markdown.startswith(f"**1 SLOWER, {len(NAMES) - 1} SAME; regression: {NAMES[0]}**\n")
    ended = compare(steady(), one_slow(), "--format", "markdown", "--output", "new/folder/c.md", *GATE)
    assert (ended.returncode, ended.stdout) == (7, table)
    assert (compare.folder / "new/folder/c.md").read_text() == markdown


def test_a_file_that_is_there_stays(compare):
    path = compare.folder / "c.json"
    path.write_text("mine")
    ended = compare(REAL, REAL, "--output", path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "exists already: give another path, or --overwrite" in ended.stderr
    assert path.read_text() == "mine"
    assert compare(REAL, REAL, "--output", path, "--overwrite", "--format", "json").returncode == 0
    assert json.loads(path.read_text())["schema"] == "eps-bench/comparison"
    for name in "base.json", "new.json":
        ended = compare(REAL, REAL, "--output", f"./{name}", "--overwrite")
        assert ended.returncode == 2 and "is one of the reports to compare" in ended.stderr
        assert json.loads((compare.folder / name).read_text()) == REAL


def test_what_cannot_be_printed_is_an_error(compare):
    with open("/dev/full", "w", encoding="utf-8") as full:
        ended = compare(REAL, REAL, stdout=full)
    assert ended.returncode == 5
    assert "cannot be printed: No space left" in ended.stderr


def test_it_needs_no_mpi(compare):
    broken = {"OPAL_PREFIX": "/nowhere"}  # with which MPI does not start
    assert compare(REAL, REAL, **broken).returncode == 0
    run = subprocess.run([BENCH, "--config", SOURCE / "configs/quickstart.json", "--dry-run"], capture_output=True,
                         timeout=LIMIT_S, env={**os.environ, **broken}, check=False)
    assert run.returncode != 0


def test_under_mpirun_one_process_speaks(compare):
    ended = compare(steady(), one_slow(), *GATE, launcher=["mpirun", "-n", "3"])
    assert ended.returncode == 7
    assert ended.stdout == compare(steady(), one_slow()).stdout


def test_a_report_as_it_is_written_today(bench):
    done = bench.valid(case_of_files("tiny_v2", cases=[{"strategy": ["ep", "eps"]}]))
    ended = subprocess.run([BENCH, "compare", done.report_path, done.report_path, "--format", "json"],
                           capture_output=True, text=True, timeout=LIMIT_S, check=False)
    told = as_json(ended)
    assert [case["verdict"] for case in told["cases"]] == ["SAME", "SAME"]
    assert told["cases"][0]["notes"] == [f"no interval in {where}: 1 of at least 6 samples"
                                         for where in ("the base", "the new report")]
    assert told["base"]["run_id"] == done.report["run"]["id"]
