"""Ranks that die, hang, fail or are told to stop: the run ends soon, says where it was and keeps what is finished."""

import json
import os
import re
import signal
import time

import pytest

from processes import is_running
from running import LIMIT_S, case_of_files

pytestmark = pytest.mark.xdist_group("failures")  # signals meet ranks at the right moment only when nothing else runs beside

WRONG = os.path.join(os.environ["EPS_BUILD_DIR"], "eps-bench-wrong-kernel")
RANKS = 4
SOON_S = 10
COMMUNICATION, RESOURCE = 6, 5

# Two groups of cases, each with so many passes that signals meet them: one that finishes, one of more cases that does not.
PASSES = 150
FIRST, SECOND = {"strategy": "dp"}, {"strategy": "eps", "chunks": list(range(1, 9))}
MEASURE = {"warmup": 0, "min_repetitions": PASSES, "max_repetitions": PASSES, "max_seconds": 10 * LIMIT_S}
CONFIG = case_of_files("tiny_v2", cases=[FIRST, SECOND], measure=MEASURE)

STATE = r"in phase (\w+) of case (\S+), (?:op \d+ (\w+) on lane \w+.*|no op), after"


class Middle:
    """A run whose first group is finished and whose second is being measured."""

    def __init__(self, bench, *flags, config=CONFIG):
        self.bench = bench
        self.mpirun = bench.start(config, *flags, ranks=RANKS)
        begin = time.monotonic()
        try:
            while not bench.report_path.exists():
                assert self.mpirun.poll() is None and time.monotonic() < begin + LIMIT_S, "the first group does not finish"
                time.sleep(0.02)
            time.sleep(time.monotonic() - begin)  # the second group takes several times as long
            assert self.mpirun.poll() is None, "the second group is finished too"
            self.pids = ranks_of(self.mpirun.pid)
            assert sorted(self.pids) == list(range(RANKS))
        except BaseException:
            self.mpirun.terminate()
            raise
        self.begin = time.monotonic()

    def end(self):
        done = self.bench.end(self.mpirun)
        self.seconds = time.monotonic() - self.begin
        deadline = time.monotonic() + SOON_S
        while any(map(is_running, self.pids.values())):
            assert time.monotonic() < deadline, "a rank is left behind"
            time.sleep(0.05)
        return done


def ranks_of(mpirun_pid):
    """Rank to process id, of mpirun's children."""
    pids = {}
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{int(entry)}/stat") as file:
                parent = int(file.read().rsplit(")", 1)[1].split()[1])
            if parent == mpirun_pid:
                with open(f"/proc/{entry}/environ", "rb") as file:
                    variables = dict(item.split(b"=", 1) for item in file.read().split(b"\0") if b"=" in item)
                pids[int(variables[b"OMPI_COMM_WORLD_RANK"])] = int(entry)
        except (ValueError, OSError, KeyError):
            continue  # not a process, gone already, or no rank
    return pids


def rank_of(line):
    return int(re.match(r"eps-bench: rank (\d+) ", line)[1])


def assert_only_the_first_group_is_kept(done):
    """A whole document that says so."""
    run = done.report["run"]
    assert run["interrupted"] is True
    assert run["utc_end"] is not None
    (result,) = done.report["results"]
    assert (result["params"]["strategy"], result["valid"]) == ("dp", True)
    assert result["metrics"]["tokens_per_second"]["n"] == PASSES
    assert not list(done.report_path.parent.glob(".eps-bench*"))


def test_a_killed_rank(bench):
    middle = Middle(bench)
    os.kill(middle.pids[2], signal.SIGKILL)
    done = middle.end()
    assert done.status == 128 + signal.SIGKILL
    assert middle.seconds < SOON_S
    assert sorted(map(rank_of, done.errors)) == [0, 1, 3]
    ops = set()
    for line in done.errors:
        phase, case, op = re.search(STATE, line).groups()
        assert phase == "measurement"
        assert case.startswith("eps/chunks=")
        ops.add(op)
    assert ops & {"all_to_all", "exchange_counts"}  # where a dead rank is missed
    assert_only_the_first_group_is_kept(done)


def test_rank_0_killed(bench):
    """Nobody is left to say that the run was interrupted; but it has no end."""
    middle = Middle(bench)
    os.kill(middle.pids[0], signal.SIGKILL)
    done = middle.end()
    assert done.status == 128 + signal.SIGKILL
    assert middle.seconds < SOON_S
    assert sorted(map(rank_of, done.errors)) == [1, 2, 3]
    assert done.report["run"]["utc_end"] is None
    assert [result["params"]["strategy"] for result in done.report["results"]] == ["dp"]


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_mpirun_told_to_stop(bench, told):
    middle = Middle(bench)
    middle.mpirun.send_signal(told)
    done = middle.end()
    assert done.status != 0
    assert middle.seconds < SOON_S
    assert sorted(map(rank_of, done.errors)) == [0, 1, 2, 3]
    assert all(re.search(STATE, line) for line in done.errors)
    assert done.stdout == ""
    assert_only_the_first_group_is_kept(done)


def test_told_to_stop_before_anything_is_finished(bench):
    """The report says what was asked for, and that nothing came of it."""
    dump = bench.folder / "dump"  # written once the first case has run its validation pass
    mpirun = bench.start({**CONFIG, "cases": [SECOND], "dump": str(dump)}, ranks=2)
    deadline = time.monotonic() + LIMIT_S
    while not dump.exists() and mpirun.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    mpirun.terminate()
    done = bench.end(mpirun)
    assert done.status != 0
    assert (done.report["run"]["interrupted"], done.report["results"]) == (True, [])


def test_a_suspended_rank_is_missed_in_time(bench):
    middle = Middle(bench, "--op-timeout", 4)
    os.kill(middle.pids[1], signal.SIGSTOP)
    done = middle.end()
    assert done.status == COMMUNICATION
    assert middle.seconds < 4 + 3 * SOON_S
    first = done.errors[0]
    assert rank_of(first) != 1
    missed = r"op \d+ (all_to_all|exchange_counts) on lane (dispatch|combine), waiting for other ranks"
    assert re.search(r"no progress for [0-9.]+ s in phase measurement of case eps/chunks=\d/dtype=f32, "
                     rf"({missed}|between ops)", first)
    assert "--op-timeout (now 4 s)" in first
    assert_only_the_first_group_is_kept(done)


def test_a_rank_suspended_for_a_while_does_no_harm(bench):
    middle = Middle(bench, "--op-timeout", 60)
    os.kill(middle.pids[1], signal.SIGSTOP)
    time.sleep(2)
    os.kill(middle.pids[1], signal.SIGCONT)
    done = middle.end()
    assert (done.status, done.errors) == (0, [])
    assert [result["valid"] for result in done.report["results"]] == [True] * 9
    assert done.report["run"]["interrupted"] is False


def failing(how, after=0, kernel="swiglu"):
    """Rank 1 of the program with a kernel that does so after some calls."""
    env = {"KERNEL": kernel, "HOW": how, "RANK": "1", "AFTER": str(after)}
    return {"program": WRONG, "env": {f"EPS_TEST_WRONG_{key}": value for key, value in env.items()}}


def failing_run(bench, how, *flags, after=0):
    config = case_of_files("tiny_v2", cases=[{"strategy": "ep"}])
    return bench(config, *flags, ranks=RANKS, **failing(how, after))


@pytest.mark.parametrize("after, phase", [(3, "validation"), (10, "measurement")])
def test_a_rank_that_hangs_is_named_with_its_op(bench, after, phase):
    done = failing_run(bench, "hang", "--op-timeout", 3, after=after)
    assert done.status == COMMUNICATION
    assert re.match(rf"eps-bench: rank 1 \(.*\): no progress for [0-9.]+ s in phase {phase} of case ep/dtype=f32, "
                    r"op \d+ swiglu on lane compute; a longer --op-timeout", done.errors[0])
    assert json.loads(done.report_path.read_text())["results"] == []


@pytest.fixture
def calibration(bench, tmp_path, monkeypatch):
    """Arguments of a calibration that has all to measure."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bench.config_path.write_text(json.dumps(
        {"model": {"preset": "tiny"}, "workload": {"batch": 8, "sequence_length": 512}, "cases": [{"strategy": "eps"}]}))
    return ["calibrate", "--config", bench.config_path]


def test_a_rank_that_hangs_in_a_calibration_is_named_with_what_it_measures(bench, calibration):
    done = bench(None, *calibration, "--op-timeout", 3, ranks=RANKS, **failing("hang"))
    assert done.status == COMMUNICATION
    assert re.match(r"eps-bench: rank 1 \(.*\): no progress for [0-9.]+ s in phase calibration, "
                    r"swiglu in f32, size 1; a longer --op-timeout", done.errors[0])


def test_a_suspended_rank_is_missed_in_a_calibration(bench, calibration):
    mpirun = bench.start(None, *calibration, "--op-timeout", 4, ranks=RANKS)
    assert any("measuring them once" in line for line in mpirun.stderr)
    os.kill(ranks_of(mpirun.pid)[1], signal.SIGSTOP)
    done = bench.end(mpirun)
    assert done.status == COMMUNICATION
    assert rank_of(done.errors[0]) != 1
    assert re.search(r"in phase calibration, .+, waiting for other ranks; a longer --op-timeout \(now 4 s\)",
                     done.errors[0])


@pytest.mark.parametrize("after", [3, 10])
def test_an_op_that_fails_ends_the_run_with_its_status(bench, after):
    done = failing_run(bench, "throw", after=after)
    assert done.status == RESOURCE
    assert "eps-bench: rank 1: this kernel throws: it was asked to" in done.errors
