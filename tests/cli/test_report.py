"""The report of real runs: obeys its schema, follows from its samples, is never lost and never in the way."""

import copy
import datetime
import json
import re

import pytest

from report_checks import read_checked
from running import CASES, LIMIT_S, QUICK, Bench, case_of_files, placement

pytestmark = pytest.mark.xdist_group("report")  # one run serves all tests

RANKS = 4
CONFIG = case_of_files(
    "tiny_v2",
    measure={"warmup": 1, "min_repetitions": 7, "max_repetitions": 7, "max_seconds": 60},
    cases=[
        {"strategy": "ep", "gemm": "dense"},
        {"strategy": "ep", "overlap": True, "gemm": "dense"},
        {"strategy": "eps", "chunks": [1, 2, 3], "gemm": "dense"},
        {"strategy": "eps_serial", "chunks": 3, "gemm": "dense"},
        {"strategy": "eps", "gemm": "dense", "chunks": 2, "dedup": False},
        {"strategy": "dp"},
        {"strategy": "ep", "dtype": "bf16"},
        {"strategy": "tp"},
        placement(tp=2, dp=2, ep=4),
        {"strategy": "eps", "dtype": "bf16"},
    ],
)
NUM_TOKENS, TOP_K, MOE_LAYERS, EXPERTS = 48, 3, 3, 16


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """One run on 4 ranks, looked at by most tests."""
    return Bench(tmp_path_factory.mktemp("first")).valid(CONFIG, ranks=RANKS)


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """The same config once more, in another folder, the numbers of ranks being the same."""
    return Bench(tmp_path_factory.mktemp("again")).valid(CONFIG, "--name", "again", ranks=RANKS)


def results_of(done, **params):
    """The results whose params hold these values."""
    return [r for r in done.report["results"] if all(r["params"].get(key) == value for key, value in params.items())]


def test_every_case_is_there_in_the_order_of_the_config(first):
    params = [result["params"] for result in first.report["results"]]
    strategies = "ep ep eps eps eps eps_serial eps dp ep tp placement eps"
    assert [p["strategy"] for p in params] == strategies.split()
    assert [p["chunks"] for p in params if p["strategy"] == "eps"] == [1, 2, 3, 2, "auto"]
    assert params[10]["placement"] == {"pp": 1, "attention": {"tp": 2, "dp": 2}, "experts": {"etp": 1, "ep": 4, "edp": 1}}
    assert first.report["run"]["interrupted"] is False


def test_metrics_follow_from_the_samples(first):
    for result in first.report["results"]:
        rate, seconds = result["metrics"]["tokens_per_second"], result["metrics"]["pass_seconds"]
        assert (rate["unit"], rate["better"]) == ("tokens/s", "higher")
        assert (seconds["unit"], seconds["better"]) == ("s", "lower")
        assert rate["n"] == seconds["n"] == 7
        for r, s in zip(rate["samples"], seconds["samples"]):
            assert s > 0
            assert r == pytest.approx(result["tokens"] / s, rel=1e-12)
        # Rank-based: with 7 samples 95 % lies between the smallest and the largest.
        assert (rate["ci_low"], rate["ci_high"]) == (rate["min"], rate["max"])
        assert result["tokens"] == NUM_TOKENS
        assert result["model"]["achieved"] == pytest.approx(result["model"]["flops"] / seconds["median"], rel=1e-9)


def test_what_auto_came_to_stands_beside_what_was_asked(first):
    for result in first.report["results"]:
        asked = {key for key, value in result["params"].items() if value == "auto" and key != "transport"}
        assert set(result["chosen"]) - {"transport"} == asked, result["name"]
    eps = results_of(first, strategy="eps", chunks="auto")[0]
    assert eps["chosen"]["chunks"] >= 1
    assert eps["chosen"]["gemm"] in ("group", "dense")


def test_names_are_unique_and_stable(first, again):
    names = [result["name"] for result in first.report["results"]]
    assert len(set(names)) == len(names) == 12
    assert names == [result["name"] for result in again.report["results"]]
    swapped = copy.deepcopy(CONFIG)
    swapped["cases"] = [dict(reversed(case.items())) for case in swapped["cases"]][2:3]
    bench = Bench(again.report_path.parent)
    done = bench.valid({**swapped, "report": str(bench.folder / "swapped.json"), "measure": QUICK}, ranks=RANKS)
    assert [r["name"] for r in read_checked(bench.folder / "swapped.json")["results"]] == names[2:5]
    assert done.stdout.count("VALID") + done.stdout.count("NOISY") >= 3


def test_cases_of_equal_order_agree_bit_for_bit(first):
    """ep, ep with overlap, eps at every n and eps_serial, with the same GEMM kind and dedup."""
    ep = results_of(first, strategy="ep", overlap=False, dtype="f32")[0]
    for result in first.report["results"]:
        same_order = result["params"].get("gemm") == "dense" and result["params"].get("dedup") is True and result is not ep
        agreements = [check for check in result["checks"] if check["kind"] == "agreement"]
        assert all(check["passed"] for check in agreements if check["decisive"])
        bitwise = [check for check in agreements if check["bound"] == 0]
        if same_order and result["name"] != ep["name"]:
            assert len(bitwise) == 1
            assert (bitwise[0]["passed"], bitwise[0]["decisive"], bitwise[0]["max_error"]) == (True, True, 0)
            assert ep["name"] in bitwise[0]["origin"]
            assert bitwise[0]["compared"] >= 2 * 128  # the logits of both sequences
    tp = results_of(first, strategy="tp")[0]
    assert [check["bound"] > 0 for check in tp["checks"] if check["kind"] == "agreement"] == [True]
    bf16 = results_of(first, strategy="eps", dtype="bf16")[0]
    assert {check["kind"] for check in bf16["checks"]} == {"reference", "plan", "agreement"}


def test_checks_say_what_they_compared(first):
    for result in first.report["results"]:
        assert result["check"]["kind"] == "reference"
        assert all(check["compared"] > 0 and check["origin"] for check in result["checks"])
        assert result["check"]["tokens"] == NUM_TOKENS * 4  # once a layer


def test_load_adds_up(first):
    """Every token goes to top_k experts in every MoE layer, whatever the placement."""
    rows = NUM_TOKENS * TOP_K * MOE_LAYERS
    for result in first.report["results"]:
        load = result["load"]
        per_rank = [rank["routed_rows"] for rank in result["per_rank"]]
        assert load["rows_per_rank"] == per_rank
        shards = RANKS if result["params"]["strategy"] == "tp" else 1  # each rank computes a slice of every row
        assert sum(per_rank) == rows * shards
        assert load["max_over_mean"] == pytest.approx(max(per_rank) * RANKS / sum(per_rank))
        mean = NUM_TOKENS * TOP_K / EXPERTS
        assert load["expert_max_over_mean"] == pytest.approx(load["expert_max_rows"] / mean)
        assert load["expert_min_rows"] <= mean <= load["expert_max_rows"]
    exact = json.loads((CASES / "tiny_v2/case.json").read_text())["tokens_per_expert"]
    counts = [count for layer in exact.values() for count in layer]
    load = first.report["results"][0]["load"]
    assert (load["expert_min_rows"], load["expert_max_rows"]) == (min(counts), max(counts))


def test_ranks_hold_what_their_placement_gives_them(first):
    by_strategy = {result["params"]["strategy"]: result["per_rank"] for result in reversed(first.report["results"])}
    assert [rank["tokens"] for rank in by_strategy["ep"]].count(24) == 2  # whole sequences: two ranks have none
    assert [rank["tokens"] for rank in by_strategy["tp"]] == [48] * 4
    for rank in range(RANKS):
        everything = by_strategy["dp"][rank]["weight_bytes"]
        assert all(everything > by_strategy[split][rank]["weight_bytes"] for split in ("ep", "tp"))
    for ranks in by_strategy.values():
        assert all(rank["peak_bytes"] >= rank["weight_bytes"] > 0 for rank in ranks)


def test_phases_and_communication(first):
    for result in first.report["results"]:
        phases = result["phases"]
        assert {"linear", "attention", "gate", "rms_norm"} <= {phase["op"] for phase in phases}
        busy = sum(phase["busy_seconds"] for phase in phases if phase["exposed_seconds"] is not None)
        exposed = sum(phase["exposed_seconds"] for phase in phases if phase["exposed_seconds"] is not None)
        communication = result["communication"]
        # Lanes that are busy at once count once.
        assert 0 <= communication["busy_seconds"] <= busy * (1 + 1e-9) + 1e-12
        assert communication["exposed_seconds"] <= exposed * (1 + 1e-9) + 1e-12
        if result["params"]["strategy"] == "dp":
            assert (communication["busy_seconds"], communication["hidden"]) == (0, None)
        else:
            assert communication["busy_seconds"] > 0
            assert communication["hidden"] == pytest.approx(1 - communication["exposed_seconds"] / communication["busy_seconds"])
    lanes = {phase["lane"] for phase in results_of(first, strategy="eps", chunks=3)[0]["phases"]}
    assert {"compute", "dispatch", "combine"} <= lanes


def test_the_run_is_described(first, again):
    report = first.report
    run = report["run"]
    assert run["argv"][0].endswith("eps-bench")
    assert run["argv"][1:] == ["--config", str(first.report_path.parent / "config.json")]
    assert run["config"]["workload"]["seed"] == 1  # defaults are written out
    assert run["config"]["cases"][0]["overlap"] is False
    assert run["config"]["report"] == str(first.report_path)
    begin, end = (datetime.datetime.strptime(run[key], "%Y-%m-%dT%H:%M:%SZ") for key in ("utc_start", "utc_end"))
    assert datetime.timedelta(0) <= end - begin <= datetime.timedelta(seconds=LIMIT_S)
    other = again.report["run"]
    assert other["id"] != run["id"]
    assert other["config_sha256"] != run["config_sha256"]  # another name and path
    assert other["config"]["name"] == "again"
    environment = report["environment"]
    assert len(environment["ranks"]) == RANKS
    assert "Open MPI" in environment["mpi"] and "oneDNN" in environment["blas"]
    assert {"OMPI_MCA_rmaps_base_oversubscribe"} <= set(environment["env"]) and "PATH" not in environment["env"]


def test_the_config_in_the_report_runs_again(first):
    bench = Bench(first.report_path.parent)
    config = first.report["run"]["config"]
    config.update(report=str(bench.folder / "copy.json"), cases=config["cases"][:2])
    bench.valid(json.dumps(config), ranks=RANKS)
    copied = read_checked(bench.folder / "copy.json")
    assert [r["name"] for r in copied["results"]] == [r["name"] for r in first.report["results"][:2]]
    assert copied["run"]["config"] == config


def test_the_table_shows_every_case(first):
    lines = first.stdout.splitlines()
    assert "tiny_v2 4 layers" in lines[0] and "48 tokens" in lines[0] and "4 ranks" in lines[0]
    begin = next(i for i, line in enumerate(lines) if line.startswith("strategy"))
    rows = lines[begin + 2 : begin + 14]
    assert [row.split()[0] for row in rows] == [result["params"]["strategy"] for result in first.report["results"]]
    for row, result in zip(rows, first.report["results"]):
        rate = result["metrics"]["tokens_per_second"]["value"]
        assert f"{rate:.0f}" in row.split()
        assert row.split()[-1] == ("NOISY" if "NOISY" in result["flags"] else "VALID")
    assert f"report: {first.report_path}" in lines
    said = [line for line in first.stderr.splitlines() if not line.startswith("calibration: ")]
    assert said == []  # progress is for terminals


def test_an_existing_report_is_kept(bench):
    config = case_of_files("tiny_v2", cases=[{"strategy": "ep"}])
    bench.report_path.write_text("precious")
    done = bench(config)
    assert (done.status, len(done.errors)) == (2, 1)
    assert str(bench.report_path) in done.errors[0] and "--overwrite" in done.errors[0]
    assert bench.report_path.read_text() == "precious"
    bench.valid(config, "--overwrite")


def test_folders_are_made_and_names_filled_in(bench):
    config = case_of_files("tiny_v2", cases=[{"strategy": "ep"}], report="new/er/{name}-{utc}-{name}.json")
    config["name"] = "the name"
    assert bench(config).status == 0
    (path,) = (bench.folder / "new/er").iterdir()
    assert re.fullmatch(r"the name-[0-9]{4}.*Z?-the name\.json", path.name)
    report = read_checked(path)
    digits = re.sub(r"\D", "", report["run"]["utc_start"])
    assert re.sub(r"\D", "", path.name) == digits


def test_the_report_lies_under_results_local_unless_told_otherwise(bench):
    config = case_of_files("tiny_v2_lite", cases=[{"strategy": "ep"}], measure=QUICK)
    assert bench(json.dumps(config), ranks=1).status == 0
    (path,) = (bench.folder / "results/local").iterdir()
    assert path.name.startswith("tiny_v2_lite-") and read_checked(path)["results"][0]["valid"]


def test_too_few_samples_are_invalid_and_written(bench):
    measure = {**QUICK, "min_repetitions": 5, "max_repetitions": 3}
    done = bench(case_of_files("tiny_v2", cases=[{"strategy": "ep"}], measure=measure))
    assert done.status == 4
    (result,) = done.report["results"]
    assert not result["valid"]
    assert result["metrics"]["tokens_per_second"]["n"] == 3
    assert len(result["invalid_reasons"]) == 1 and "min_repetitions" in result["invalid_reasons"][0]
    assert "INVALID" in done.stdout


def test_no_repetition_at_all(bench):
    done = bench(case_of_files("tiny_v2", cases=[{"strategy": "ep"}], measure={**QUICK, "max_seconds": 0}))
    assert done.status == 4
    assert done.report["results"][0]["metrics"]["tokens_per_second"]["value"] is None


def test_more_threads_than_cores_are_invalid(bench):
    done = bench(case_of_files("tiny_v2", cases=[{"strategy": "ep"}]), env={"OMP_NUM_THREADS": "64"})
    assert done.status == 4
    assert "OMP_NUM_THREADS" in done.report["results"][0]["invalid_reasons"][0]
