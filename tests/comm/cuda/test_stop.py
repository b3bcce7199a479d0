"""Ranks with GPUs that die, hang or disagree while others wait for them on streams: everybody ends, the op is named."""

import os
import re
import signal
import subprocess
import time

import pytest

from processes import is_running

PROBE = os.path.join(os.environ["EPS_BUILD_DIR"], "test_comm_cuda")
NUM_RANKS = 3


def run_probe(kill=None, num_ranks=NUM_RANKS, stuck_mpirun=False, **settings):
    """Seconds from when all ranks were ready until all had ended, mpirun's status, the lines of the ranks."""
    mpirun = subprocess.Popen(
        ["mpirun", "-n", str(num_ranks), PROBE, "[.stop-probe]"],
        env={**os.environ, **{f"EPS_PROBE_{key.upper()}": str(value) for key, value in settings.items()}},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    pids, lines = {}, []
    while len(pids) < num_ranks:
        line = mpirun.stderr.readline()
        assert line, "mpirun ended before its ranks were ready: " + "".join(lines)
        found = re.match(r"ready (\d+) (\d+)", line)
        if found:
            pids[int(found[1])] = int(found[2])
        lines.append(line)
    begin = time.monotonic()
    if kill is not None:
        time.sleep(0.5)
        begin = time.monotonic()
        if stuck_mpirun:
            mpirun.send_signal(signal.SIGSTOP)
        os.kill(pids[kill], signal.SIGKILL)
    if stuck_mpirun:
        while any(map(is_running, pids.values())) and time.monotonic() - begin < 30:
            time.sleep(0.05)
        seconds = time.monotonic() - begin
        mpirun.send_signal(signal.SIGCONT)
    lines += mpirun.stderr.readlines()
    status = mpirun.wait(timeout=60)
    if not stuck_mpirun:
        seconds = time.monotonic() - begin
    for pid in pids.values():
        assert not is_running(pid), "a rank is left behind"
    return seconds, status, [line.rstrip() for line in lines if line.startswith("eps-bench:")]


@pytest.fixture(autouse=True)
def leaves_no_shared_memory():
    before = set(os.listdir("/dev/shm"))
    yield
    assert {name for name in os.listdir("/dev/shm") if "eps" in name} <= before


def num_gpus():
    found = subprocess.run(["nvidia-smi", "-L"], stdout=subprocess.PIPE, text=True)
    return len(found.stdout.splitlines())


def transports():
    """With as many ranks as each can have here; NCCL wants a GPU for every rank."""
    return [("copy_engine", NUM_RANKS)] + ([("nccl", 2)] if num_gpus() > 1 else [])


@pytest.mark.parametrize("transport,num_ranks", transports())
def test_a_killed_rank_is_missed_where_mpirun_does_nothing(transport, num_ranks):
    seconds, status, lines = run_probe(kill=1, num_ranks=num_ranks, stuck_mpirun=True, transport=transport)
    assert status != 0
    assert seconds < 10
    assert {int(re.match(r"eps-bench: rank (\d+)", line)[1]) for line in lines} == set(range(num_ranks)) - {1}
    for line in lines:
        assert re.search(r"op \d+ all_to_all on lane dispatch", line)


@pytest.mark.parametrize("transport,num_ranks", transports())
def test_a_killed_rank_ends_the_others_within_ten_seconds(transport, num_ranks):
    seconds, status, lines = run_probe(kill=1, num_ranks=num_ranks, transport=transport)
    assert status == 128 + signal.SIGKILL
    assert seconds < 10
    assert {int(re.match(r"eps-bench: rank (\d+)", line)[1]) for line in lines} == set(range(num_ranks)) - {1}
    for line in lines:  # NCCL may tell sooner than mpirun
        assert re.search(r"(lost a rank, in phase measure of case ep, .*|under way: .*)op \d+ all_to_all on lane dispatch", line)


def test_a_stream_that_hangs_is_named_with_its_op():
    seconds, status, lines = run_probe(hang=2, timeout_s=5)
    assert status == 6
    assert seconds < 30
    assert re.match(r"eps-bench: rank 2 \(.*\): no progress for .* s in phase measure of case ep, "
                    r"op 200 expert_gemm on lane compute; a longer --op-timeout", lines[0])


def test_byte_counts_that_differ_are_an_error_that_names_both_ranks():
    seconds, status, lines = run_probe(short=1)
    assert status == 70
    assert seconds < 10
    assert re.match(r"eps-bench: rank 1: rank 1 sends 99999 bytes to rank [02], which expects 100000; "
                    r"under way: .*op \d+ all_to_all on lane dispatch", lines[0])
