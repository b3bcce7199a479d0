"""Reads reports and timelines, and complains in one line about what is not one."""

import json
import math
import pathlib
from dataclasses import dataclass


class BadInput(Exception):
    """One line: which file, what is wrong."""


@dataclass
class Metric:
    value: float
    low: float  # the interval's ends, or min and max where there is no interval
    high: float


@dataclass
class Phase:
    op: str
    lane: str
    busy_seconds: float
    exposed_seconds: float | None  # None: not an exchange lane


@dataclass
class Case:
    report: str  # the run's name
    strategy: str
    params: dict
    chosen: dict
    valid: bool
    noisy: bool
    tokens_per_second: Metric | None  # None: not measured
    pass_seconds: Metric | None  # the same figure, as a time
    busy_seconds: float  # exchange lanes
    exposed_seconds: float
    phases: list[Phase]
    ranks: int
    modelled: bool
    joules: float | None  # per 1000 tokens, all devices; None: not metered
    megahertz: float | None
    label: str = ""  # set when all cases are known


@dataclass
class Event:
    rank: int
    track: int  # its number gives the order of lanes
    lane: str
    op: str
    begin_ms: float
    end_ms: float
    layer: int | None


@dataclass
class Timeline:
    case: str  # "" where the file names none
    events: list[Event]  # milliseconds from the begin of the case's pass


def read_json(path):
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"{path}: not JSON: {error}") from error


class Node:
    """A JSON value that knows where it stands, for messages."""

    def __init__(self, value, where):
        self.value, self.where = value, where

    def __getitem__(self, key):
        try:
            return Node(self.value[key], f"{self.where}/{key}")
        except (KeyError, IndexError, TypeError) as error:
            raise BadInput(f"{self.where}: no '{key}' there") from error

    def __iter__(self):
        return (Node(item, f"{self.where}/{idx}") for idx, item in enumerate(self.of(list)))

    def of(self, *kinds):
        if not isinstance(self.value, kinds) or (isinstance(self.value, bool) and bool not in kinds):
            raise BadInput(f"{self.where}: {json.dumps(self.value)[:40]} is not of the kind expected here")
        return self.value

    def number(self):
        return self.of(int, float)

    def number_or_none(self):
        return self.of(int, float, type(None))


def read_metric(node):
    value = node["value"].number_or_none()
    if value is None:
        return None
    if not 0 < value < math.inf:
        raise BadInput(f"{node.where}: a rate of {value}")
    low, high = node["ci_low"].number_or_none(), node["ci_high"].number_or_none()
    if low is None or high is None:
        low, high = node["min"].number(), node["max"].number()
    return Metric(value, low, high)


def read_phase(node):
    return Phase(
        node["op"].of(str),
        node["lane"].of(str),
        node["busy_seconds"].number(),
        node["exposed_seconds"].number_or_none(),
    )


def read_optional(metrics, name):
    return metrics[name]["value"].number_or_none() if name in metrics.of(dict) else None


def read_case(node, report):
    params = dict(node["params"].of(dict))
    params["dtype"] = node["dtype"].of(str)
    params["link"] = node["link"].of(dict, type(None))
    rate, tokens = read_metric(node["metrics"]["tokens_per_second"]), node["tokens"].number()
    communication = node["communication"]
    return Case(
        report=report,
        strategy=params.pop("strategy", "placement"),
        params=params,
        chosen=node["chosen"].of(dict),
        valid=node["valid"].of(bool),
        noisy="NOISY" in node["flags"].of(list),
        tokens_per_second=rate,
        pass_seconds=rate and Metric(tokens / rate.value, tokens / rate.high, tokens / rate.low),
        busy_seconds=communication["busy_seconds"].number(),
        exposed_seconds=communication["exposed_seconds"].number(),
        phases=[read_phase(phase) for phase in node["phases"]],
        ranks=len(node["per_rank"].of(list)),
        modelled="MODELLED" in node["flags"].of(list),
        joules=read_optional(node["metrics"], "joules_per_1000_tokens"),
        megahertz=read_optional(node["metrics"], "device_clock"),
    )


def short(value):
    """A parameter's value in a label."""
    if isinstance(value, dict):
        return ",".join(short(v) if isinstance(v, dict) else f"{k}={v}" for k, v in value.items() if v != 1)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def label_cases(cases):
    """Strategy and the parameters in which its cases differ."""
    for case in cases:
        siblings = [other.params for other in cases if other.strategy == case.strategy]
        varying = [
            key
            for key in case.params
            if any(other.get(key) != case.params[key] for other in siblings) or key == "placement"
        ]
        words = [short(case.params[key]) if key == "placement" else f"{key} {short(case.params[key])}" for key in varying]
        case.label = " ".join([case.strategy, *words])


def read_reports(paths):
    """All cases of all reports, labelled. Reports with equal names are numbered."""
    cases, names = [], []
    for path in paths:
        root = Node(read_json(path), str(path))
        if not isinstance(root.value, dict) or root.value.get("schema") != "eps-bench/report":
            raise BadInput(f"{path}: not an eps-bench report ('schema' is missing or another)")
        if root.value.get("schema_version") != 1:
            raise BadInput(f"{path}: schema_version {root.value.get('schema_version')}, only 1 is known here")
        config = root["run"]["config"].of(dict)
        name = str(config.get("name", pathlib.Path(path).stem))
        names.append(name)
        if names.count(name) > 1:
            name = f"{name} ({names.count(name)})"
        cases += [read_case(node, name) for node in root["results"]]
    label_cases(cases)
    return cases


def read_event(node, lanes, start):
    rank, track = node["pid"].number(), node["tid"].number()
    begin = (node["ts"].number() - start) / 1e3
    layer = (node.value.get("args") or {}).get("layer")
    lane = lanes.get((rank, track), f"track {track}")
    return Event(rank, track, lane, node["name"].of(str), begin, begin + node["dur"].number() / 1e3, layer)


def read_timelines(path):
    """One for each case of a Chrome trace; lanes by their thread names."""
    root = Node(read_json(path), str(path))
    lanes, cases, ops = {}, set(), []
    for node in root if isinstance(root.value, list) else root["traceEvents"]:
        event = node.of(dict)
        if event.get("ph") == "M" and event.get("name") == "thread_name":
            lanes[node["pid"].number(), node["tid"].number()] = node["args"]["name"].of(str)
        elif event.get("ph") == "X" and event.get("cat") == "case":
            begin = node["ts"].number()
            cases.add((begin, begin + node["dur"].number(), node["name"].of(str)))
        elif event.get("ph") == "X":
            ops.append(node)
    if not ops:
        raise BadInput(f"{path}: no events with a duration: not a timeline of eps-bench")
    starts = [node["ts"].number() for node in ops]
    found = []
    for begin, end, name in sorted(cases) or [(min(starts), math.inf, "")]:
        inside = [node for node, ts in zip(ops, starts) if begin <= ts <= end]
        if inside:
            found.append(Timeline(name, [read_event(node, lanes, begin) for node in inside]))
    return found
