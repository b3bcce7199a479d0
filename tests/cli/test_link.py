"""The emulated wire, end to end: it is waited for, it is named everywhere, and it changes no bit."""

import json

import pytest

from running import Bench

LATENCY_S = 5e-3
LINK = {"gb_per_s": 0.05, "latency_us": LATENCY_S * 1e6}
CONFIG = {
    "name": "wire",
    "model": {"preset": "tiny", "layers": 3},
    "workload": {"batch": 4, "sequence_length": 16},
    "cases": [
        {"strategy": ["ep", "tp"], "link": [None, LINK]},
        {"strategy": "eps", "chunks": 2, "link": LINK},
        {"strategy": "pp", "link": LINK},
    ],
}
MOE_LAYERS = 2


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("wire"))
    bench.timeline = bench.folder / "wire.trace.json"
    done = bench.valid(CONFIG, "--timeline", bench.timeline)
    done.timeline = json.loads(bench.timeline.read_text())["traceEvents"]
    return done


def seconds(result):
    return result["metrics"]["pass_seconds"]["min"]


def test_a_wire_is_part_of_name_params_and_result(run):
    results = run.results()
    wired = {name for name in results if name.endswith("/link=0.05GBps,5000us")}
    assert {name.split("/")[0] for name in wired} == {"ep", "tp", "eps", "pp"}
    assert {name.split("/")[0] for name in set(results) - wired} == {"ep", "tp"}
    for name, result in results.items():
        assert result["link"] == result["params"]["link"] == (LINK if name in wired else None)


def test_passes_wait_for_the_wire(run):
    """Counts, slots, rows out, rows home: one after the other in each layer, each with the latency of the wire."""
    for name, result in run.results().items():
        strategy = name.split("/")[0]
        waits = {"ep": 4 * MOE_LAYERS, "eps": 4 * MOE_LAYERS, "tp": 2 * (MOE_LAYERS + 1), "pp": 1}[strategy]
        if result["link"]:
            assert seconds(result) >= waits * LATENCY_S


def test_no_bit_depends_on_it(run):
    for name, result in run.results().items():
        first = name.startswith("ep/") and not result["link"]
        same = [check for check in result["checks"] if check["kind"] == "agreement" and check["bound"] == 0]
        if name.startswith("ep") and not first:
            assert same and all(check["passed"] and check["compared"] > 0 for check in same), name


def test_speed_is_against_a_case_on_the_same_wire(run):
    results = run.results()
    for result in results.values():
        assert results[result["speedup"]["against"]]["link"] == result["link"]


def test_table_and_timeline_name_it(run):
    (head,) = [line for line in run.stdout.splitlines() if line.startswith("strategy")]
    assert "link" in head.split()
    assert sum("0.05 GB/s 5000 us" in line for line in run.stdout.splitlines()) == 4
    cases = [event for event in run.timeline if event.get("cat") == "case" and event["pid"] == 0]
    assert {event["name"]: event["args"]["link"] for event in cases} == {
        name: result["link"] for name, result in run.results().items()}


def test_one_wire_for_all_stands_in_the_title(tmp_path):
    run = Bench(tmp_path).valid({**CONFIG, "link": LINK, "cases": [{"strategy": "ep"}]})
    assert "link 0.05 GB/s 5000 us" in run.stdout.splitlines()[0]
    assert run.report["run"]["config"]["link"] == LINK
    assert [result["link"] for result in run.report["results"]] == [LINK]
