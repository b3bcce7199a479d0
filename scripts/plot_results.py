#!/usr/bin/env python3
"""Draws eps-bench reports: throughput, time against chunks, where the time goes, lanes over time; of cases on
several wires when overlap pays; of reports with different numbers of ranks how throughput scales.

    scripts/plot_results.py results/local/quickstart-*.json --out pictures
    scripts/plot_results.py REPORT.json --timeline pass.trace.json --format svg
"""

import argparse
import pathlib
import sys

from plotting.inputs import BadInput, read_reports, read_timelines

FORMATS = ("svg", "png", "pdf")


class OneLineParser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (--help says more)\n")


def formats(text):
    chosen = text.split(",")
    for name in chosen:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"'{name}' is not one of {', '.join(FORMATS)}")
    return chosen


def arguments():
    parser = OneLineParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", metavar="REPORT", nargs="*", help="reports written by eps-bench")
    parser.add_argument("--timeline", metavar="FILE", help="a timeline written by eps-bench --timeline")
    parser.add_argument("--out", metavar="DIR", type=pathlib.Path, help="folder of the pictures (default: a new one beside the first input)")
    parser.add_argument("--format", type=formats, default=["svg", "png"], help="comma-separated: svg, png, pdf (svg,png)")
    options = parser.parse_args()
    if not options.reports and not options.timeline:
        parser.error("give at least one report or a timeline")
    if options.out is None:
        first = pathlib.Path(options.reports[0] if options.reports else options.timeline)
        options.out = first.parent / first.name.removesuffix(".json").removesuffix(".trace")
    return options


def run(options):
    cases = read_reports(options.reports) if options.reports else None
    timelines = read_timelines(options.timeline) if options.timeline else []
    # Here and not above: what is wrong with the input is said at once, and without matplotlib.
    try:
        from plotting import pictures
    except ModuleNotFoundError as missing:
        raise BadInput(f"{missing}: install python3-matplotlib, or pip install -r scripts/requirements.txt") from missing
    options.out.mkdir(parents=True, exist_ok=True)
    for line in pictures.write(cases, timelines, options.out, options.format):
        print(line)


def main():
    options = arguments()
    try:
        run(options)
    except BadInput as error:
        print(f"plot_results.py: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"plot_results.py: {options.out}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
