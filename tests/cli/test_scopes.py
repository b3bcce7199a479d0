"""Scopes, forced routing, spot checks, uneven batches and odd models: valid on any number of ranks, and what they should be."""

import numpy
import pytest

import safetensors
from running import CASES, case_of_files, placement

# Everything that may not divide evenly does not.
ODD = {
    "preset": "tiny",
    "layers": 5,
    "overrides": {
        "num_attention_heads": 3, "n_shared_experts": None, "moe_layer_freq": 2, "tie_word_embeddings": True,
        "hidden_size": 50, "intermediate_size": 37, "moe_intermediate_size": 19, "vocab_size": 301, "q_lora_rank": None,
        "attention_bias": True, "norm_topk_prob": True, "topk_method": "greedy", "num_experts_per_tok": 4,
    },
}
UNEVEN = [1, 7, 128, 33]
STRATEGIES = [
    {"strategy": "ep"},
    {"strategy": "ep", "overlap": True},
    {"strategy": ["dp", "tp", "pp", "tp_ep"]},
    {"strategy": "eps", "chunks": [2, 3]},
    {"strategy": "eps", "base": "tp_ep", "chunks": 3},
    {"strategy": "eps", "chunks": 2, "dedup": False, "combine": "per_chunk"},
    {"strategy": "eps_serial", "chunks": 3},
]
PLACEMENTS = {
    4: [placement(tp=2, dp=2, etp=2, ep=2), placement(dp=4, ep=2, edp=2), {**placement(pp=2, dp=2, ep=2), "chunks": 3}],
    8: [placement(tp=2, dp=4, etp=2, ep=4), {**placement(pp=4, tp=2, ep=2), "chunks": 2}],
}


def without_pp(cases):
    for case in cases:
        if isinstance(case.get("strategy"), list):
            yield {**case, "strategy": [strategy for strategy in case["strategy"] if strategy != "pp"]}
        elif case.get("placement", {}).get("pp", 1) == 1:
            yield case


@pytest.mark.parametrize("scope", ["model", "layer", "moe"])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8])
def test_an_odd_model_with_uneven_sequences(bench, ranks, scope):
    """15 experts over 4 ranks, 3 heads over 4, widths that nothing divides, more ranks than sequences."""
    cases = STRATEGIES + PLACEMENTS.get(ranks, [])
    if scope == "moe":
        cases = list(without_pp(cases))
    config = {"model": ODD, "scope": scope, "workload": {"sequence_length": UNEVEN}, "cases": cases}
    done = bench.valid(config, ranks=ranks)
    for result in done.report["results"]:
        assert result["check"]["kind"] == "reference"
        moe_layers = 1 if scope == "moe" else 2  # 2 and 4
        params = result["params"]
        shards = ranks if params["strategy"] == "tp" else params.get("placement", {}).get("experts", {}).get("etp", 1)
        assert sum(result["load"]["rows_per_rank"]) == sum(UNEVEN) * 4 * moe_layers * shards
    if ranks == 8 and scope != "moe":
        ep = done.report["results"][0]["per_rank"]
        assert sum(rank["tokens"] for rank in ep) == sum(UNEVEN)
        assert [rank["tokens"] for rank in ep].count(0) >= 4


@pytest.mark.parametrize("scope", ["layer", "moe"])
def test_scopes_start_from_the_same_rows_on_any_number_of_ranks(bench, scope):
    """Rows are a function of (seed, token, column): the dump is the same but for roundings."""
    config = {"model": {"preset": "tiny", "layers": 3}, "scope": scope, "workload": {"sequence_length": [5, 20, 11]}}
    dumps = []
    for ranks, case in (1, {"strategy": "ep"}), (2, {"strategy": "tp"}), (4, {"strategy": "eps", "base": "tp_ep", "chunks": 2}):
        path = bench.folder / f"dump{ranks}"
        bench.valid({**config, "cases": [case]}, "--dump", path, "--overwrite", ranks=ranks)
        dumps.append(safetensors.read(path))
    wanted = ["hidden", "topk_ids", "topk_weights"]
    names = {f"layers.{layer}.{what}" for layer in ([1] if scope == "moe" else [1, 2]) for what in wanted}
    assert set(dumps[0]) == names | ({"layers.0.hidden"} if scope == "layer" else set())
    for other in dumps[1:]:
        assert set(other) == set(dumps[0])
        for name, wanted in dumps[0].items():
            if name.endswith("hidden"):
                assert wanted.shape == (36, 96) and wanted.std() > 0.5
                assert numpy.abs(other[name] - wanted).max() < 1e-4 * numpy.abs(wanted).max()
            if name.endswith("ids"):
                assert numpy.array_equal(numpy.sort(other[name], axis=1), numpy.sort(wanted, axis=1))


def ids_of(path, layer):
    """Expert ids of each token, ascending."""
    return numpy.sort(safetensors.read(path)[f"layers.{layer}.topk_ids"], axis=1)


FORCED = {
    "uniform": {"kind": "uniform"},
    "zipf": {"kind": "zipf", "exponent": 1.5},
    "hot": {"kind": "hot", "experts": [3, 6], "share": 0.75},
}


@pytest.mark.parametrize("kind", FORCED)
def test_forced_routing(bench, kind):
    """Ids as asked, the same for every placement, with the gate's own weights: reference and load agree."""
    config = {"model": {"preset": "tiny", "layers": 3}, "workload": {"sequence_length": UNEVEN, "routing": FORCED[kind]}}
    first, second = bench.folder / "first", bench.folder / "second"
    done = bench.valid({**config, "cases": STRATEGIES}, "--dump", first, ranks=4)
    counts = numpy.stack([numpy.bincount(ids_of(first, layer).ravel(), minlength=15) for layer in (1, 2)])
    tokens = sum(UNEVEN)
    assert (counts.sum(axis=1) == tokens * 3).all()
    for result in done.report["results"]:
        assert (result["load"]["expert_min_rows"], result["load"]["expert_max_rows"]) == (counts.min(), counts.max())
        assert result["check"]["near_ties"] == 0
    for row in ids_of(first, 1):
        assert len(set(row)) == 3 and len({expert // 3 for expert in row}) <= 3  # distinct, in 3 of 5 groups
    mean = counts.sum() / counts.size
    if kind == "uniform":
        assert counts.max() < 1.5 * mean
    elif kind == "zipf":
        assert counts.max() > 2 * mean
    else:
        assert counts[:, 3:6].sum() == pytest.approx(0.75 * counts.sum(), rel=0.03)
    bench.valid({**config, "cases": [{"strategy": "tp"}]}, "--dump", second, "--overwrite", ranks=3)
    for layer in 1, 2:
        assert numpy.array_equal(*(ids_of(path, layer) for path in (first, second)))


def test_another_seed_is_another_run(bench):
    workload = {"batch": 2, "sequence_length": 9, "routing": {"kind": "uniform"}}
    config = {"model": {"preset": "tiny", "layers": 2}, "workload": workload, "cases": [{"strategy": "ep"}]}
    dumps = []
    for i, seed in enumerate([1, 1, 2]):
        bench.valid(config, "--seed", seed, "--dump", bench.folder / str(i), "--overwrite")
        dumps.append((bench.folder / str(i)).read_bytes())
    assert dumps[0] == dumps[1]
    first, other = (safetensors.read(bench.folder / name) for name in "12")
    assert all((first[name] != other[name]).any() for name in first)


def test_routing_from_a_file(bench):
    """A dump of one run forces another, of other weights and another scope, to the same experts."""
    dump, again = bench.folder / "dump", bench.folder / "again"
    bench.valid(case_of_files("tiny_v2", cases=[{"strategy": "ep"}]), "--dump", dump)
    config = case_of_files("tiny_v2", cases=[{"strategy": ["tp", "ep"]}, {"strategy": "eps", "chunks": 3}], scope="layer")
    config["model"] = {"preset": "tiny", "layers": 4, "overrides": {"n_routed_experts": 16, "n_group": 4, "topk_group": 2}}
    config["workload"] = {"batch": 2, "sequence_length": 24, "routing": {"kind": "file", "path": str(dump)}}
    done = bench.valid(config, "--dump", again, "--overwrite", ranks=3)
    for layer in 1, 2, 3:
        assert numpy.array_equal(ids_of(again, layer), ids_of(CASES / "tiny_v2/reference.safetensors", layer))
    assert done.report["results"][0]["load"]["expert_max_rows"] == 19  # of layer 3


def agrees_bit_for_bit(result):
    """Compared with one other case, with a bound of zero."""
    bitwise = [check for check in result["checks"] if check["kind"] == "agreement" and check["bound"] == 0]
    return len(bitwise) == 1 and bitwise[0]["passed"] and bitwise[0]["compared"] > 0


def test_oracle_is_marked_and_computes_the_same(bench):
    cases = [
        {"strategy": "ep", "gemm": "dense", "oracle": [False, True]},
        {"strategy": "eps", "chunks": 2, "gemm": "dense", "oracle": True},
    ]
    config = {"model": {"preset": "tiny", "layers": 4}, "workload": {"sequence_length": UNEVEN}, "cases": cases}
    results = bench.valid(config, ranks=4).report["results"]
    assert ["ORACLE" in result["flags"] for result in results] == [False, True, True]
    for result in results[1:]:
        assert agrees_bit_for_bit(result)
        assert result["load"] == results[0]["load"]


@pytest.mark.parametrize("scope", ["model", "layer", "moe"])
@pytest.mark.parametrize("ranks", [1, 4])
def test_spot_checks(bench, ranks, scope):
    """Asked for where the reference would do; agreement is bit for bit as well."""
    cases = [
        {"strategy": "ep", "gemm": "dense"},
        {"strategy": "eps", "chunks": [2, 4], "gemm": "dense"},
        {"strategy": ["tp", "tp_ep"]},
        {"strategy": "ep", "dtype": "bf16"},
    ]
    workload = {"sequence_length": [100, 1, 60]}
    config = {"model": {"preset": "tiny"}, "scope": scope, "workload": workload, "validate": {"kind": "spot"}, "cases": cases}
    results = bench.valid(config, ranks=ranks).report["results"]
    for result in results:
        check = result["check"]
        assert (check["kind"], check["passed"]) == ("spot", True)
        assert check["compared"] >= 96 and 0 < check["tokens"] <= 64
    assert agrees_bit_for_bit(results[1]) and agrees_bit_for_bit(results[2])


def test_auto_takes_the_reference_while_it_is_small(bench):
    config = {"model": {"preset": "tiny"}, "cases": [{"strategy": "ep"}]}
    for batch, kind in (8, "reference"), (64, "spot"):
        done = bench.valid({**config, "workload": {"batch": batch, "sequence_length": 128}}, "--overwrite", ranks=2)
        (result,) = done.report["results"]
        assert (result["model"]["flops"] <= 10e9) == (kind == "reference")
        assert result["check"]["kind"] == kind


def test_routing_of_real_gates_is_reported_as_uneven_as_it_is(bench):
    """One token: three experts have a row, twelve have none."""
    workload = {"batch": 1, "sequence_length": 1}
    config = {"model": {"preset": "tiny", "layers": 2}, "workload": workload, "cases": STRATEGIES}
    done = bench.valid(config, ranks=4)
    for result in done.report["results"]:
        assert (result["load"]["expert_min_rows"], result["load"]["expert_max_rows"]) == (0, 1)
        assert result["load"]["expert_max_over_mean"] == pytest.approx(15 / 3)
