"""All charts of what was read, drawn and written."""

from plotting import chunks, lanes, phases, throughput
from plotting.style import save


def drawn(cases, timeline):
    """[(name, figure or the reason why there is none)]; `cases` or `timeline` may be None."""
    charts = []
    if cases is not None:
        charts += [(chart.__name__.split(".")[-1], chart.draw(cases)) for chart in (throughput, chunks, phases)]
    if timeline is not None:
        charts.append(("lanes", lanes.draw(timeline)))
    return charts


def write(cases, timeline, folder, formats):
    """Lines that say what was written and what was skipped."""
    lines = []
    for name, figure in drawn(cases, timeline):
        if isinstance(figure, str):
            lines.append(f"{name}: skipped, {figure}")
        else:
            lines += [str(path) for path in save(figure, folder, name, formats)]
    return lines
