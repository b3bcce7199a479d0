"""Lanes over time, from a timeline: the whole pass, and one layer of it in close-up."""

from matplotlib.patches import Patch

from plotting.style import MUTED, op_colours, plt

MANY = 5000  # events: more than that would make an SVG of many megabytes


def tracks_of(events):
    """(rank, lane) from top to bottom."""
    return [track[::2] for track in sorted({(event.rank, event.track, event.lane) for event in events})]


def close_up(events):
    """(from, to, title) of the middle one of the layers that have experts, or None where layers are not known."""
    with_experts = sorted({event.layer for event in events if event.op == "expert_gemm" and event.layer is not None})
    layers = with_experts or sorted({event.layer for event in events if event.layer is not None})
    if len(layers) < 2:
        return None
    layer = layers[len(layers) // 2]
    inside = [event for event in events if event.layer == layer]
    begin, end = min(event.begin_ms for event in inside), max(event.end_ms for event in inside)
    return begin, end, f"Layer {layer}"


def draw_tracks(axes, events, tracks, colours, window, edge=0.0):
    begin, end = window
    for y, track in enumerate(tracks):
        spans = [e for e in events if (e.rank, e.lane) == track and e.end_ms > begin and e.begin_ms < end]
        axes.broken_barh(
            [(e.begin_ms, e.end_ms - e.begin_ms) for e in spans],
            (y - 0.4, 0.8),
            facecolors=[colours[e.op] for e in spans],
            edgecolor="white",
            linewidth=edge,
            rasterized=len(events) > MANY,
        )
        if y and tracks[y - 1][0] != track[0]:
            axes.axhline(y - 0.5, color=MUTED, linewidth=0.5)
    axes.set_yticks(range(len(tracks)), [f"rank {rank}  {lane}" for rank, lane in tracks])
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.set_ylim(len(tracks) - 0.4, -0.6)
    axes.set_xlim(begin, end)
    axes.set_xlabel("ms")
    axes.grid(axis="x")


def draw(timeline):
    """A figure."""
    events = timeline.events
    tracks = tracks_of(events)
    colours = op_colours({event.op for event in events})
    end = max(event.end_ms for event in events)
    detail = close_up(events)
    # Sizes in inches; what lies outside the panels (names, legend) widens the picture when it is saved.
    num_panels, height, gap = (2 if detail else 1), max(0.2 * len(tracks), 0.5), 1.0
    size = (9, num_panels * height + (num_panels - 1) * gap)
    figure, panels = plt.subplots(num_panels, 1, figsize=size, squeeze=False)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1, hspace=gap / height)
    draw_tracks(panels[0, 0], events, tracks, colours, (0, end))
    panels[0, 0].set_title(f"Lanes over time: {timeline.case}" if timeline.case else "Lanes over time")
    if detail:
        draw_tracks(panels[1, 0], events, tracks, colours, detail[:2], edge=0.5)
        panels[1, 0].set_title(detail[2])
        panels[0, 0].axvspan(*detail[:2], color=MUTED, alpha=0.15, linewidth=0, zorder=0)
    busy = {}
    for event in events:
        busy[event.op] = busy.get(event.op, 0) + event.end_ms - event.begin_ms
    handles = [Patch(color=colours[op], label=op) for op in sorted(busy, key=lambda op: -busy[op])]
    panels[0, 0].legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.08), borderaxespad=0, fontsize=8)
    return figure
