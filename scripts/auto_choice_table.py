#!/usr/bin/env python3
"""What "auto" reaches beside the best fixed choice and the paper's rules, from reports of configs/auto-choice.json.

Prints Markdown, one line per report and wire: the tokens per second of `eps` with auto, of the best fixed number of
chunks and GEMM kind, and of the paper's rules (5 chunks; GroupGemm below 4096 rows per expert), each as a ratio of
auto to it; predicted over measured time of the experts segments; and the verdict: auto is within 3 % of the best, or
their intervals overlap.
"""
import argparse
import json
import pathlib
import sys

WITHIN = 0.97


def speed(result):
    return result["metrics"]["tokens_per_second"]


def value(result):
    """The median; 0 where there is none."""
    return speed(result)["value"] or 0


def overlap(a, b):
    low = [speed(r)["ci_low"] if speed(r)["ci_low"] is not None else speed(r)["min"] for r in (a, b)]
    high = [speed(r)["ci_high"] if speed(r)["ci_high"] is not None else speed(r)["max"] for r in (a, b)]
    return max(low) <= min(high)


def wire(result):
    link = result["link"]
    return "none" if link is None else f"{link['gb_per_s']:g} GB/s"


def predicted_over_measured(result):
    pairs = [(c["predicted_seconds"], c["measured_seconds"]) for c in result["expert_choices"]]
    if not pairs or any(p is None or not m for p, m in pairs):
        return None
    return sum(p for p, _ in pairs) / sum(m for _, m in pairs)


def paper_rule(result):
    params = result["params"]
    return params["chunks"] == 5 and params["gemm"] == ("group" if most_rows(result) < 4096 else "dense")


def most_rows(result):
    return max((kind["most_rows_per_expert"] for c in result["expert_choices"] for kind in c["gemm"]), default=0)


def lines_of(name, document):
    for link in dict.fromkeys(wire(r) for r in document["results"]):
        cases = [r for r in document["results"] if r["params"]["strategy"] == "eps" and wire(r) == link and r["valid"]]
        auto = [r for r in cases if r["params"]["chunks"] == "auto"]
        fixed = [r for r in cases if r["params"]["chunks"] != "auto"]
        if not auto or not fixed:
            yield [name, link, "-", "-", "-", "-", "-", "-", "no valid cases"], False
            continue
        auto, best = auto[0], max(fixed, key=value)
        paper = next((r for r in fixed if paper_rule(r)), None)
        ratio = value(auto) / value(best)
        together = overlap(auto, best)
        predicted = predicted_over_measured(auto)
        yield [
            name, link, f"{auto['chosen']['chunks']} {auto['chosen'].get('gemm', '')}", f"{value(auto):.0f}",
            f"{best['params']['chunks']} {best['params']['gemm']}", f"{ratio:.3f}",
            "-" if paper is None else f"{value(auto) / value(paper):.3f}",
            "-" if predicted is None else f"{predicted:.2f}",
            "within 3 %" if ratio >= WITHIN else "intervals overlap" if together else "SLOWER",
        ], ratio >= WITHIN or together


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", type=pathlib.Path)
    header = ["report", "wire", "auto", "tokens/s", "best fixed", "auto / best", "auto / paper's rules",
              "predicted / measured", "verdict"]
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    all_good = True
    for path in sorted(parser.parse_args().reports):
        for cells, good in lines_of(path.stem, json.loads(path.read_text())):
            print("| " + " | ".join(cells) + " |")
            all_good = all_good and good
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())
