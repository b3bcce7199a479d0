"""All charts of what was read, drawn and written."""

import re

from plotting import chunks, lanes, overlap, phases, scaling, throughput
from plotting.style import save


def file_names(timelines):
    """lanes for a lone case; otherwise lanes-01-ep, lanes-02-eps-chunks-4, ..."""
    if len(timelines) == 1:
        return ["lanes"]
    slugs = [re.sub(r"[^a-z0-9_]+", "-", timeline.case.lower()).strip("-")[:60] for timeline in timelines]
    return [f"lanes-{idx:02}-{slug}" for idx, slug in enumerate(slugs, 1)]


def charts(cases, timelines):
    """(name, figure or the reason why there is none); figures are drawn one at a time."""
    if cases is not None:
        for name, chart in ("throughput", throughput), ("chunks", chunks), ("phases", phases):
            yield name, chart.draw(cases)
        if len({overlap.wire(case) for case in cases}) > 2:
            yield "overlap", overlap.draw(cases)
        if len({case.ranks for case in cases}) > 1:
            yield "scaling", scaling.draw(cases)
    for name, timeline in zip(file_names(timelines), timelines):
        yield name, lanes.draw(timeline)


def write(cases, timelines, folder, formats):
    """Lines that say what was written and what was skipped, as it happens."""
    for name, figure in charts(cases, timelines):
        if isinstance(figure, str):
            yield f"{name}: skipped, {figure}"
        else:
            yield from map(str, save(figure, folder, name, formats))
