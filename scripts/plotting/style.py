"""Colours, fonts and figures that the charts share."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402  (after the backend is chosen)

INK, MUTED, GRID = "#22272e", "#6b7280", "#e5e7eb"

STRATEGY_COLOURS = {
    "ep": "#4a6fa5",
    "dp": "#8a9bb4",
    "tp": "#b08ea2",
    "pp": "#a3a380",
    "tp_ep": "#6c9a8b",
    "eps": "#e07a3f",
    "eps_serial": "#f0b67f",
    "placement": "#9c89b8",
}

# Related work has related colours: attention blue, routing violet, experts orange, sums brown, exchanges green.
OP_COLOURS = {
    "attention": "#2f5d8a",
    "linear": "#5b8db8",
    "rope": "#a3c4e0",
    "rms_norm": "#c3d3e3",
    "embed": "#dbe4ee",
    "gate": "#7d5ba6",
    "route": "#a78bc4",
    "map_rows": "#c4b0d9",
    "map_home": "#dccfe9",
    "pack_rows": "#b8a9c9",
    "expert_gemm": "#e07a3f",
    "swiglu": "#f2b880",
    "local_reduce": "#b5835a",
    "unpack_sum": "#d1ad8c",
    "add": "#d9cfc5",
    "clear": "#e6e0da",
    "exchange_counts": "#1f6f5c",
    "all_to_all": "#3fa27f",
    "reduce_scatter": "#7cc29a",
    "all_gather": "#a9d8b8",
    "all_reduce": "#5bb5a2",
    "send": "#2c8c99",
    "receive": "#7fc4cc",
    "other": "#d1d5db",
}
SPARE_COLOURS = ["#c94f7c", "#8d6a9f", "#6d9dc5", "#bfa24a", "#7a8450", "#a44a3f"]  # for ops not known here

plt.rcParams.update(
    {
        "font.size": 10,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.titlelocation": "left",
        "axes.titlesize": 12,
        "axes.titleweight": "bold",
        "axes.titlepad": 12,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "ytick.labelcolor": INK,
        "xtick.labelcolor": INK,
        "text.color": INK,
        "grid.color": GRID,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "hatch.linewidth": 0.6,
        "svg.hashsalt": "eps-bench",  # the same picture gives the same bytes
        "savefig.bbox": "tight",
        "savefig.facecolor": "white",
    }
)


def op_colours(ops):
    """A colour for each of these op kinds, the same in every chart for those that are known."""
    unknown = sorted(set(ops) - set(OP_COLOURS))
    spare = {op: SPARE_COLOURS[idx % len(SPARE_COLOURS)] for idx, op in enumerate(unknown)}
    return {op: OP_COLOURS.get(op) or spare[op] for op in ops}


def strategy_colour(strategy):
    return STRATEGY_COLOURS.get(strategy, "#9ca3af")


def case_rows(cases):
    """(y of each case, [(y, report) headings]): rows downwards, reports apart where there are several."""
    several = len({case.report for case in cases}) > 1
    rows, headings, y = [], [], 0.0
    for idx, case in enumerate(cases):
        if several and (idx == 0 or cases[idx - 1].report != case.report):
            y += 0.5 if idx else 0
            headings.append((y, case.report))
            y += 0.85
        rows.append(y)
        y += 1
    return rows, headings


def name_rows(axes, cases, rows, headings):
    axes.set_yticks(rows, [case.label if case.valid else f"{case.label} (INVALID)" for case in cases])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(max(rows) + 0.7, min(rows + [y for y, _ in headings]) - 0.7)
    for y, report in headings:
        axes.annotate(
            report,
            (0, y),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontweight="bold",
            color=MUTED,
        )


def save(figure, folder, name, formats):
    """Writes folder/name.FORMAT for each format; returns the paths."""
    paths = [folder / f"{name}.{fmt}" for fmt in formats]
    for path in paths:
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=160, metadata=metadata)
    plt.close(figure)
    return paths
