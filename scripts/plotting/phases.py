"""Where the time goes: busy seconds by op kind, compute above exchange, and how much of the exchange is exposed."""

from matplotlib.patches import Patch

from plotting.style import INK, MUTED, case_rows, name_rows, op_colours, plt

SMALL = 0.015  # ops below this share of the longest bar of their side are drawn as one


def sums_by_op(case, exchange):
    """{op: [busy ms, exposed ms]} of the exchange lanes or of the others."""
    sums = {}
    for phase in case.phases:
        if (phase.exposed_seconds is not None) == exchange:
            entry = sums.setdefault(phase.op, [0.0, 0.0])
            entry[0] += 1e3 * phase.busy_seconds
            entry[1] += 1e3 * (phase.exposed_seconds or 0)
    return sums


def length_of(bar):
    return sum(busy for busy, _ in bar.values())


def fold_small(bars):
    """Ops that are small in every bar become `other`; returns the bars, ops from large to small."""
    longest = max(map(length_of, bars))
    largest = {}
    for bar in bars:
        for op, (busy, _) in bar.items():
            largest[op] = max(largest.get(op, 0), busy)
    kept = sorted((op for op in largest if largest[op] >= SMALL * longest), key=lambda op: -largest[op])
    folded = []
    for bar in bars:
        rest = [entry for op, entry in bar.items() if op not in kept]
        folded.append({op: bar[op] for op in kept if op in bar})
        if rest:
            folded[-1]["other"] = [sum(busy for busy, _ in rest), sum(exposed for _, exposed in rest)]
    return folded


def ops_of(bars):
    """In the order of the longest bar, `other` last."""
    ops = dict.fromkeys(op for bar in sorted(bars, key=length_of, reverse=True) for op in bar)
    return sorted(ops, key=lambda op: op == "other")


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


def draw(cases):
    """A figure, or a sentence that says why there is none."""
    cases = [case for case in cases if case.phases]
    if not cases:
        return "no case has phases"
    compute = fold_small([sums_by_op(case, False) for case in cases])
    exchange = fold_small([sums_by_op(case, True) for case in cases])
    ops = list(dict.fromkeys(ops_of(compute) + ops_of(exchange)))
    colours = op_colours(ops)
    rows, headings = case_rows(cases)
    figure, axes = plt.subplots(figsize=(9, 0.62 * (max(rows) + 1) + 1.3))
    longest = max(map(length_of, compute + exchange))
    for y, case, computing, exchanging in zip(rows, cases, compute, exchange):
        draw_bar(axes, y - 0.2, [(busy, colours[op], 1.0) for op, (busy, _) in computing.items()])
        end = draw_bar(axes, y + 0.2, exchange_parts(exchanging, colours))
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
    handles = [Patch(color=colours[op], label=op) for op in ops]
    handles.append(plt.Line2D([], [], color=INK, linewidth=1.6, label="time of the pass"))
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure
