"""Calibrations: measured once, kept, refused where they do not fit; and the choices made from them."""

import json

import pytest
from report_checks import SOURCE

jsonschema = pytest.importorskip("jsonschema")

AUTO = {"name": "auto", "model": {"preset": "tiny", "layers": 3}, "scope": "layer",
        "workload": {"batch": 2, "sequence_length": 40}, "cases": [{"strategy": "eps"}]}
SCHEMA = json.loads((SOURCE / "configs/schema/calibration.schema.json").read_text())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache; the file that a run leaves there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def file():
        [path] = (tmp_path / "cache/eps-bench").iterdir()
        return path

    return file


def told(run):
    return [line for line in run.stderr.splitlines() if line.startswith("calibration: ")]


def test_calibrate_measures_once_and_keeps_what_it_measured(bench, cache):
    config = bench.folder / "config.json"  # whose largest exchange lies between the sizes that are measured
    config.write_text(json.dumps({**AUTO, "workload": {"batch": 2, "sequence_length": 500}}))
    first = bench(None, "calibrate", "--config", config)
    assert first.status == 0, first.stderr
    assert len(told(first)) == 1 and "measuring them once" in told(first)[0]
    document = json.loads(cache().read_text())
    jsonschema.validate(document, SCHEMA)
    assert document["measured"]["ranks"] == 2 and document["dtypes"][0]["dtype"] == "f32"
    assert {(gemm["n"], gemm["k"]) for gemm in document["dtypes"][0]["gemms"]} >= {(80, 96), (96, 40)}
    assert document["hash"] in first.stdout and str(cache()) in first.stdout

    again = bench(None, "calibrate", "--config", config)
    assert again.status == 0 and told(again) == [] and "0 tables measured" in again.stdout
    more = bench(None, "calibrate", "--config", config, "--dtype", "bf16")
    assert more.status == 0 and len(told(more)) == 1
    assert len(list(cache().parent.iterdir())) == 1  # beside what is known of f32
    assert {times["dtype"] for times in json.loads(cache().read_text())["dtypes"]} == {"f32", "bf16"}


@pytest.mark.parametrize("case, more", [({"strategy": "eps"}, {"n_routed_experts": 3, "n_group": 1, "topk_group": 1,
                                                               "num_experts_per_tok": 2}),
                                        ({"strategy": "pp"}, {})], ids=["no expert", "no MoE layer"])
def test_what_ranks_beside_the_first_ask_for_is_measured(bench, cache, case, more):
    """Of 3 experts over 4 ranks, and of 3 layers over 4 stages, rank 0 has none."""
    config = {**AUTO, "model": {"preset": "tiny", "layers": 3, "overrides": more}, "cases": [case]}
    bench.valid({**config, "workload": {"batch": 4, "sequence_length": 8}}, ranks=4)
    gemms = json.loads(cache().read_text())["dtypes"][0]["gemms"]
    assert {(gemm["n"], gemm["k"]) for gemm in gemms if gemm["experts"]} == {(80, 96), (96, 40)}


def test_a_run_that_chooses_calibrates_first_and_reports_what_it_chose(bench, cache):
    first = bench.valid({**AUTO, "cases": [{"strategy": "eps"}, {"strategy": "eps", "chunks": 2}]})
    assert len(told(first)) == 1
    used = first.report["environment"]["calibration"]
    assert used["path"] == str(cache()) and used["num_measured"] > 0
    assert used["hash"] == json.loads(cache().read_text())["hash"]
    for result in first.results().values():
        layers = [choice["layer"] for choice in result["expert_choices"]]
        assert layers == [1, 2], result["name"]
        for choice in result["expert_choices"]:
            assert sum(choice["experts_per_chunk"]) == 7 and len(choice["experts_per_chunk"]) == choice["chunks"]
            assert choice["predicted_seconds"] > 0 and choice["measured_seconds"] > 0
            assert all(kind["most_rows_per_expert"] > 0 for kind in choice["gemm"])
    assert all(choice["chunks"] == 2 for choice in first.results()["eps/chunks=2/dtype=f32"]["expert_choices"])
    chosen = first.results()["eps/dtype=f32"]["chosen"]
    assert chosen["chunks"] >= 1 and chosen["gemm"] in ("group", "dense", "mixed")

    again = bench.valid(AUTO, "--overwrite")
    assert told(again) == [] and again.report["environment"]["calibration"]["num_measured"] == 0


def test_a_run_that_chooses_nothing_does_not_calibrate(bench, cache):
    run = bench.valid({**AUTO, "cases": [{"strategy": "eps", "chunks": 2, "gemm": "group"}]})
    assert told(run) == [] and run.report["environment"]["calibration"] is None
    assert run.results()["eps/chunks=2/dtype=f32/gemm=group"]["expert_choices"][0]["predicted_seconds"] is None


def test_a_broken_cache_is_measured_anew(bench, cache):
    bench.valid(AUTO)
    whole = cache().read_text()
    for broken in ("", whole[: len(whole) // 2], whole.replace('"threads": 1', '"threads": 2', 1)):
        cache().write_text(broken)
        run = bench.valid(AUTO, "--overwrite")
        assert len(told(run)) == 2 and "measuring anew" in told(run)[0], run.stderr
        jsonschema.validate(json.loads(cache().read_text()), SCHEMA)


def test_without_a_place_to_keep_it(bench, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    run = bench.valid(AUTO)
    assert "not kept for the next run" in told(run)[-1]
    assert run.report["environment"]["calibration"]["path"] is None


def test_a_named_calibration_must_fit(bench, cache, tmp_path):
    bench.valid(AUTO)
    named = tmp_path / "named.json"
    whole = json.loads(cache().read_text())
    named.write_text(json.dumps(whole))
    assert bench.valid({**AUTO, "calibration": str(named)}, "--overwrite").report["environment"]["calibration"][
        "path"] == str(named)

    def refused(change, *said, ranks=2, **config):
        document = json.loads(json.dumps(whole))
        document["hash"] = None
        change(document)
        named.write_text(json.dumps(document))
        run = bench({**AUTO, "calibration": str(named), **config}, "--overwrite", ranks=ranks)
        assert run.status == 2 and len(run.errors) == 1, run.stderr
        for part in (str(named), *said):
            assert part in run.errors[0]

    def set_measured(key, value):
        return lambda document: document["measured"].update({key: value})

    refused(set_measured("machine", "another"), "does not fit this run", "measured on another")
    refused(set_measured("threads", 9), "measured with 9 threads a rank")
    refused(lambda document: None, "measured on 2 ranks, these are 1", ranks=1)
    shared = whole["measured"]["cores_shared"]
    refused(set_measured("cores_shared", not shared),
            "with cores of their own, these share theirs" if shared else "that share cores, these have their own")
    refused(set_measured("beyond_caches", True), "measured with weights from memory", "come from caches")
    refused(lambda document: None, "no expert GEMMs of 64 columns from 96",
            model={"preset": "tiny", "layers": 3, "overrides": {"moe_intermediate_size": 32}})
    refused(lambda document: document["dtypes"][0].pop("gates"), "/dtypes/0/gates is missing")
    missing = bench({**AUTO, "calibration": str(tmp_path / "nothing.json")}, "--overwrite")
    assert missing.status == 2 and "which is not there" in missing.errors[0]


def test_the_simulator_takes_this_machines_own(bench, cache):
    config = {**AUTO, "workload": {**AUTO["workload"], "routing": {"kind": "uniform"}}}
    modelled = {**config, "backend": "sim", "dtype": "f32", "ranks": 2}
    none = bench(modelled, ranks=1)
    assert none.status == 2 and len(none.errors) == 1, none.stderr
    assert "/calibration is null" in none.errors[0] and "mpirun -n 2 eps-bench calibrate" in none.errors[0]
    (bench.folder / "config.json").write_text(json.dumps(config))
    assert bench(None, "calibrate", "--config", bench.folder / "config.json").status == 0
    used = bench.valid(modelled, ranks=1).report["environment"]["calibration"]
    assert used == {"path": str(cache()), "hash": json.loads(cache().read_text())["hash"],
                    "about": "measured on this machine", "num_measured": 0}
    # tp has ops that this pass had not
    lacking = bench({**modelled, "cases": [{"strategy": "tp"}]}, "--overwrite", ranks=1)
    assert lacking.status == 2 and "has no times of the op reduce_scatter on the lane tensor in f32" in lacking.errors[0]


@pytest.mark.parametrize("path", sorted((SOURCE / "configs/calibrations").glob("*.json")), ids=lambda path: path.stem)
def test_shipped_calibrations_follow_the_schema(path):
    jsonschema.validate(json.loads(path.read_text()), SCHEMA)
