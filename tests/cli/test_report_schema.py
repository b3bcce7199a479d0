"""The JSON Schema of the report: documents that the program writes obey it, broken ones do not."""

import copy
import json

import jsonschema
import pytest

from report_checks import SCHEMA, SOURCE, read_checked

SAMPLE_PATH = SOURCE / "tests/report/data/sample_report.json"  # written by test_report.cpp
SAMPLE = json.loads(SAMPLE_PATH.read_text())


def errors_of(document):
    return [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(document)]


def changed(*path, value):
    """The sample with the item at `path` replaced, added, or (value is ...) removed."""
    document = copy.deepcopy(SAMPLE)
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    if value is ...:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return document


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_the_sample_obeys():
    assert errors_of(SAMPLE) == []
    assert read_checked(SAMPLE_PATH) == SAMPLE


def objects_in(value, path=()):
    if isinstance(value, dict):
        yield path
        for key, item in value.items():
            yield from objects_in(item, path + (key,))
    elif isinstance(value, list):
        for idx, item in enumerate(value):
            yield from objects_in(item, path + (idx,))


FREE = {"config", "env", "metrics", "placement"}  # objects whose keys are not ours to fix, and what is in them


@pytest.mark.parametrize("path", [p for p in objects_in(SAMPLE) if not FREE & set(map(str, p))], ids=str)
def test_every_object_is_closed(path):
    assert errors_of(changed(*path, "surprise", value=1)) != []


@pytest.mark.parametrize("key", ["schema", "tool", "run", "environment", "results"])
def test_every_part_is_required(key):
    assert errors_of(changed(key, value=...)) != []


@pytest.mark.parametrize("key", sorted(SAMPLE["results"][0]))
def test_every_field_of_a_result_is_required(key):
    assert errors_of(changed("results", 0, key, value=...)) != []


@pytest.mark.parametrize(
    "path, value",
    [
        (("schema_version",), 2),
        (("tool", "git_sha"), "0123"),
        (("run", "utc_start"), "yesterday"),
        (("run", "config_sha256"), "abc"),
        (("environment", "env", "PATH"), "/bin"),
        (("environment", "ranks", 0, "threads"), 0),
        (("results", 0, "tokens"), 10.5),
        (("results", 0, "params", "chunks"), "four"),
        (("results", 0, "flags"), ["noisy interval"]),
        (("results", 0, "invalid_reasons"), ["but valid"]),
        (("results", 0, "metrics", "tokens_per_second", "value"), None),
        (("results", 0, "metrics", "tokens_per_second", "better"), "up"),
        (("results", 0, "metrics", "tokens_per_second", "samples"), ["1"]),
        (("results", 0, "metrics", "tokens_per_second"), ...),
        (("results", 0, "check"), None),
        (("results", 0, "check", "compared"), 0),
        (("results", 0, "check", "reason"), "but passed"),
        (("results", 0, "communication", "hidden"), 1.5),
        (("results", 3, "invalid_reasons"), []),
        (("results", 3, "check", "reason"), None),
        (("results", 3, "valid"), True),
    ],
    ids=str,
)
def test_what_contradicts_itself_is_refused(path, value):
    assert errors_of(changed(*path, value=value)) != []
