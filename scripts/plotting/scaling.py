"""Throughput against the number of ranks, from reports of the same cases on more and more of them."""

from plotting.inputs import short
from plotting.style import plt, strategy_colour

MARKERS = "osD^vP"
OF_THE_WORLD = ("placement", "chunks")  # what grows with the number of ranks, or differs for want of experts


def series_of(cases):
    """{(strategy, other parameters): its cases by ranks}"""
    series = {}
    for case in cases:
        if case.valid and case.tokens_per_second:
            dropped = OF_THE_WORLD if case.strategy in ("placement", "pp") else OF_THE_WORLD[:1]
            others = tuple((key, short(value)) for key, value in case.params.items() if key not in dropped)
            series.setdefault((case.strategy, others), []).append(case)
    found = {key: sorted(own, key=lambda case: case.ranks) for key, own in series.items()}
    return {key: own for key, own in found.items() if len({case.ranks for case in own}) > 1}


def label_of(key, keys):
    strategy, others = key
    rivals = [dict(other) for name, other in keys if name == strategy]
    return " ".join([strategy] + [f"{k} {v}" for k, v in others if any(rival.get(k) != v for rival in rivals)])


def draw(cases):
    """One line a strategy and its parameters, beside what the smallest number of ranks promises the others."""
    series = series_of(cases)
    if not series:
        return "no case was run on several numbers of ranks"
    figure, axes = plt.subplots(figsize=(6.8, 4.4))
    first = min((own[0] for own in series.values()), key=lambda case: (case.ranks, -case.tokens_per_second.value))
    ticks = sorted({case.ranks for own in series.values() for case in own})
    per_rank = first.tokens_per_second.value / first.ranks
    axes.plot(ticks, [per_rank * ranks for ranks in ticks], color="#9ca3af", linestyle="--", label="in proportion")
    for idx, (key, own) in enumerate(series.items()):
        axes.plot(
            [case.ranks for case in own],
            [case.tokens_per_second.value for case in own],
            color=strategy_colour(key[0]),
            marker=MARKERS[idx % len(MARKERS)],
            linewidth=1.8,
            label=label_of(key, list(series)),
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(ticks, ticks)
    axes.grid(axis="y")
    axes.set_xlabel("ranks" + (", modelled" if all(case.modelled for case in cases) else ""))
    axes.set_ylabel("prompt tokens per second")
    axes.set_title("Scaling")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    return figure
