"""What every report must be, beyond any one test: obedient to the schema, and true to itself."""

import json
import os
import pathlib
import statistics

import jsonschema

SOURCE = pathlib.Path(os.environ.get("EPS_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
SCHEMA = json.loads((SOURCE / "configs/schema/report.schema.json").read_text())


def check_metric(metric):
    samples = metric["samples"]
    assert metric["n"] == len(samples)
    assert metric["value"] == metric["median"]
    if samples:
        assert metric["median"] == statistics.median(samples)
        assert (metric["min"], metric["max"]) == (min(samples), max(samples))
        if metric["ci_low"] is not None:
            assert metric["min"] <= metric["ci_low"] <= metric["median"] <= metric["ci_high"] <= metric["max"]


def check_speedup(result, results):
    base = next(r for r in results if (r["dtype"], r["link"]) == (result["dtype"], result["link"]))
    if result["speedup"] is None:
        assert not (base["valid"] and result["valid"])
        return
    rates = [r["metrics"]["tokens_per_second"]["value"] for r in (result, base)]
    assert result["speedup"]["against"] == base["name"]
    assert abs(result["speedup"]["value"] - rates[0] / rates[1]) < 1e-9 * rates[0] / rates[1]


def check_result(result, results):
    for metric in result["metrics"].values():
        check_metric(metric)
    check_speedup(result, results)
    assert result["check"] is None or result["check"] in result["checks"]
    assert result["valid"] <= all(check["passed"] for check in result["checks"] if check["decisive"])
    assert [rank["rank"] for rank in result["per_rank"]] == list(range(len(result["per_rank"])))
    communication = result["communication"]
    assert communication["exposed_seconds"] <= communication["busy_seconds"] * (1 + 1e-9)


def read_checked(path):
    """The document at `path`, after all checks."""
    document = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    jsonschema.Draft7Validator(SCHEMA).validate(document)
    names = [result["name"] for result in document["results"]]
    assert len(set(names)) == len(names)
    assert [place["rank"] for place in document["environment"]["ranks"]] == list(range(len(document["environment"]["ranks"])))
    assert {place["host"] for place in document["environment"]["ranks"]} == {h["name"] for h in document["environment"]["hosts"]}
    for result in document["results"]:
        check_result(result, document["results"])
    return document
