"""odd_configs.json is what odd_configs.py computes."""
import json
import math
import pathlib

import odd_configs


def numbers(value):
    if isinstance(value, dict):
        return [n for key in sorted(value) for n in numbers(value[key])]
    if isinstance(value, list):
        return [n for item in value for n in numbers(item)]
    return [value]


def test_the_committed_expectations_are_those_of_the_script():
    committed = json.loads(pathlib.Path(__file__).with_name("odd_configs.json").read_text())
    computed = odd_configs.document()
    assert [case["config"] for case in committed] == [case["config"] for case in computed]
    for old, new in zip(committed, computed):
        pairs = list(zip(numbers(old["expected"]), numbers(new["expected"]), strict=True))
        assert len(pairs) > 100
        assert all(math.isclose(a, b, rel_tol=1e-7, abs_tol=1e-9) for a, b in pairs)
