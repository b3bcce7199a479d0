"""Ranks that die, hang or are told to stop, as mpirun and the watchdog treat them: real processes, real signals."""

import os
import re
import signal
import subprocess
import tempfile
import time

import pytest

from processes import is_running

PROBE = os.path.join(os.environ["EPS_BUILD_DIR"], "test_comm")
NUM_RANKS = 4


class Run:
    """`mpirun` over the probe, from the moment when all ranks are ready."""

    def __init__(self, **settings):
        self.errors = tempfile.TemporaryFile("w+")  # a file: nothing is lost between two ways of reading
        self.mpirun = subprocess.Popen(
            ["mpirun", "-n", str(NUM_RANKS), PROBE, "[.stop-probe]"],
            env={**os.environ, **{f"EPS_PROBE_{key.upper()}": str(value) for key, value in settings.items()}},
            stdout=subprocess.DEVNULL, stderr=self.errors)
        self.pids = {}
        while len(self.pids) < NUM_RANKS:
            assert self.mpirun.poll() is None, "mpirun ended before its ranks were ready"
            time.sleep(0.05)
            self.pids = {int(rank): int(pid) for rank, pid in re.findall(r"^ready (\d+) (\d+)$", self.text(), re.M)}
        time.sleep(0.5)
        self.begin = time.monotonic()

    def end(self):
        """Seconds until mpirun ended, its status, the lines of the ranks."""
        status = self.mpirun.wait(timeout=60)
        seconds = time.monotonic() - self.begin
        return seconds, status, [line for line in self.text().splitlines() if line.startswith("eps-bench:")]

    def text(self):
        return os.pread(self.errors.fileno(), os.fstat(self.errors.fileno()).st_size, 0).decode()

    def assert_all_gone(self, within=5):
        deadline = time.monotonic() + within
        while any(map(is_running, self.pids.values())):
            assert time.monotonic() < deadline, "a rank is left behind"
            time.sleep(0.05)


def rank_of(line):
    return int(re.match(r"eps-bench: rank (\d+)", line)[1])


def test_a_killed_rank_ends_the_others_with_a_line_each(tmp_path):
    kept = tmp_path / "kept"
    run = Run(keep=kept)
    os.kill(run.pids[2], signal.SIGKILL)
    seconds, status, lines = run.end()
    assert status == 128 + signal.SIGKILL
    assert seconds < 10
    assert sorted(map(rank_of, lines)) == [0, 1, 3]
    for line in lines:
        assert re.search(r"stopped by mpirun, which was told to or has lost a rank, in phase measure of case ep, "
                         r"(op \d+ \w+ on lane \w+|no op), after", line)
    assert kept.read_text().startswith("eps-bench: rank 0")
    run.assert_all_gone()


def test_a_killed_rank_is_missed_where_mpirun_does_nothing():
    run = Run()
    run.mpirun.send_signal(signal.SIGSTOP)
    os.kill(run.pids[2], signal.SIGKILL)
    try:
        run.assert_all_gone(within=10)
    finally:
        run.mpirun.send_signal(signal.SIGCONT)
    _, status, lines = run.end()
    assert status != 0
    assert sorted(map(rank_of, lines)) == [0, 1, 3]
    for line in lines:
        assert re.search(r"the process of rank \d has ended, in phase measure of case ep, "
                         r"(op \d+ \w+ on lane \w+|no op), after", line)


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_mpirun_told_to_stop_lets_ranks_keep_what_is_finished(tmp_path, told):
    kept = tmp_path / "kept"
    run = Run(keep=kept)
    run.mpirun.send_signal(told)
    seconds, status, lines = run.end()
    assert status != 0
    assert seconds < 10
    assert sorted(map(rank_of, lines)) == [0, 1, 2, 3]
    assert kept.read_text().startswith("eps-bench: rank 0")
    run.assert_all_gone()


def test_a_stopped_rank_takes_the_others_along():
    run = Run()
    os.kill(run.pids[1], signal.SIGTERM)
    seconds, status, lines = run.end()
    assert status == 128 + signal.SIGTERM
    assert seconds < 10
    assert re.match(r"eps-bench: rank 1 \(.*\) stopped by SIGTERM in phase measure of case ep, op", lines[0])
    assert sorted(map(rank_of, lines)) == [0, 1, 2, 3]
    run.assert_all_gone()


def test_a_rank_that_hangs_is_named_with_its_op():
    run = Run(hang=3, timeout_s=5)
    seconds, status, lines = run.end()
    assert status == 6
    assert seconds < 30
    assert re.match(r"eps-bench: rank 3 \(.*\): no progress for .* s in phase measure of case ep, "
                    r"op 20 expert_gemm on lane compute; a longer --op-timeout", lines[0])
    run.assert_all_gone()


def test_a_suspended_rank_is_missed_by_those_who_wait_for_it():
    run = Run(timeout_s=5)
    os.kill(run.pids[1], signal.SIGSTOP)
    seconds, status, lines = run.end()
    assert status == 6
    assert seconds < 30
    assert rank_of(lines[0]) != 1
    assert re.search(r"op \d+ all_to_all on lane dispatch, waiting for other ranks", lines[0])
    run.assert_all_gone()
