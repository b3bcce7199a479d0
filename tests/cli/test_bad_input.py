"""Bad input: one line that says what, where and what would help, the status of its kind, nothing left behind."""

import json
import resource
import shutil

import numpy
import pytest

import safetensors
from running import CASES, case_of_files, placement

USAGE, DATA, INVALID, RESOURCE = 2, 3, 4, 5

GOOD = {"model": {"preset": "tiny", "layers": 2}, "workload": {"batch": 2, "sequence_length": 8}, "cases": [{"strategy": "ep"}]}


def but(**keys):
    return {**GOOD, **keys}


def model_but(**overrides):
    return but(model={"preset": "tiny", "overrides": overrides})


def text_but(old, new):
    """The good config's text with a piece exchanged: for what no JSON writer would write."""
    text = json.dumps(GOOD)
    assert old in text
    return text.replace(old, new)


def refused(done, status, *said):
    """One line of the program's own, with all of these pieces, and no trace of a run."""
    assert done.status == status, done.stderr
    assert len(done.errors) == 1, done.stderr
    (line,) = done.errors
    assert line.startswith("eps-bench: ")
    for piece in said:
        assert str(piece) in line
    assert done.stdout == ""
    assert not done.report_path.exists()
    assert not list(done.report_path.parent.glob("**/.eps-bench*"))
    return line


CONFIGS = {
    "unknown key": (but(modle=1), "/modle is no known key", 'nearest: "model"'),
    "unknown key inside": (but(workload={"batchsize": 2}), "/workload/batchsize", 'nearest: "batch"'),
    "unknown key of a case": (
        but(cases=[{"strategy": "ep"}, {"strategy": "eps", "chunk": 2}]),
        "/cases/1/chunk", '"chunks"'),
    "text for a number": (but(workload={"batch": "8"}), '/workload/batch is "8"', "expected an integer"),
    "number for a text": (but(name=7), "/name is 7", "expected a text"),
    "text for a flag": (but(cases=[{"strategy": "ep", "overlap": "yes"}]), '/cases/0/overlap is "yes"', "true or false"),
    "list for an object": (but(workload=[8]), "/workload is [8]", "expected an object"),
    "object for a list": (but(cases={"strategy": "ep"}), "/cases is", "expected a list"),
    "null": (but(workload={"batch": None}), "/workload/batch is null", "expected an integer"),
    "negative": (but(workload={"batch": -8}), "/workload/batch is -8", "from 1 to"),
    "zero": (but(workload={"sequence_length": 0}), "/workload/sequence_length is 0", "from 1 to"),
    "zero in a list": (but(workload={"sequence_length": [3, 0]}), "/workload/sequence_length/1 is 0", "from 1 to"),
    "fractional": (but(workload={"batch": 2.5}), "/workload/batch is 2.5", "expected an integer"),
    "huge": (but(workload={"batch": 2**40}), "/workload/batch is 1099511627776", "to 1048576"),
    "beyond 64 bits": (but(workload={"batch": 10**30}), "/workload/batch is 1e+30", "expected an integer"),
    "huge together": (
        but(workload={"batch": 2**20, "sequence_length": 2**20}),
        "/workload/sequence_length", "tokens, expected at most"),
    "huge model": (model_but(hidden_size=2**24, vocab_size=2**24), "/model/overrides", "parameters, more than"),
    "negative seconds": (but(measure={"max_seconds": -1}), "/measure/max_seconds is -1", "from 0 up"),
    "NaN": (text_but('"batch": 2', '"batch": NaN'), "not JSON", "line 1, column"),
    "infinite": (text_but('"batch": 2', '"batch": 1e999'), "1e999", "line 1, column"),
    "duplicate key": (
        text_but('"layers"', '"preset": "tiny", "layers"'),
        '/model/preset: duplicate key "preset"', "line 1, column"),
    "not JSON": ("model: tiny", "not JSON", "line 1, column 1"),
    "half a document": (json.dumps(GOOD)[:-2], "not JSON", "end of input"),
    "not UTF-8": (b'{"name": "\xff"}', "not JSON", "UTF-8"),
    "empty file": ("", "is empty", "expected a JSON document"),
    "another document": ("[]", "the document is []", "expected an object"),
    "no model": ({"cases": [{"strategy": "ep"}]}, "/model is missing", '{"preset": NAME}'),
    "two models": (but(model={"preset": "tiny", "checkpoint": "x"}), "/model is", "one of the two"),
    "no cases": ({"model": {"preset": "tiny"}}, "/cases is missing", "a list of cases"),
    "empty cases": (but(cases=[]), "/cases is []", "at least one case"),
    "empty list in a case": (but(cases=[{"strategy": []}]), "/cases/0/strategy is an empty list", "at least one value"),
    "the same case twice": (
        but(cases=[{"strategy": ["ep", "tp"]}, {"strategy": "tp"}]),
        "/cases/1 makes the case tp", "every case once"),
    "strategy": (but(cases=[{"strategy": "epx"}]), '/cases/0/strategy is "epx"', '"eps_serial"', 'nearest: "ep"'),
    "preset": (but(model={"preset": "deepseek-v3"}), '/model/preset is "deepseek-v3"', 'nearest: "deepseek-v2"'),
    "dtype": (but(dtype="fp32"), '/dtype is "fp32"', '"f32" or "bf16"'),
    "dtype of a case": (
        but(cases=[{"strategy": "ep", "dtype": ["f32", "f16"]}]),
        '/cases/0/dtype/1 is "f16"', '"f32" or "bf16"'),
    "scope": (but(scope="layers"), '/scope is "layers"', 'nearest: "layer"'),
    "backend": (but(backend="gpu"), '/backend is "gpu"', '"cpu"'),
    "routing": (but(workload={"routing": {"kind": "zip"}}), '/workload/routing/kind is "zip"', 'nearest: "zipf"'),
    "unreachable share": (
        but(workload={"routing": {"kind": "hot", "experts": [0, 1], "share": 0.9}}),
        "/workload/routing/share is 0.9", "distinct experts"),
    "kind of check": (but(validate={"kind": "none"}), '/validate/kind is "none"', '"reference"'),
    "top-k beyond the experts": (
        model_but(num_experts_per_tok=16),
        "/model/overrides/num_experts_per_tok", "16 is more than n_routed_experts 15"),
    "top-k beyond the groups": (
        model_but(num_experts_per_tok=10),
        "num_experts_per_tok 10 is more than the 9 experts of topk_group 3 groups"),
    "groups that experts do not fill": (model_but(n_group=4), "n_routed_experts 15 is no multiple of n_group 4"),
    "unknown override": (model_but(hidden_sise=96), "/model/overrides/hidden_sise", 'nearest known key: "hidden_size"'),
    "zero override": (model_but(hidden_size=0), "/model/overrides/hidden_size is 0", "from 1 to"),
    "more layers than there are": (but(model={"preset": "tiny", "layers": 9}), "/model/layers is 9", "from 1 to 8"),
    "attention does not make the world": (
        but(cases=[placement(tp=3, ep=2)]),
        "/cases/0/placement does not fit", "attention.tp 3", "must be 2"),
    "experts do not make the world": (
        but(cases=[placement(tp=2, ep=4)]),
        "/cases/0/placement does not fit", "experts.ep 4", "must be 2"),
    "placement beside a strategy": (
        but(cases=[{**placement(dp=2, ep=2), "strategy": "ep"}]),
        "/cases/0/placement", "one of the two"),
    "stages of one layer": (
        but(scope="moe", cases=[{"strategy": "pp"}]),
        "/cases/0/strategy has pipeline stages", 'the scope "model" or "layer"'),
    "stages of one layer, placed": (
        but(scope="moe", cases=[placement(pp=2)]),
        "/cases/0/placement has pipeline stages", 'scope "moe"'),
    "scope without its layer": (
        but(scope="moe", model={"preset": "tiny", "layers": 1}),
        '/scope is "moe"', "none of the 1 layers"),
    "unused key": (but(cases=[{"strategy": "dp", "dedup": True}]), '/cases/0/dedup is not used by strategy "dp"', '"gemm"'),
    "lengths for another batch": (
        but(workload={"batch": 3, "sequence_length": [1, 2]}),
        "/workload/sequence_length has 2 lengths for a batch of 3"),
    "a checkpoint's file for another scope": (
        but(scope="layer", workload={"tokens": "x"}),
        "/workload/tokens", 'expected "random"'),
    "link": (but(link={"gb_per_s": 0}), "/link/gb_per_s is 0, expected a number"),
    "link of another kind": (but(link=20), "/link is 20", 'expected null or an object such as {"gb_per_s": 20'),
    "link of a case": (
        but(cases=[{"strategy": "ep", "link": [None, {"latency_us": -1}]}]),
        "/cases/0/link/1/latency_us is -1, expected a number"),
    "calibration": (but(calibration="h200"), '/calibration is "h200"', "which is not there", "h200x4, h800x8"),
    "ranks": (but(ranks=64), "/ranks is 64", "were started", 'the backend "sim"'),
    "backend of another build": (but(backend="cuda"), '/backend is "cuda"', "not in this build", '"cpu"'),
    "simulator with a gate": (but(backend="sim"), "/workload/routing/kind", 'the backend "sim" runs no gate'),
    "simulator with unknown times": (
        but(backend="sim", workload={"routing": {"kind": "uniform"}}, calibration="h9000"),
        '/calibration is "h9000"', "h200x4, h800x8"),
    "transport": (but(cases=[{"strategy": "ep", "transport": "copy"}]), '/cases/0/transport is "copy"', 'for the backend "cuda"'),
    "comm_ctas": (
        but(cases=[{"strategy": "eps", "comm_ctas": [None, 8]}]),
        "/cases/0/comm_ctas/1 is 8", 'for the backend "cuda"'),
    "gemm_sms": (
        but(cases=[{"strategy": "eps", "gemm_sms": 100}]), "/cases/0/gemm_sms is 100", 'for the backend "cuda"'),
    "report without a name": (but(report=""), '/report is ""', "not empty"),
}


@pytest.mark.parametrize("config, said", [(c[0], c[1:]) for c in CONFIGS.values()], ids=CONFIGS)
def test_configs(bench, config, said):
    line = refused(bench(config), USAGE, *said)
    assert str(bench.config_path) in line or "configs/models" in line


def test_a_missing_config(bench):
    config = bench.folder / "nowhere.json"
    refused(bench(None, "--config", config), USAGE, config, "no such file")


def test_no_config(bench):
    refused(bench(None), USAGE, "--config FILE is missing", "mpirun -n 4 eps-bench --config")
    refused(bench(None, "--config", bench.folder), USAGE, bench.folder, "is a folder")


COMMAND_LINES = {
    "unknown flag": (["--overwite"], "--overwite", "--help"),
    "no pointer": (["--set", "workload"], "--set workload", "/POINTER=VALUE"),
    "nothing there": (["--set", "/workload/batch/x=1"], "--set /workload/batch/x=1", 'no "x"'),
    "value that is no JSON": (["--set", "/workload={"], "--set /workload={", "not JSON"),
    "bad value": (["--batch", "-1"], "/workload/batch is -1"),
    "bad strategy": (["--strategies", "ep,epp"], '/cases/0/strategy/1 is "epp"', 'nearest: "ep"'),
    "time limit of zero": (["--op-timeout", "0"], "--op-timeout is 0", "above 0"),
}


@pytest.mark.parametrize("flags, said", [(c[0], c[1:]) for c in COMMAND_LINES.values()], ids=COMMAND_LINES)
def test_command_lines(bench, flags, said):
    refused(bench(GOOD, *flags), USAGE, *said)


def test_output_paths(bench):
    """Found before the first case: nothing runs in vain."""
    (bench.folder / "file").write_text("")
    for flag, what in ("--report", "report"), ("--dump", "dump"), ("--timeline", "timeline"):
        for path, why in (
            (bench.folder, "is a folder"),
            (bench.folder / "file/below.json", "is not a folder"),
            ("/proc/new.json", "no file can be made"),
            (bench.folder / "file", "exists already"),
        ):
            refused(bench(GOOD, flag, path), USAGE, f"{what} path '{path}'", why)
    refused(bench(GOOD, "--dump", bench.report_path), USAGE, "/dump is", "another path than that of the report")
    refused(bench(GOOD, "--timeline", bench.report_path), USAGE, "timeline", "is that of the report too", "another path")


# Checkpoints, broken one way each. The copy is in `folder`.

SHARD = "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


def edited(folder, name, edit):
    header, data = safetensors.split((folder / name).read_bytes())
    changed = edit(header)
    (folder / name).write_bytes(safetensors.join(header if changed is None else changed, data))


def entry_but(**keys):
    """Changes the entry of the shard's last tensor."""

    def edit(header):
        header[last_of(header)].update(keys)

    return lambda folder: edited(folder, SHARD, edit)


def last_of(header):
    return max((name for name in header if name != "__metadata__"), key=lambda name: header[name]["data_offsets"])


def overlap(header):
    size = header[last_of(header)]["data_offsets"][1] - header[last_of(header)]["data_offsets"][0]
    header[last_of(header)]["data_offsets"] = [0, size]


def rename(old, new):
    def edit(header):
        header[new] = header.pop(old)

    return edit


def edited_index(edit):
    def change(folder):
        index = json.loads((folder / INDEX).read_text())
        edit(index["weight_map"])
        (folder / INDEX).write_text(json.dumps(index))

    return change


def truncated(num_bytes):
    return lambda folder: (folder / SHARD).write_bytes((folder / SHARD).read_bytes()[:num_bytes])


def long_header(folder):
    raw = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes((2**63 + 9).to_bytes(8, "little") + raw[8:])


EXPERT = "model.layers.3.mlp.experts.7.up_proj.weight"

CHECKPOINTS = {
    "missing folder": (shutil.rmtree, "is no folder", "config.json"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json", "no such file"),
    "broken config": (lambda folder: (folder / "config.json").write_text("{"), "config.json", "not JSON"),
    "another family": (
        lambda folder: (folder / "config.json").write_text('{"model_type": "llama"}'), "/model_type", '"deepseek_v2"'),
    "no weights": (
        lambda folder: [path.unlink() for path in folder.glob("model*")],
        "neither model.safetensors.index.json nor model.safetensors"),
    "broken index": (lambda folder: (folder / INDEX).write_text('{"weight_map"'), INDEX, "not JSON"),
    "index without a map": (lambda folder: (folder / INDEX).write_text("{}"), INDEX, "weight_map"),
    "index that leaves the folder": (
        edited_index(lambda names: names.update({EXPERT: "../secret"})), INDEX, EXPERT, "a file in this folder"),
    "missing shard": (lambda folder: (folder / SHARD).unlink(), SHARD, "no such file", INDEX),
    "empty shard": (truncated(0), SHARD, "0 bytes", "truncated"),
    "truncated in its header": (truncated(1000), SHARD, "header", "truncated"),
    "truncated in its data": (truncated(-1), SHARD, "truncated"),
    "header longer than the file": (long_header, SHARD, "header of 9223372036854775817 bytes", "longer than the file"),
    "header that is no JSON": (
        lambda folder: (folder / SHARD).write_bytes((8).to_bytes(8, "little") + b"tensors!" + bytes(64)),
        SHARD, "header", "not JSON"),
    "overlapping offsets": (lambda folder: edited(folder, SHARD, overlap), SHARD, "overlap"),
    "offsets out of range": (entry_but(data_offsets=[0, 2**40]), SHARD, "1099511627776", "truncated"),
    "negative offsets": (entry_but(data_offsets=[-8, 0]), SHARD, "[-8,0]", "expected two integers"),
    "offsets of another size": (entry_but(data_offsets=[0, 2]), SHARD, "hold 2 bytes", "expected"),
    "unknown dtype": (entry_but(dtype="F7"), SHARD, 'dtype is "F7"'),
    "dtype of no weight": (
        lambda folder: edited(folder, SHARD, lambda header: header[EXPERT].update(dtype="I16")),
        SHARD, EXPERT, "I16", "BF16, F16 or F32"),
    "absurd shape": (entry_but(shape=[2**40, 2**40]), SHARD, "too large"),
    "shape mismatch": (
        lambda folder: edited(folder, SHARD, lambda header: header[EXPERT].update(shape=[64, 24])),
        SHARD, EXPERT, "[64, 24]", "[24, 64]"),
    "missing tensor": (
        lambda folder: edited(folder, SHARD, rename(EXPERT, "other")), SHARD, EXPERT, "missing", INDEX),
    "tensor missing from the index": (
        edited_index(lambda names: names.pop(EXPERT)),
        INDEX, EXPERT, "expected 24 x 64 values"),
    "tensor of another model": (
        edited_index(lambda names: names.update({"model.layers.3.mlp.extra.weight": SHARD})),
        INDEX, "model.layers.3.mlp.extra.weight", "another model"),
}


def checkpoint_run(bench, break_it, **config):
    folder = bench.folder / "checkpoint"
    shutil.copytree(CASES / "tiny_v2", folder)
    break_it(folder)
    return bench(case_of_files("tiny_v2", cases=[{"strategy": ["ep", "tp"]}], model={"checkpoint": str(folder)}, **config))


@pytest.mark.parametrize("break_it, said", [(c[0], c[1:]) for c in CHECKPOINTS.values()], ids=CHECKPOINTS)
def test_checkpoints(bench, break_it, said):
    line = refused(checkpoint_run(bench, break_it), DATA, *said)
    assert str(bench.folder / "checkpoint") in line


def test_overrides_that_contradict_a_checkpoint(bench):
    config = case_of_files("tiny_v2", cases=[{"strategy": "ep"}])
    config["model"]["overrides"] = {"vocab_size": 127}
    refused(bench(config), DATA, "model.embed_tokens.weight", "[128, 64]", "[127, 64]", "/model/overrides")


def poisoned(name, bits):
    def change(folder):
        header, data = safetensors.split((folder / SHARD).read_bytes())
        begin = header[name]["data_offsets"][0]
        (folder / SHARD).write_bytes(safetensors.join(header, data[:begin] + bits.to_bytes(2, "little") + data[begin + 2 :]))

    return change


@pytest.mark.parametrize(
    "name, bits",
    [
        ("model.layers.3.mlp.experts.15.down_proj.weight", 0x7FC0),
        ("model.layers.3.input_layernorm.weight", 0xFF80),
        (EXPERT, 0x7F80),
    ],
    ids=["NaN in the last expert", "-infinity in a norm", "infinity in an expert"],
)
def test_weights_that_are_not_finite_are_invalid(bench, name, bits):
    done = checkpoint_run(bench, poisoned(name, bits))
    assert (done.status, done.errors) == (INVALID, [])
    for result in done.report["results"]:
        assert not result["valid"]
        assert any("NaN or infinite" in reason and "weights" in reason for reason in result["invalid_reasons"])
    assert done.stdout.count("INVALID") >= 2


def test_weights_of_layers_that_are_not_built_may_be_anything(bench):
    folder = bench.folder / "checkpoint"
    shutil.copytree(CASES / "tiny_v2", folder)
    poisoned(EXPERT, 0x7FC0)(folder)
    bench.valid(case_of_files("tiny_v2", cases=[{"strategy": "ep"}], model={"checkpoint": str(folder), "layers": 3}))


# Files of tokens and of routing.

REFERENCE = safetensors.read(CASES / "tiny_v2/reference.safetensors")
IDS = REFERENCE["input_ids"]


def at(array, position, value):
    changed = array.copy()
    changed[position] = value
    return changed


TOKENS = {
    "missing": (None, "cannot be opened"),
    "not there": ({"tokens": IDS}, "tensor input_ids is missing", "[2, 24]"),
    "another batch": ({"input_ids": IDS[:1]}, "input_ids", "[1, 24]", "[2, 24]"),
    "too short": ({"input_ids": IDS[:, :23]}, "input_ids", "[2, 23]", "24"),
    "not integers": ({"input_ids": IDS.astype(numpy.float32)}, "input_ids is F32", "expected int64"),
    "beyond the vocabulary": ({"input_ids": at(IDS, (1, 23), 128)}, "input_ids", "128", "127"),
    "negative": ({"input_ids": at(IDS, (1, 0), -1)}, "input_ids", "-1"),
}


@pytest.mark.parametrize("tensors, said", [(c[0], c[1:]) for c in TOKENS.values()], ids=TOKENS)
def test_token_files(bench, tensors, said):
    path = bench.folder / "tokens"
    if tensors is not None:
        safetensors.write(path, tensors)
    config = case_of_files("tiny_v2", cases=[{"strategy": "ep"}])
    config["workload"]["tokens"] = str(path)
    refused(bench(config), DATA, path, *said)


ROUTED = {name: array for name, array in REFERENCE.items() if name.endswith("topk_ids")}
LAYER = "layers.2.topk_ids"
ROUTING = {
    "missing": (None, "cannot be opened"),
    "a layer missing": ({name: array for name, array in ROUTED.items() if name != LAYER}, f"tensor {LAYER} is missing"),
    "another top-k": ({**ROUTED, LAYER: ROUTED[LAYER][:, :2]}, LAYER, "[48, 2]", "[48, 3]"),
    "no such expert": ({**ROUTED, LAYER: at(ROUTED[LAYER], (47, 0), 16)}, LAYER, "token 47", "16"),
    "an expert twice": ({**ROUTED, LAYER: at(ROUTED[LAYER], (47, slice(None)), [1, 2, 1])}, LAYER, "token 47", "1"),
    "too many groups": ({**ROUTED, LAYER: at(ROUTED[LAYER], (47, slice(None)), [0, 5, 10])}, LAYER, "token 47", "groups"),
}


@pytest.mark.parametrize("tensors, said", [(c[0], c[1:]) for c in ROUTING.values()], ids=ROUTING)
def test_routing_files(bench, tensors, said):
    path = bench.folder / "routing"
    if tensors is not None:
        safetensors.write(path, tensors)
    config = case_of_files("tiny_v2", cases=[{"strategy": "ep"}])
    config["workload"]["routing"] = {"kind": "file", "path": str(path)}
    refused(bench(config), DATA, path, *said)


# More than the machine has.

TOO_LARGE = {
    "weights": but(model={"preset": "deepseek-v2"}),
    "copies of the weights": but(model={"preset": "deepseek-v2", "layers": 12}, cases=[{"strategy": "ep"}, {"strategy": "dp"}]),
    "tokens": but(workload={"batch": 1, "sequence_length": 2_000_000_000}),
    "sequences": but(workload={"batch": 1_000_000, "sequence_length": 2000}),
    "buffers": but(scope="moe", workload={"batch": 2, "sequence_length": 100_000_000}),
}


@pytest.mark.parametrize("config", TOO_LARGE.values(), ids=TOO_LARGE)
@pytest.mark.parametrize("flags", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_more_memory_than_the_machine_has(bench, config, flags):
    line = refused(bench(config, *flags), RESOURCE, "GiB", "host", "available", "fewer layers or tokens")
    figures = [float(word) for word, unit in zip(line.split(), line.split()[1:]) if unit.rstrip(",;") == "GiB"]
    assert len(figures) == 2 and figures[0] > figures[1] > 0
    # Of any process that this test has started, mpirun's children included.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 1_000_000  # KiB
