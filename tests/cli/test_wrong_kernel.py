"""A program with one kernel that is off by 1 %: no verdict of VALID, whatever the kernel and the kind of check."""

import os

import pytest

from running import QUICK, case_of_files

WRONG = os.path.join(os.environ["EPS_BUILD_DIR"], "eps-bench-wrong-kernel")
INVALID = 4

# Kernel: the strategy whose plan calls it.
KERNELS = {
    "rms_norm": "ep",
    "linear": "ep",
    "expert_gemm": "eps",
    "attention": "ep",
    "rope": "ep",
    "gate": "ep",
    "swiglu": "eps",
    "local_reduce": "eps",
    "unpack_sum": "ep",
    "sum_rows": "tp",
}


def wrong_run(bench, kernel, cases, ranks=2, wrong_after=0, wrong_rank=-1, **config):
    env = {"EPS_TEST_WRONG_AFTER": str(wrong_after), "EPS_TEST_WRONG_RANK": str(wrong_rank)}
    if kernel is not None:
        env["EPS_TEST_WRONG_KERNEL"] = kernel
    done = bench(case_of_files("tiny_v2", cases=cases, **config), ranks=ranks, program=WRONG, env=env)
    assert done.errors == []
    return done


def assert_caught(done, kind):
    """Status 4, and every case says which check failed and by how much."""
    assert done.status == INVALID
    for result in done.report["results"]:
        assert not result["valid"]
        check = result["check"]
        assert (check["kind"], check["passed"]) == (kind, False)
        assert f"check {kind}: {check['reason']}" in result["invalid_reasons"]
        assert check["compared"] > 0
    assert "INVALID" in done.stdout and "VALID:" in done.stdout


@pytest.mark.parametrize("kind", ["reference", "spot"])
def test_the_program_of_these_tests_is_right_when_no_kernel_is_wrong(bench, kind):
    cases = [{"strategy": sorted(set(KERNELS.values()))}]
    done = wrong_run(bench, None, cases, validate={"kind": kind})
    assert (done.status, [result["check"]["kind"] for result in done.report["results"]]) == (0, [kind] * 3)


@pytest.mark.parametrize("kind", ["reference", "spot"])
@pytest.mark.parametrize("kernel, strategy", KERNELS.items())
def test_a_wrong_kernel_is_caught(bench, kernel, strategy, kind):
    done = wrong_run(bench, kernel, [{"strategy": strategy}], validate={"kind": kind})
    assert_caught(done, kind)


@pytest.mark.parametrize("kind", ["reference", "spot"])
def test_one_wrong_rank_of_four_is_enough(bench, kind):
    """By spot checks too: they look at every rank's experts or at rows that met them."""
    done = wrong_run(bench, "expert_gemm", [{"strategy": ["eps", "tp"]}], ranks=4, wrong_rank=3, validate={"kind": kind})
    assert_caught(done, kind)


def test_the_other_cases_of_a_run_keep_their_verdict(bench):
    """tp alone sums over ranks with this kernel."""
    done = wrong_run(bench, "sum_rows of many", [{"strategy": ["ep", "tp", "eps"]}], ranks=3)
    assert done.status == INVALID
    assert [result["valid"] for result in done.report["results"]] == [True, False, True]


def test_a_first_case_that_is_wrong_is_no_measure_for_others(bench):
    """Agreement and speed-up are against proven cases."""
    done = wrong_run(bench, "sum_rows of many", [{"strategy": ["tp", "ep", "eps"]}], ranks=3)
    results = done.report["results"]
    assert [result["valid"] for result in results] == [False, True, True]
    assert all(result["speedup"] is None for result in results)
    assert [check["kind"] for check in results[1]["checks"]].count("agreement") == 0
    assert [check["kind"] for check in results[2]["checks"]].count("agreement") == 1


SAMPLES = 5


@pytest.mark.parametrize("kernel, strategy, per_pass", [("swiglu", "ep", 7), ("attention", "tp", 4), ("gate", "eps", 3)])
def test_a_kernel_that_goes_wrong_later_is_caught_by_the_last_repetition(bench, kernel, strategy, per_pass):
    """Right in the validation pass and the three passes after it, wrong from then on."""
    measure = {**QUICK, "min_repetitions": SAMPLES, "max_repetitions": SAMPLES}
    done = wrong_run(bench, kernel, [{"strategy": strategy}], wrong_after=4 * per_pass, measure=measure)
    assert done.status == INVALID
    (result,) = done.report["results"]
    assert result["metrics"]["tokens_per_second"]["n"] == SAMPLES
    assert result["check"]["passed"]
    assert result["invalid_reasons"] == ["the last repetition's outputs differ from those that were validated"]
    assert result["invalid_reasons"][0] in done.stdout
