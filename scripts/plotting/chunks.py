"""Time of a pass against the number of chunks, beside the strategies that do not chunk."""

from plotting.inputs import short
from plotting.style import plt, strategy_colour

BASELINES = ("ep", "tp_ep")
MARKERS = "osD^vP"
DASHES = ["--", ":", "-."]


def chunks_of(case):
    chunks = case.chosen.get("chunks", case.params.get("chunks"))
    return chunks if isinstance(chunks, int) else None


def series_of(cases):
    """{(strategy, other parameters): its cases by chunks}"""
    series = {}
    for case in cases:
        if case.valid and case.pass_seconds and case.strategy.startswith("eps") and chunks_of(case):
            others = tuple((key, short(value)) for key, value in case.params.items() if key != "chunks")
            series.setdefault((case.strategy, others), []).append(case)
    return {key: sorted(found, key=chunks_of) for key, found in series.items()}


def series_label(key, keys):
    """The strategy, and the parameters in which its series differ."""
    strategy, others = key
    rivals = [dict(other) for name, other in keys if name == strategy]
    return " ".join([strategy] + [f"{k} {v}" for k, v in others if any(rival.get(k) != v for rival in rivals)])


def draw_series(axes, series):
    for idx, (key, cases) in enumerate(series.items()):
        times = [case.pass_seconds for case in cases]
        axes.errorbar(
            [chunks_of(case) for case in cases],
            [1e3 * time.value for time in times],
            yerr=[[1e3 * (t.value - t.low) for t in times], [1e3 * (t.high - t.value) for t in times]],
            color=strategy_colour(key[0]),
            marker=MARKERS[idx % len(MARKERS)],
            capsize=3,
            linewidth=1.8,
            label=series_label(key, list(series)),
        )


def draw_baselines(axes, cases):
    baselines = [case for case in cases if case.strategy in BASELINES and case.valid and case.pass_seconds]
    for idx, case in enumerate(baselines):
        time, colour = case.pass_seconds, strategy_colour(case.strategy)
        axes.axhline(1e3 * time.value, color=colour, linestyle=DASHES[idx % len(DASHES)], label=case.label)
        axes.axhspan(1e3 * time.low, 1e3 * time.high, color=colour, alpha=0.12, linewidth=0)


def draw_panel(axes, cases, series):
    draw_series(axes, series)
    draw_baselines(axes, cases)
    ticks = sorted({chunks_of(case) for found in series.values() for case in found})
    if ticks[-1] >= 8 * ticks[0]:
        axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, ticks)
    axes.minorticks_off()
    axes.grid(axis="y")
    axes.set_xlabel("chunks (groups of a rank's experts)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def draw(cases):
    """A figure with one panel a report, or a sentence that says why there is none."""
    panels = {}
    for report in dict.fromkeys(case.report for case in cases):
        own = [case for case in cases if case.report == report]
        series = series_of(own)
        if len({chunks_of(case) for found in series.values() for case in found}) >= 2:
            panels[report] = (own, series)
    if not panels:
        return "fewer than two numbers of chunks among the valid cases of eps and eps_serial"
    figure, grid = plt.subplots(1, len(panels), figsize=(5.8 * len(panels) + 0.6, 4.2), sharey=True, squeeze=False)
    for axes, (report, (own, series)) in zip(grid[0], panels.items()):
        draw_panel(axes, own, series)
        axes.set_title(f"Time against chunks: {report}" if len(panels) > 1 else "Time against chunks")
    grid[0, 0].set_ylabel("time of a pass in ms")
    figure.subplots_adjust(wspace=0.08)
    return figure
