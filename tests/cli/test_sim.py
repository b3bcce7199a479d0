"""Cases on virtual clocks: same reports, tables and timelines, and `modelled` everywhere."""

import json
import subprocess
import sys

import pytest

from report_checks import SOURCE
from running import Bench

CONFIG = {
    "name": "clocks",
    "backend": "sim",
    "calibration": "h800x8",
    "model": {"preset": "deepseek-v2", "layers": 2},
    "ranks": 8,
    "workload": {"batch": 8, "sequence_length": 1024, "routing": {"kind": "uniform"}},
    "cases": [
        {"strategy": ["ep", "tp", "tp_ep", "dp"]},
        {"strategy": "pp", "chunks": 2},
        {"strategy": "eps", "chunks": [1, 5]},
        {"strategy": "eps", "chunks": 5, "link": {"gb_per_s": 10, "latency_us": 5}},
        {"strategy": "eps_serial", "chunks": 5},
    ],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("sim"))
    timeline = bench.folder / "sim.trace.json"
    done = bench.valid(CONFIG, "--timeline", timeline, ranks=1)
    done.timeline = json.loads(timeline.read_text())["traceEvents"]
    return done


def seconds(result):
    return result["metrics"]["pass_seconds"]["median"]


def test_every_result_says_that_it_is_modelled(run):
    for result in run.results().values():
        assert "MODELLED" in result["flags"] and "NOISY" not in result["flags"]
        assert any("h800x8" in note for note in result["notes"])
        assert len(result["metrics"]["pass_seconds"]["samples"]) == 1
        assert len(result["per_rank"]) == 8 and sum(rank["tokens"] for rank in result["per_rank"]) >= 8 * 1024
        assert result["dtype"] == "bf16"
        (check,) = result["checks"]
        assert check["kind"] == "plan" and check["passed"] and check["compared"] > 100
    assert "8 ranks, modelled" in run.stdout.splitlines()[0]
    lines = [line for line in run.stdout.splitlines() if line.rstrip().endswith("MODELLED")]
    assert len(lines) == len(run.results())


def test_timeline_shows_all_ranks(run):
    cases = [event for event in run.timeline if event.get("cat") == "case"]
    assert {event["pid"] for event in cases} == set(range(8))
    assert all(event["args"]["modelled"] for event in cases)
    names = [event["args"]["name"] for event in run.timeline if event["name"] == "process_name"]
    assert all("modelled" in name for name in names)


def test_times_make_sense(run):
    results = run.results()
    of = {name.split("/dtype")[0]: seconds(result) for name, result in results.items() if result["link"] is None}
    assert of["eps/chunks=5"] < of["eps/chunks=1"] < 1.05 * of["ep"]
    assert of["eps/chunks=5"] < of["eps_serial/chunks=5"]
    (slow,) = [seconds(result) for result in results.values() if result["link"]]
    assert slow > 1.5 * of["eps/chunks=5"]


def test_a_second_run_is_the_same(run, tmp_path):
    again = Bench(tmp_path).valid(CONFIG, ranks=2)  # the second rank only waits
    assert {name: seconds(result) for name, result in again.results().items()} == {
        name: seconds(result) for name, result in run.results().items()}


def test_layers_that_are_alike_are_not_simulated_one_by_one(tmp_path):
    """40 layers on 64 ranks by extrapolation, against the same on 8 ranks, of which blocks of 8 are copies."""
    def of(folder, ranks):
        cases = [{"placement": {"attention": {"dp": ranks}, "experts": {"ep": 8, "edp": ranks // 8}}}]
        folder.mkdir()
        done = Bench(folder).valid({
            **CONFIG, "model": {"preset": "deepseek-v2", "layers": 40}, "ranks": ranks, "cases": cases,
            "workload": {**CONFIG["workload"], "batch": ranks, "sequence_length": 256}}, ranks=1)
        (result,) = done.results().values()
        return result

    few, many = of(tmp_path / "few", 8), of(tmp_path / "many", 64)
    assert not any("were simulated" in note for note in few["notes"])
    assert any("3 layers were simulated; each of the other 37" in note for note in many["notes"])
    assert seconds(many) == pytest.approx(seconds(few), rel=0.1)
    assert sum(many["load"]["rows_per_rank"]) == pytest.approx(8 * sum(few["load"]["rows_per_rank"]), rel=0.01)


def test_flags_that_ask_for_started_ranks_are_refused(tmp_path):
    done = Bench(tmp_path)(CONFIG, "--plan", ranks=1)
    assert done.status == 2 and '"sim" only models them' in done.errors[0]


def test_comparison_of_model_and_measurement(run, tmp_path):
    measured = json.loads(run.report_path.read_text())
    measured["run"]["config"]["backend"] = "cpu"
    for result in measured["results"]:
        result["metrics"]["pass_seconds"]["median"] *= 1.25
    path = tmp_path / "measured.json"
    path.write_text(json.dumps(measured))
    command = [sys.executable, SOURCE / "scripts/compare_model.py", path, run.report_path]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "9 cases: median error 20.0%, largest 20.0%" in told
    assert "(100.0%)" in told
    refused = subprocess.run([*command[:2], path, path], capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "must be measured" in refused.stderr
