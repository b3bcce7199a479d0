"""Reports and timelines that no program wrote, shaped as real ones: for the tests of what reads them."""

import json
import pathlib
import statistics

SAMPLE = pathlib.Path(__file__).resolve().parents[1] / "report/data/sample_report.json"

# Strategy, parameters, seconds of a pass, exchange busy and exposed seconds.
CASES = [
    ("ep", {}, 0.212, 0.058, 0.057),
    ("ep", {"overlap": True}, 0.204, 0.058, 0.049),
    ("dp", {}, 0.199, 0.0, 0.0),
    ("tp", {}, 0.247, 0.071, 0.07),
    ("pp", {"chunks": 4}, 0.231, 0.018, 0.016),
    ("tp_ep", {}, 0.239, 0.08, 0.079),
    ("eps", {"chunks": 2}, 0.196, 0.06, 0.033),
    ("eps", {"chunks": 4}, 0.187, 0.063, 0.021),
    ("eps", {"chunks": 8}, 0.190, 0.069, 0.017),
    ("eps", {"chunks": 16}, 0.202, 0.079, 0.016),
    ("eps_serial", {"chunks": 2}, 0.216, 0.06, 0.059),
    ("eps_serial", {"chunks": 4}, 0.220, 0.063, 0.062),
    ("eps_serial", {"chunks": 8}, 0.229, 0.069, 0.068),
    ("eps_serial", {"chunks": 16}, 0.246, 0.079, 0.078),
]
TOKENS = 1024
COMPUTE = {"attention": 0.21, "linear": 0.27, "expert_gemm": 0.34, "swiglu": 0.04, "rms_norm": 0.03, "rope": 0.02,
           "gate": 0.03, "route": 0.01, "pack_rows": 0.02, "local_reduce": 0.015, "unpack_sum": 0.015}


def metric(samples, unit, better):
    ordered = sorted(samples)
    return {
        "value": statistics.median(samples), "unit": unit, "better": better, "n": len(samples),
        "median": statistics.median(samples), "min": ordered[0], "max": ordered[-1],
        "ci_low": ordered[1], "ci_high": ordered[-2], "samples": samples,
    }


def phase(op, lane, busy_seconds, exposed_seconds=None):
    return {"op": op, "lane": lane, "busy_seconds": busy_seconds, "count": 26, "exposed_seconds": exposed_seconds}


def result(pattern, strategy, params, seconds, busy, exposed):
    times = [seconds * (1 + 0.004 * wobble) for wobble in (-2, 3, 0, -3, 1, 2, -1, 0)]
    case = json.loads(json.dumps(pattern))
    case["name"] = " ".join([strategy, *(f"{key}={value}" for key, value in params.items())])
    case["params"] = {"strategy": strategy, **params}
    case["metrics"] = {
        "tokens_per_second": metric([TOKENS / time for time in times], "tokens/s", "higher"),
        "pass_seconds": metric(times, "s", "lower"),
    }
    case["phases"] = [phase(op, "compute", share * (seconds - exposed)) for op, share in COMPUTE.items()]
    if busy:
        for lane, share in ("dispatch", 0.55), ("combine", 0.4):
            case["phases"].append(phase("all_to_all", lane, share * busy, share * exposed))
        case["phases"].append(phase("exchange_counts", "counts", 0.05 * busy, 0.05 * exposed))
    case["communication"] = {
        "busy_seconds": busy, "exposed_seconds": exposed, "hidden": 1 - exposed / busy if busy else None,
    }
    return case


def report(name="quickstart", factor=1.0):
    """One INVALID case, one NOISY, the rest VALID; every time is multiplied by `factor`."""
    document = json.loads(SAMPLE.read_text())
    document["run"]["config"]["name"] = name
    pattern = {**document["results"][0], "notes": [], "speedup": None}
    document["results"] = [result(pattern, s, p, factor * t, factor * b, factor * e) for s, p, t, b, e in CASES]
    document["results"][3].update(valid=False, invalid_reasons=["reference: layer 2 differs by 0.2, bound 0.0001"])
    document["results"][4]["flags"] = ["NOISY"]
    return document


def timeline(num_ranks=2, num_layers=4, cases=("eps chunks=4",)):
    """A Chrome trace: per layer attention, gate, and four chunks whose exchange runs beside the GEMMs."""
    events = []
    lanes = ["case", "compute", "dispatch", "combine"]
    compute, dispatch, combine = 1, 2, 3
    case_begin = 0.0

    def track(rank, lane):
        return 10 + 100 * rank + lane

    def add(rank, lane, op, begin, length, layer):
        events.append({"ph": "X", "name": op, "cat": "op", "pid": rank, "tid": track(rank, lane),
                       "ts": case_begin + begin, "dur": length, "args": {"layer": layer}})
        return begin + length

    def add_layer(rank, now, layer):
        for op, length in ("rms_norm", 90), ("linear", 700), ("rope", 80), ("attention", 1900 + 120 * rank), ("gate", 150):
            now = add(rank, compute, op, now, length, layer)
        now = add(rank, dispatch, "exchange_counts", now, 130, layer)
        arrived = add(rank, dispatch, "all_to_all", now, 420, layer)
        computed = add(rank, compute, "linear", now, 500, layer)
        home = now
        for chunk in range(4):
            computed = max(computed, arrived)
            if chunk < 3:
                arrived = add(rank, dispatch, "all_to_all", arrived, 420, layer)
            computed = add(rank, compute, "expert_gemm", computed, 480 + 60 * ((rank + chunk) % 2), layer)
            computed = add(rank, compute, "swiglu", computed, 60, layer)
            computed = add(rank, compute, "expert_gemm", computed, 260, layer)
            computed = add(rank, compute, "local_reduce", computed, 50, layer)
            home = add(rank, combine, "all_to_all", max(home, computed), 300, layer)
        return add(rank, compute, "unpack_sum", home, 110, layer)

    for rank in range(num_ranks):
        events.append({"ph": "M", "name": "process_name", "pid": rank, "args": {"name": f"rank {rank}"}})
        for lane, name in enumerate(lanes):
            events.append({"ph": "M", "name": "thread_name", "pid": rank, "tid": track(rank, lane), "args": {"name": name}})
    for case in cases:
        ends = []
        for rank in range(num_ranks):
            now = 0.0
            for layer in range(num_layers):
                now = add_layer(rank, now, layer)
            ends.append(now)
        for rank in range(num_ranks):
            events.append({"ph": "X", "name": case, "cat": "case", "pid": rank, "tid": track(rank, 0), "ts": case_begin,
                           "dur": max(ends), "args": {}})
        case_begin += max(ends) + 1000
    return {"displayTimeUnit": "ms", "traceEvents": events}
