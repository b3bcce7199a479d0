"""Where the time goes: busy seconds by op kind, compute above exchange, and how much of the exchange is exposed."""

from matplotlib.patches import Patch

from plotting.style import INK, MUTED, case_rows, name_rows, op_colours, plt

SMALL = 0.015  # ops below this share of the longest bar are drawn as one


def sums_by_op(case, exchange):
    """{op: [busy ms, exposed ms]} of the exchange lanes or of the others."""
    sums = {}
    for phase in case.phases:
        if (phase.exposed_seconds is not None) == exchange:
            entry = sums.setdefault(phase.op, [0.0, 0.0])
            entry[0] += 1e3 * phase.busy_seconds
            entry[1] += 1e3 * (phase.exposed_seconds or 0)
    return sums


def fold_small(bars):
    """Ops that are small in every bar become `other`; returns the bars and the ops left, largest first."""
    longest = max(sum(busy for busy, _ in bar.values()) for bar in bars)
    largest = {}
    for bar in bars:
        for op, (busy, _) in bar.items():
            largest[op] = max(largest.get(op, 0), busy)
    kept = sorted((op for op in largest if largest[op] >= SMALL * longest), key=lambda op: -largest[op])
    folded = []
    for bar in bars:
        rest = [entry for op, entry in bar.items() if op not in kept]
        new = {op: bar[op] for op in kept if op in bar}
        if rest:
            new["other"] = [sum(busy for busy, _ in rest), sum(exposed for _, exposed in rest)]
        folded.append(new)
    return folded, kept + (["other"] if any("other" in bar for bar in folded) else [])


def draw_bar(axes, y, parts):
    """`parts` [(length, colour, alpha)] from left to right; returns where the bar ends."""
    left = 0.0
    for length, colour, alpha in parts:
        axes.barh(y, length, left=left, height=0.36, color=colour, alpha=alpha, linewidth=0)
        left += length
    return left


def exchange_parts(bar, colours):
    exposed = [(out, colours[op], 1.0) for op, (_, out) in bar.items()]
    hidden = [(busy - out, colours[op], 0.4) for op, (busy, out) in bar.items()]
    return exposed + hidden


def legend_order(ops, bars):
    """Ops of the compute bars, then those of the exchange bars alone."""
    computing = {op for bar in bars[0::2] for op in bar}
    return [op for op in ops if op in computing] + [op for op in ops if op not in computing]


def draw(cases):
    """A figure, or a sentence that says why there is none."""
    cases = [case for case in cases if case.phases]
    if not cases:
        return "no case has phases"
    ordered = [sums_by_op(case, exchange) for case in cases for exchange in (False, True)]
    bars, ops = fold_small(ordered)
    colours = op_colours(ops)
    rows, headings = case_rows(cases)
    figure, axes = plt.subplots(figsize=(9, 0.62 * (max(rows) + 1) + 1.3))
    longest = max(sum(busy for busy, _ in bar.values()) for bar in bars)
    for idx, (y, case) in enumerate(zip(rows, cases)):
        draw_bar(axes, y - 0.2, [(busy, colours[op], 1.0) for op, (busy, _) in bars[2 * idx].items()])
        end = draw_bar(axes, y + 0.2, exchange_parts(bars[2 * idx + 1], colours))
        if case.busy_seconds > 0:
            share = 100 * case.exposed_seconds / case.busy_seconds
            axes.text(end + longest * 0.01, y + 0.2, f"{share:.0f} % exposed", va="center", fontsize=8, color=MUTED)
        if case.pass_seconds:
            time = 1e3 * case.pass_seconds.value
            axes.plot([time, time], [y - 0.42, y + 0.42], color=INK, linewidth=1.6)
            longest = max(longest, time)
    name_rows(axes, cases, rows, headings)
    axes.set_xlim(0, longest * 1.12)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("busy ms of a pass, mean over ranks: compute above, exchange below (strong: exposed, pale: hidden)")
    axes.set_title("Where the time goes")
    handles = [Patch(color=colours[op], label=op) for op in legend_order(ops, bars)]
    handles.append(plt.Line2D([], [], color=INK, linewidth=1.6, label="time of the pass"))
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure
