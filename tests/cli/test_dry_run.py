"""--dry-run, --plan and what else is told without running anything."""

import json
import re
import resource

import pytest

from running import SOURCE, placement

RANKS = 4
UNITS = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "B": 1}
NUM = r"([0-9.]+) (GiB|MiB|KiB|B)"


def in_bytes(number, unit):
    return float(number) * UNITS[unit]


def told(bench, config, *flags, ranks=RANKS):
    """Cases by name: placement, GFLOP, and per rank weights, buffers, peak and bytes to each rank."""
    done = bench(config, "--dry-run", *flags, ranks=ranks)
    assert (done.status, done.stderr) == (0, "")
    assert [path.name for path in bench.folder.iterdir()] == ["config.json"]
    heading, *blocks = done.stdout.rstrip("\n").split("\n\n")
    cases = {}
    for block in blocks:
        name, where, flops, titles, *rows = block.splitlines()
        assert titles.split()[:4] == ["rank", "weights", "buffers", "peak"]
        table = []
        for rank, row in enumerate(rows):
            assert row.split()[0] == str(rank)
            weights, buffers, peak, *links = [in_bytes(*match) for match in re.findall(NUM, row)]
            links.insert(rank, 0)
            table.append({"weights": weights, "buffers": buffers, "peak": peak, "links": links})
        assert len(table) == ranks and all(len(row["links"]) == ranks for row in table)
        cases[name] = {
            "placement": where.split("placement: ")[1], "gflop": float(re.match(r" *([0-9.]+) GFLOP", flops)[1]), "ranks": table}
    return heading, cases


ROUTINGS = [{"kind": "gate"}, {"kind": "zipf", "exponent": 1.0}]
PREDICTED = [
    {"strategy": "ep"}, {"strategy": "tp"}, {"strategy": "pp"}, {"strategy": "pp", "chunks": 1}, {"strategy": "eps", "chunks": 3},
    {"strategy": "eps", "chunks": 2, "dedup": False, "combine": "per_chunk"}, {"strategy": "tp_ep", "dtype": "bf16"},
    placement(dp=4, ep=2, edp=2),
]


@pytest.mark.parametrize("routing", ROUTINGS, ids=lambda routing: routing["kind"])
def test_predictions_hold(bench, routing):
    """Peak memory within 10 %, FLOPs exactly."""
    config = {"model": {"preset": "tiny"}, "workload": {"sequence_length": [64, 100, 7, 85], "routing": routing}}
    config["cases"] = PREDICTED
    heading, cases = told(bench, config)
    assert "tiny on 4 ranks, 256 tokens" in heading
    assert len(cases) == len(PREDICTED)
    for result in bench.valid(config, ranks=RANKS).report["results"]:
        predicted = cases[result["name"]]
        assert predicted["gflop"] == pytest.approx(result["model"]["flops"] / 1e9, abs=6e-4)
        for rank, row in zip(result["per_rank"], predicted["ranks"]):
            assert row["weights"] == pytest.approx(rank["weight_bytes"], abs=0.006 * 2**20)
            assert row["peak"] == pytest.approx(rank["peak_bytes"], rel=0.1)
            assert row["weights"] < row["peak"] <= row["weights"] + row["buffers"] + 0.02 * 2**20


@pytest.mark.parametrize("routing", ROUTINGS, ids=lambda routing: routing["kind"])
def test_predictions_hold_where_buffers_are_most_of_it(bench, routing):
    config = {"model": {"preset": "tiny", "layers": 2}, "scope": "moe", "validate": {"kind": "spot"},
              "workload": {"batch": 8, "sequence_length": 512, "routing": routing}, "cases": [{"strategy": "eps", "chunks": 4}]}
    _, cases = told(bench, config)
    done = bench.valid(config, ranks=RANKS)
    (result,) = done.report["results"]
    # How uneven the gate's choice will be nobody knows beforehand.
    within = 0.1 if routing["kind"] != "gate" else 0.25
    for rank, row in zip(result["per_rank"], cases[result["name"]]["ranks"]):
        assert row["buffers"] > row["weights"]
        assert row["peak"] == pytest.approx(rank["peak_bytes"], rel=within)


def test_links(bench):
    """Bytes that rows of known number take."""
    tokens, hidden = [64, 100, 7, 85], 96
    config = {"model": {"preset": "tiny", "layers": 4}, "workload": {"sequence_length": tokens},
              "cases": [{"strategy": ["pp", "dp", "tp", "ep"]}, {"strategy": "ep", "dedup": False}]}
    _, cases = told(bench, config)
    links = {name.rsplit("/dtype", 1)[0]: [row["links"] for row in case["ranks"]] for name, case in cases.items()}
    whole = sum(tokens) * hidden * 4
    tolerance = 0.006 * 2**20
    for rank in range(RANKS):
        for peer in range(RANKS):
            onwards = whole if peer == rank + 1 else 0
            assert links["pp"][rank][peer] == pytest.approx(onwards, abs=tolerance)
            assert links["dp"][rank][peer] == 0
            # All-reduce after attention and experts of each layer: a quarter of the rows out and one home, to every peer.
            shares = 0 if peer == rank else 4 * 2 * 2 * whole / 4
            assert links["tp"][rank][peer] == pytest.approx(shares, abs=tolerance, rel=0.02)
    assert sum(map(sum, links["ep/dedup=false"])) > sum(map(sum, links["ep"])) > 0


def test_nothing_is_allocated(bench):
    config = {"model": {"preset": "deepseek-v2-lite", "layers": 4}, "workload": {"batch": 4, "sequence_length": 2048},
              "cases": [{"strategy": ["ep", "tp", "pp"]}]}
    _, cases = told(bench, config, ranks=2)
    assert len(cases) == 3
    for case in cases.values():
        assert all(row["peak"] > 2**30 for row in case["ranks"])
    # Of any process that this module has started, mpirun's children included.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 500_000  # KiB


def test_no_output_is_touched(bench):
    config = {"model": {"preset": "tiny", "layers": 2}, "workload": {"batch": 2}, "cases": [{"strategy": "ep"}]}
    told(bench, config, "--dump", bench.folder / "new/dump", "--timeline", bench.folder / "new.trace.json", ranks=1)


def test_plans(bench):
    config = {"model": {"preset": "tiny", "layers": 2}, "workload": {"batch": 3, "sequence_length": 16},
              "cases": [{"strategy": "eps", "chunks": 2}, {"strategy": "pp"}]}
    done = bench(config, "--plan", ranks=3)
    assert (done.status, done.stderr) == (0, "")
    assert [path.name for path in bench.folder.iterdir()] == ["config.json"]
    eps, pp = re.split(r"^pp/dtype=f32$", done.stdout, flags=re.M)
    assert eps.startswith("eps/chunks=2/dtype=f32\n")
    for plans in eps, pp:
        assert re.findall(r"^rank (\d)$", plans, re.M) == ["0", "1", "2"]
        assert len(re.findall(r"^[0-9]+ ops on [0-9]+ lanes", plans, re.M)) == 3
    assert len(re.findall(r"^experts, layer 1$", eps, re.M)) == 3
    for op in "all_to_all", "expert_gemm", "local_reduce", "exchange_counts":
        assert re.search(rf"\b{op}\b", eps)
    assert re.search(r"^  dispatch .* all_to_all,? .* all_to_all,? ", eps, re.M)  # one for each chunk
    assert re.search(r"\bsend\b", pp) and re.search(r"\breceive\b", pp) and "all_to_all" not in pp


def test_shipped_configs_are_affordable(bench):
    """All of configs/, as they lie there, on 4 ranks: checked whole, memory included. Modelled ones are run."""
    for path in sorted((SOURCE / "configs").glob("*.json")):
        if json.loads(path.read_text()).get("backend") == "sim":
            done = bench(None, "--config", path, "--report", bench.report_path, ranks=1)
            assert (done.status, done.errors) == (0, []) and "MODELLED" in done.stdout, path
            continue
        done = bench(None, "--config", path, "--dry-run", ranks=4)
        if json.loads(path.read_text()).get("backend") == "cuda" and done.status != 0:
            assert done.status == 2 and '/backend is "cuda", which is not in this build' in done.errors[0], path
            continue
        assert (done.status, done.errors) == (0, []), path
        assert done.stdout.count("GFLOP") >= 6


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_shipped_configs_for_gpus_fit_any_number_of_them(bench, ranks):
    """Their cases with a narrow model on CPUs, which have no transports and no multiprocessors to share."""
    narrow = {"hidden_size": 256, "moe_intermediate_size": 64, "q_lora_rank": 64, "kv_lora_rank": 64, "vocab_size": 512}
    for path in sorted((SOURCE / "configs").glob("gpu-*.json")):
        config = json.loads(path.read_text())
        assert config.pop("backend") == "cuda"
        config["model"]["overrides"] = {"intermediate_size": 64} | config["model"].get("overrides", {}) | narrow
        config["workload"]["batch"] = 2 * ranks
        cases = [{key: value for key, value in case.items() if key not in ("transport", "comm_ctas", "gemm_sms")}
                 for case in config["cases"]]
        config["cases"] = [case for i, case in enumerate(cases) if case == config["cases"][i]]
        _, told_cases = told(bench, config, ranks=ranks)
        assert told_cases, path


def test_questions_that_need_no_config(bench):
    for flag, answers in {
        "--help": ["--config", "--dry-run", "--op-timeout", "mpirun -n 4"],
        "--version": ["eps-bench 0.", "("],
        "--list": ["eps_serial", "tp_ep", "deepseek-v2-lite", "zipf", "moe"],
    }.items():
        done = bench(None, flag)
        assert (done.status, done.stderr) == (0, "")
        assert all(answer in done.stdout for answer in answers)
        assert done.stdout.count(answers[0]) < 4 and not list(bench.folder.iterdir())  # once, not once a rank
