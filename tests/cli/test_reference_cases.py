"""Checkpoints whose outputs an independent implementation computed: every strategy reproduces them."""

import math

import numpy
import pytest

import safetensors
from running import CASES, QUICK, case_of_files, placement

MODELS = ["tiny_v2", "tiny_v2_lite"]
BOUND = 1e-4  # of a tensor's largest value, f32

STRATEGIES = [
    {"strategy": "ep"},
    {"strategy": "ep", "overlap": True},
    {"strategy": "ep", "dedup": False},
    {"strategy": "ep", "oracle": True},
    {"strategy": "dp"},
    {"strategy": "tp"},
    {"strategy": "pp"},
    {"strategy": "pp", "chunks": 5},  # more micro-batches than sequences
    {"strategy": "tp_ep"},
    {"strategy": "tp_ep", "overlap": True},
    {"strategy": "eps", "chunks": 1},
    {"strategy": "eps", "chunks": 2},
    {"strategy": "eps", "chunks": 3},
    {"strategy": "eps", "chunks": 5},
    {"strategy": "eps", "base": "tp_ep", "chunks": 2},
    {"strategy": "eps", "base": "tp_ep", "chunks": 3, "dedup": False},
    {"strategy": "eps", "chunks": 2, "dedup": False},
    {"strategy": "eps", "chunks": 3, "combine": "per_chunk"},
    {"strategy": "eps", "chunks": 2, "gemm": "group"},
    {"strategy": "eps", "chunks": 2, "gemm": "dense"},
    {"strategy": "eps_serial", "chunks": 3},
    {"strategy": "eps_serial", "base": "tp_ep", "chunks": 2, "combine": "per_chunk"},
]
PLACEMENTS = {
    1: [],
    2: [placement(tp=2, edp=2), placement(dp=2, etp=2)],
    3: [placement(dp=3, etp=3), placement(tp=3, edp=3)],
    4: [
        placement(tp=2, dp=2, ep=4),
        placement(tp=2, dp=2, etp=2, ep=2),
        placement(dp=4, ep=2, edp=2),
        {**placement(pp=2, dp=2, ep=2), "chunks": 2},
        placement(pp=2, tp=2, etp=2),
    ],
    8: [placement(tp=2, dp=4, etp=2, ep=2, edp=2), {**placement(pp=2, tp=2, dp=2, etp=2, ep=2), "chunks": 2}],
}


def cases_on(ranks):
    return STRATEGIES + PLACEMENTS[ranks]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("ranks", PLACEMENTS)
def test_every_strategy_is_valid(bench, model, ranks):
    done = bench.valid(case_of_files(model, cases=cases_on(ranks)), ranks=ranks)
    results = done.report["results"]
    assert len(results) == len(cases_on(ranks))
    reference = safetensors.read(CASES / model / "reference.safetensors")
    num_values = sum(reference[name].size for name in reference if name.endswith(".hidden"))
    for result in results:
        assert result["check"]["kind"] == "reference"
        assert result["check"]["compared"] >= num_values
        assert result["check"]["max_error"] <= result["check"]["bound"] <= BOUND
        agreements = [check for check in result["checks"] if check["kind"] == "agreement"]
        assert len(agreements) == (0 if result is results[0] else 1)
        assert all(check["passed"] and check["max_error"] <= BOUND for check in agreements)


def sets_with_weights(ids, weights):
    """Slots by expert id: order among slots is a choice, which experts and how much of each is not."""
    order = numpy.argsort(ids, axis=1)
    return numpy.take_along_axis(ids, order, 1), numpy.take_along_axis(weights, order, 1)


def assert_close(name, found, wanted, bound):
    assert found.shape == wanted.shape, name
    assert numpy.isfinite(found).all(), name
    error = numpy.abs(found.astype(float) - wanted).max() / numpy.abs(wanted).max()
    assert error <= bound, f"{name} is off by {error}"


def assert_dump_is_the_reference(dump_path, model, bound=BOUND):
    found, wanted = safetensors.read(dump_path), safetensors.read(CASES / model / "reference.safetensors")
    layers = [name.split(".")[1] for name in wanted if name.endswith(".hidden")]
    routed = [name.split(".")[1] for name in wanted if name.endswith(".topk_ids")]
    names = ["embed", "final_norm", *(f"layers.{layer}.hidden" for layer in layers)]
    assert set(found) == {*names, "logits_last", *(f"layers.{i}.topk_{what}" for i in routed for what in ("ids", "weights"))}
    assert all(found[name].dtype == wanted[name].dtype for name in found)
    for name in names:
        assert_close(name, found[name], wanted[name].reshape(-1, wanted[name].shape[-1]), bound)
    assert_close("logits_last", found["logits_last"], wanted["logits_last"], bound)
    for layer in routed:
        ids, weights = ([tensors[f"layers.{layer}.topk_{what}"] for tensors in (found, wanted)] for what in ("ids", "weights"))
        (found_ids, found_weights), (wanted_ids, wanted_weights) = map(sets_with_weights, ids, weights)
        assert numpy.array_equal(found_ids, wanted_ids)
        assert_close(f"layers.{layer}.topk_weights", found_weights, wanted_weights, bound)
        assert numpy.all(numpy.diff(found[f"layers.{layer}.topk_weights"], axis=1) <= 0)  # slots by descending score


def dumps():
    """On 4 ranks every strategy, with one of the two models; on other counts a few of them; every placement."""
    for m, model in enumerate(MODELS):
        for ranks in PLACEMENTS:
            for i, case in enumerate(cases_on(ranks)):
                if i % 2 == m and (i >= len(STRATEGIES) or ranks == 4 or i // 2 % 4 == ranks % 5 % 4):
                    yield pytest.param(model, ranks, case, id=f"{model}-{ranks}-" + "-".join(map(str, case.values())))


@pytest.mark.parametrize("model, ranks, case", dumps())
def test_dump_is_the_reference(bench, model, ranks, case):
    path = bench.folder / "new/dump.safetensors"
    bench.valid(case_of_files(model, cases=[case], dump=str(path)), ranks=ranks)
    assert_dump_is_the_reference(path, model)


def test_only_the_first_case_is_dumped_and_never_over_another(bench):
    path = bench.folder / "dump.safetensors"
    config = case_of_files("tiny_v2", cases=[{"strategy": ["tp", "ep"], "dtype": "bf16"}, {"strategy": "ep"}], dump=str(path))
    bench.valid(config)
    with pytest.raises(AssertionError, match="is off by"):
        assert_dump_is_the_reference(path, "tiny_v2")  # bf16, as the first case is
    before = path.read_bytes()
    refused = bench(config, "--overwrite", "--dump", bench.report_path)
    assert refused.status == 2
    again = bench({**config, "report": str(bench.folder / "other.json")})
    assert (again.status, len(again.errors)) == (2, 1)
    assert str(path) in again.errors[0] and "--overwrite" in again.errors[0]
    assert path.read_bytes() == before
    config["cases"].reverse()
    bench.valid(config, "--overwrite")
    assert_dump_is_the_reference(path, "tiny_v2")


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("model", MODELS)
def test_bf16_is_valid_with_errors_of_bf16(bench, model, ranks):
    done = bench.valid(case_of_files(model, dtype="bf16", cases=STRATEGIES), ranks=ranks)
    for result in done.report["results"]:
        assert result["dtype"] == "bf16"
        assert 1e-4 < result["check"]["max_error"] <= result["check"]["bound"] < 0.1
        assert result["check"]["tokens_left_out"] <= result["check"]["tokens"] / 2


def test_layers_beyond_those_asked_for_are_left_alone(bench):
    config = case_of_files("tiny_v2", cases=[{"strategy": "ep"}], scope="layer", dump=str(bench.folder / "dump"))
    config["model"]["layers"] = 2
    del config["workload"]["tokens"]
    done = bench.valid(config)
    assert done.report["run"]["config"]["model"]["layers"] == 2
    dump = safetensors.read(bench.folder / "dump")
    assert set(dump) == {"layers.0.hidden", "layers.1.hidden", "layers.1.topk_ids", "layers.1.topk_weights"}
    assert all(math.isfinite(value) for value in dump["layers.1.hidden"].flat)


def test_a_batch_shorter_than_the_tokens_file(bench):
    """The first tokens of each row count."""
    config = case_of_files("tiny_v2_lite", cases=[{"strategy": "ep"}], dump=str(bench.folder / "dump"))
    config["workload"].update(sequence_length=[24, 7])
    bench.valid(config)
    wanted = safetensors.read(CASES / "tiny_v2_lite/reference.safetensors")["layers.2.hidden"]
    found = safetensors.read(bench.folder / "dump")["layers.2.hidden"]
    assert_close("hidden", found, numpy.concatenate([wanted[0], wanted[1, :7]]), BOUND)


def test_quick_measures_are_counted_as_asked(bench):
    measure = {**QUICK, "min_repetitions": 3, "max_repetitions": 3}
    done = bench.valid(case_of_files("tiny_v2", cases=[{"strategy": "ep"}], measure=measure))
    assert [result["metrics"]["tokens_per_second"]["n"] for result in done.report["results"]] == [3]
