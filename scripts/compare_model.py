#!/usr/bin/env python3
"""How well the simulator foretells: measured reports beside modelled ones of the same configs.

    compare_model.py MEASURED.json MODELLED.json [MEASURED.json MODELLED.json ...]

Cases are matched by name. Prints each case's seconds a pass and the error of the prediction; then the median error, and
of all pairs of cases on the same wire of one run whose measured times differ by more than 10 %, how many the model
puts in the right order.
"""

import argparse
import itertools
import json
import statistics
import sys

DIFFERENT = 0.10


def valid_cases(path):
    """name: (wire, median seconds of a pass)."""
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    if report.get("schema") != "eps-bench/report":
        sys.exit(f"{path}: is not a report of eps-bench")
    modelled = report["run"]["config"]["backend"] == "sim"
    return modelled, {
        result["name"]: (json.dumps(result["link"], sort_keys=True), result["metrics"]["pass_seconds"]["median"])
        for result in report["results"] if result["valid"]}


def pairs_in_order(cases):
    """(right, all) of the pairs that differ; `cases`: (wire, measured, modelled)."""
    right = total = 0
    for (wire, measured, modelled), (other_wire, other_measured, other_modelled) in itertools.combinations(cases, 2):
        if wire != other_wire or max(measured, other_measured) < (1 + DIFFERENT) * min(measured, other_measured):
            continue
        total += 1
        right += (measured < other_measured) == (modelled < other_modelled)
    return right, total


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("reports", nargs="+", metavar="MEASURED MODELLED", help="reports in pairs")
    paths = parser.parse_args().reports
    if len(paths) % 2:
        sys.exit("reports come in pairs: measured, modelled, ...")
    errors, right, total = [], 0, 0
    for measured_path, modelled_path in zip(paths[::2], paths[1::2]):
        is_modelled, measured = valid_cases(measured_path)
        is_model, modelled = valid_cases(modelled_path)
        if is_modelled or not is_model:
            sys.exit(f"{measured_path} must be measured and {modelled_path} modelled")
        names = [name for name in measured if name in modelled]
        missing = sorted(set(measured) ^ set(modelled))
        print(f"{measured_path} and {modelled_path}: {len(names)} cases")
        for name in missing:
            print(f"  only in one of them: {name}")
        width = max(map(len, names), default=0)
        print(f"  {'case':{width}}  measured ms  modelled ms    error")
        cases = []
        for name in names:
            (wire, seconds), (_, predicted) = measured[name], modelled[name]
            errors.append(abs(predicted / seconds - 1))
            cases.append((wire, seconds, predicted))
            print(f"  {name:{width}}  {1e3 * seconds:11.3f}  {1e3 * predicted:11.3f}  {predicted / seconds - 1:+7.1%}")
        in_order = pairs_in_order(cases)
        right, total = right + in_order[0], total + in_order[1]
    if not errors:
        sys.exit("no case is in both")
    print(f"{len(errors)} cases: median error {statistics.median(errors):.1%}, largest {max(errors):.1%}")
    print(f"{total} pairs differ by more than {DIFFERENT:.0%}: {right} in the right order"
          + (f" ({right / total:.1%})" if total else ""))


if __name__ == "__main__":
    main()
