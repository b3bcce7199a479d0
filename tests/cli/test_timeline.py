"""--timeline: a trace as viewers expect it, true to the report; pictures from real reports and timelines."""

import json
import re
import subprocess
import sys

import matplotlib.image
import numpy
import pytest

from running import QUICK, SOURCE, Bench, case_of_files

pytestmark = pytest.mark.xdist_group("timeline")  # one run serves all tests

RANKS = 3
STRATEGIES = [
    {"strategy": "ep"},
    {"strategy": "eps", "chunks": [2, 3]},
    {"strategy": "eps_serial", "chunks": 3},
    {"strategy": ["pp", "tp"]},
]
NUM_CASES = 6


def known_ops():
    """The names in lib/plan/op.hpp."""
    text = (SOURCE / "lib/plan/op.hpp").read_text()
    names = re.search(r"kOpNames\[\] = \{(.*?)\}", text, re.S)[1]
    return set(re.findall(r'"(\w+)"', names))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("timeline"))
    bench.timeline_path = bench.folder / "new/run.trace.json"
    config = case_of_files("tiny_v2", cases=STRATEGIES, workload={"sequence_length": [30, 20, 25]})  # no rank is idle
    done = bench.valid(config, "--timeline", bench.timeline_path, ranks=RANKS)
    done.timeline_path = bench.timeline_path
    done.events = json.loads(bench.timeline_path.read_text())["traceEvents"]
    return done


def tracks_of(run):
    """Track id to (rank, lane); each id belongs to one rank alone."""
    tracks = {}
    for event in run.events:
        if event["ph"] == "M" and event["name"] == "thread_name":
            assert event["tid"] not in tracks
            tracks[event["tid"]] = (event["pid"], event["args"]["name"])
    return tracks


def spans_of(run, **wanted):
    return [event for event in run.events if event["ph"] == "X" and all(event[key] == value for key, value in wanted.items())]


def within(event, case):
    return case["ts"] <= event["ts"] and event["ts"] + event["dur"] <= case["ts"] + case["dur"] + 1e-3


def ops_of(run, case, **wanted):
    return [event for event in spans_of(run, **wanted) if event["cat"] != "case" and within(event, case)]


def test_processes_are_ranks_and_tracks_are_lanes(run):
    names = {event["pid"]: event["args"]["name"] for event in run.events if event["name"] == "process_name"}
    assert sorted(names) == list(range(RANKS))
    assert all(name.startswith(f"rank {rank}") for rank, name in names.items())
    tracks = tracks_of(run)
    assert 0 not in tracks and not set(tracks) & set(names)
    for rank in range(RANKS):
        assert {"case", "compute", "dispatch", "combine"} <= {lane for of_rank, lane in tracks.values() if of_rank == rank}
    assert all(tracks[event["tid"]][0] == event["pid"] for event in spans_of(run))


def test_events_of_a_track_do_not_overlap(run):
    for track in tracks_of(run):
        spans = sorted((event["ts"], event["ts"] + event["dur"]) for event in spans_of(run, tid=track))
        for (_, end), (begin, _) in zip(spans, spans[1:]):
            assert begin >= end - 1e-3  # microseconds, three decimals


def test_events_are_ops_of_their_case(run):
    ops = known_ops()
    assert len(ops) > 20
    cases = spans_of(run, cat="case", pid=0)
    assert [case["name"] for case in cases] == [result["name"] for result in run.report["results"]]
    assert len(cases) == NUM_CASES
    for event in spans_of(run):
        if event["cat"] == "case":
            continue
        assert event["name"] in ops
        assert event["dur"] >= 0
        assert 0 <= event["args"].get("layer", 0) < 4
        assert len([case for case in cases if within(event, case)]) == 1


def test_every_rank_computes_every_layer(run):
    for case in spans_of(run, cat="case", pid=0):
        if case["name"].startswith("pp"):
            continue
        for rank in range(RANKS):
            inside = ops_of(run, case, pid=rank)
            assert [e["args"]["layer"] for e in inside if e["name"] == "attention"] == [0, 1, 2, 3]
            assert {e["args"]["layer"] for e in inside if e["name"] == "expert_gemm"} <= {1, 2, 3}


def test_chunks_are_seen(run):
    """One dispatch, one combine and two GEMMs a chunk and layer; in eps_serial never at the same time."""
    def of_case(name, rank):
        (case,) = [c for c in spans_of(run, cat="case", pid=rank) if c["name"].startswith(name)]
        return ops_of(run, case, pid=rank)

    tracks = tracks_of(run)
    for rank in range(RANKS):
        for chunks in 2, 3:
            events = of_case(f"eps/chunks={chunks}", rank)
            sent = [e for e in events if e["name"] == "all_to_all"]
            lanes = [tracks[e["tid"]][1] for e in sent]
            assert lanes.count("combine") == 3 * chunks
            assert lanes.count("dispatch") == 3 * (chunks + 1)  # which slots travel, then the rows of each chunk
            assert len([e for e in events if e["name"] == "expert_gemm"]) == 3 * chunks * 2
        of_chunks = "all_to_all", "expert_gemm", "local_reduce", "pack_rows", "unpack_sum"
        serial = sorted((e["ts"], e["ts"] + e["dur"]) for e in of_case("eps_serial", rank) if e["name"] in of_chunks)
        assert all(begin >= end - 1e-3 for (_, end), (begin, _) in zip(serial, serial[1:]))


def test_busy_times_are_those_of_the_report(run):
    for result in run.report["results"]:
        (case,) = [c for c in spans_of(run, cat="case", pid=0) if c["name"] == result["name"]]
        inside = ops_of(run, case)
        lanes = {track: lane for track, (_, lane) in tracks_of(run).items()}
        for phase in result["phases"]:
            of_phase = [e["dur"] for e in inside if (e["name"], lanes[e["tid"]]) == (phase["op"], phase["lane"])]
            assert len(of_phase) == pytest.approx(phase["count"] * RANKS)
            assert sum(of_phase) * 1e-6 / RANKS == pytest.approx(phase["busy_seconds"], rel=1e-3, abs=1e-8)
        for rank in result["per_rank"]:
            for lane in rank["lanes"]:
                busy = sum(e["dur"] for e in inside if e["pid"] == rank["rank"] and lanes[e["tid"]] == lane["lane"])
                assert busy * 1e-6 == pytest.approx(lane["busy_seconds"], rel=1e-3, abs=1e-8)


def test_an_existing_timeline_is_kept(bench):
    path = bench.folder / "run.trace.json"
    path.write_text("precious")
    config = case_of_files("tiny_v2_lite", cases=[{"strategy": "ep"}])
    refused = bench(config, "--timeline", path)
    assert (refused.status, path.read_text()) == (2, "precious")
    assert "--overwrite" in refused.errors[0] and not bench.report_path.exists()
    bench.valid(config, "--timeline", path, "--overwrite")
    assert json.loads(path.read_text())["traceEvents"]


def test_pictures_of_a_real_run(run, tmp_path):
    """Every chart has data: throughput with intervals, time against chunks, phases, lanes over time."""
    for arguments in ["--format", "svg"], ["--timeline", run.timeline_path, "--format", "png"]:
        command = [sys.executable, SOURCE / "scripts/plot_results.py", run.report_path, *arguments, "--out", tmp_path]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
        assert (done.returncode, done.stderr) == (0, "")
    names = {path.name for path in tmp_path.iterdir()}
    assert {"throughput.svg", "throughput.png", "chunks.svg", "chunks.png", "phases.svg", "phases.png"} <= names
    assert len([name for name in names if name.startswith("lanes")]) == NUM_CASES
    for path in tmp_path.glob("*.png"):
        pixels = matplotlib.image.imread(path)
        assert min(pixels.shape[:2]) > 200
        assert len(numpy.unique(pixels[:, :, 0])) > 50  # shades of red: something was drawn
    throughput = (tmp_path / "throughput.svg").read_text()
    for result in run.report["results"]:
        assert result["params"]["strategy"] in throughput


def test_traced_passes_are_not_among_the_samples(run):
    assert all(result["metrics"]["pass_seconds"]["n"] == QUICK["max_repetitions"] for result in run.report["results"])
