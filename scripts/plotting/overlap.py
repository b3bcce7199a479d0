"""When overlap pays: eps against ep, over how long the exchange takes beside the expert GEMMs."""

from plotting.chunks import DASHES, MARKERS, chunks_of
from plotting.inputs import short
from plotting.style import MUTED, plt

TICKS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]
COLOURS = ["#f0b67f", "#e07a3f", "#a8471d", "#6b2d12", "#3b1a0b"]


def busy(case, op):
    return sum(phase.busy_seconds for phase in case.phases if phase.op == op)


def exchange_over_gemms(case):
    return busy(case, "all_to_all") / busy(case, "expert_gemm")


def wire(case):
    return short(case.params["link"])


def same_but_wire(case):
    return (case.report, case.params["dtype"])


def baselines_of(cases):
    """{(report, dtype, wire): ep with its shared experts beside the dispatch}"""
    return {
        (*same_but_wire(case), wire(case)): case
        for case in cases
        if case.strategy == "ep" and case.valid and case.params.get("overlap") and busy(case, "expert_gemm") > 0
    }


def series_of(cases, baselines):
    """{number of chunks or "auto": [(exchange over GEMMs, speed against ep, its ends)]}"""
    series = {}
    for case in cases:
        base = baselines.get((*same_but_wire(case), wire(case)))
        if base is None or case.strategy != "eps" or not case.valid or not chunks_of(case):
            continue
        rate, slowest = case.tokens_per_second, base.tokens_per_second.value
        point = exchange_over_gemms(base), rate.value / slowest, rate.low / slowest, rate.high / slowest
        series.setdefault(case.params.get("chunks", chunks_of(case)), []).append(point)
    return {chunks: sorted(points) for chunks, points in sorted(series.items(), key=lambda item: str(item[0]))}


def draw(cases):
    """A figure, or a sentence that says why there is none."""
    baselines = baselines_of(cases)
    series = series_of(cases, baselines)
    if len(baselines) < 3 or not any(len(points) >= 3 for points in series.values()):
        return "fewer than three wires with a valid ep (overlap) and eps"
    figure, axes = plt.subplots(figsize=(6.8, 4.2))
    for idx, (chunks, points) in enumerate(series.items()):
        x, y, low, high = map(list, zip(*points))
        errors = [[a - b for a, b in zip(y, low)], [a - b for a, b in zip(high, y)]]
        axes.errorbar(x, y, yerr=errors, color=COLOURS[idx % len(COLOURS)], marker=MARKERS[idx % len(MARKERS)], capsize=3,
                      linewidth=1.8, label=f"eps, {chunks} chunks")
    axes.axhline(1, color=MUTED, linestyle=DASHES[0], linewidth=1)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axes.set_xticks(ticks, ticks)
    axes.minorticks_off()
    axes.grid(axis="y")
    axes.set_xlabel("exchange time over expert GEMM time, in ep")
    axes.set_ylabel("speed against ep with overlap")
    axes.set_title("When overlap pays")
    axes.legend()
    return figure
