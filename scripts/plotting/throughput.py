"""Tokens per second of every case, with intervals."""

from plotting.style import INK, MUTED, case_rows, name_rows, plt, strategy_colour


def rate_text(rate):
    return f"{rate:,.0f}" if rate >= 1000 else f"{rate:.4g}"


def draw(cases):
    """A figure, or a sentence that says why there is none."""
    if not any(case.tokens_per_second for case in cases):
        return "no case was measured"
    rows, headings = case_rows(cases)
    figure, axes = plt.subplots(figsize=(8, 0.42 * (max(rows) + 1) + 1.1))
    longest = max(case.tokens_per_second.high for case in cases if case.tokens_per_second)
    for y, case in zip(rows, cases):
        rate = case.tokens_per_second
        if rate is None:
            axes.text(longest * 0.01, y, "not measured", va="center", color=MUTED, fontsize=9)
            continue
        colour = strategy_colour(case.strategy)
        if case.valid:
            axes.barh(y, rate.value, height=0.68, color=colour)
        else:
            axes.barh(y, rate.value, height=0.68, color="none", edgecolor=MUTED, hatch="////", linewidth=0.6)
        axes.plot([rate.low, rate.high], [y, y], color=INK, linewidth=1.4, marker="|", markersize=7)
        verdict = "  NOISY" if case.valid and case.noisy else ""
        axes.text(rate.high + longest * 0.015, y, f"{rate_text(rate.value)}{verdict}", va="center", fontsize=9)
    name_rows(axes, cases, rows, headings)
    axes.set_xlim(0, longest * 1.14)
    axes.xaxis.set_major_formatter("{x:,.0f}" if longest >= 10 else "{x:g}")
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("prompt tokens per second (median; line: 95 % interval, or min to max with few samples)")
    axes.set_title("Throughput")
    return figure
