#!/usr/bin/env python3
"""Writes the calibrations of GPUs that are modelled: configs/calibrations/h200x4.json and h800x8.json.

Their figures are derived here, from what was measured on 4 H200 and from what the EPS-MoE paper (arXiv 2410.12247)
says of its 8 H800; the derivation is this file. Sustained rates, bf16, DeepSeek-V2's shapes.
"""

import json
import math
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "configs/calibrations"
HIDDEN, WIDTH = 5120, 1536
EXPERT_SHAPES = [(2 * WIDTH, HIDDEN), (HIDDEN, WIDTH)]
# q_a, q_b, kv_a, kv_b, o, dense gate_up and down, shared gate_up and down, lm_head
DENSE_SHAPES = [
    (1536, 5120), (24576, 1536), (576, 5120), (32768, 512), (5120, 16384),
    (24576, 5120), (5120, 12288), (6144, 5120), (5120, 3072), (102400, 5120)]
ROWS = [1, 16, 64, 128, 256, 512, 1024, 2048, 4096, 16384, 65536]
MEMORY_OPS = [
    "embed", "rms_norm", "rope", "add", "clear", "pack_rows", "swiglu", "local_reduce", "unpack_sum", "reduce_scatter"]
INDEX_OPS = ["route", "map_rows", "map_home"]

# TFLOP/s of 40 experts against rows of each, measured on an H200 (the GH100 of an H800 has the same 132 SMs and 700 W,
# and these GEMMs run into the power limit, not into memory): CUTLASS grouped, and a loop of cuBLAS GEMMs in a graph.
RATES = {
    "group": {EXPERT_SHAPES[0]: [441, 557, 625, 641, 656, 657], EXPERT_SHAPES[1]: [412, 515, 571, 617, 642, 653]},
    "dense": {EXPERT_SHAPES[0]: [304, 463, 573, 628, 636, 664], EXPERT_SHAPES[1]: [284, 431, 519, 591, 618, 630]},
}
RATE_ROWS = [128, 256, 512, 1024, 2048, 4096]
LAUNCH_S = 3e-6


def interpolated(size, sizes, values):
    """By the logarithm of the size; below the first in proportion to the size."""
    if size <= sizes[0]:
        return values[0] * size / sizes[0]
    for (a, x), (b, y) in zip(zip(sizes, values), zip(sizes[1:], values[1:])):
        if size <= b:
            return x + (y - x) * math.log(size / a) / math.log(b / a)
    return values[-1]


def table(name, sizes, seconds):
    return {name: sizes, "seconds": [float(f"{s:.4g}") for s in seconds]}


class Gpu:
    def __init__(self, memory_bytes_per_s, exchange_bytes_per_s, exchange_s, exchange_sizes):
        self.memory_bytes_per_s = memory_bytes_per_s  # read and written
        self.exchange_bytes_per_s = exchange_bytes_per_s  # at each size
        self.exchange_s = exchange_s  # of the smallest one
        self.exchange_sizes = exchange_sizes

    def gemm_s(self, rows, n, k, rate):
        moved = 2 * (rows * k + n * k + rows * n)
        return LAUNCH_S + max(2 * rows * n * k / (rate * 1e12), moved / self.memory_bytes_per_s)

    def linear(self, n, k):
        # A single GEMM fills the SMs with its columns too: as many tiles as one of an expert's with more rows.
        rates = RATES["dense"][EXPERT_SHAPES[0]]
        return table("rows", ROWS, [
            self.gemm_s(m, n, k, max(1, interpolated(m * n / EXPERT_SHAPES[0][0], RATE_ROWS, rates))) for m in ROWS])

    def experts(self, shape):
        entries = []
        for kind in "group", "dense":
            for count in 1, 4, 8, 20, 40:
                one = [
                    self.gemm_s(m, *shape, max(1, interpolated(m, RATE_ROWS, RATES[kind][shape]))) - LAUNCH_S
                    for m in ROWS]
                # A group is one launch; a graph of GEMMs starts each in a third of one.
                launches = LAUNCH_S * (1 if kind == "group" else count / 3)
                entries.append({
                    "kind": kind, "num_experts": count,
                    **table("rows", ROWS, [launches + count * s for s in one])})
        return entries

    def memory_op(self, fixed_s):
        sizes = [1, 1e5, 1e6, 1e7, 1e8, 1e9]
        return table("bytes", sizes, [fixed_s + size / self.memory_bytes_per_s for size in sizes])

    def attention(self):
        """128 heads of 192 and 128, causal; cuDNN's 421 TFLOP/s at 1024 tokens and 545 at 4096."""
        tokens = [64, 256, 512, 1024, 2048, 4096, 8192, 16384]
        rates = [40, 150, 270, 421, 485, 545, 560, 570]
        seconds = [LAUNCH_S + 128 * (192 + 128) * size * size / (rate * 1e12) for size, rate in zip(tokens, rates)]
        return {"q_cols": 24576, "out_cols": 16384, **table("tokens", tokens, seconds)}

    def dtype(self):
        gemms = [{"n": n, "k": k, "linear": self.linear(n, k), "experts": []} for n, k in DENSE_SHAPES]
        gemms += [{"n": n, "k": k, "linear": None, "experts": self.experts((n, k))} for n, k in EXPERT_SHAPES]
        ops = {op: self.memory_op(LAUNCH_S) for op in MEMORY_OPS} | {op: self.memory_op(1e-5) for op in INDEX_OPS}
        gate = table("rows", ROWS, [1e-5 + m * HIDDEN * 2 / self.memory_bytes_per_s for m in ROWS])
        return {
            "dtype": "bf16", "gemms": gemms,
            "gates": [{"num_experts": 160, "hidden": HIDDEN, **gate}],
            "attentions": [self.attention()], "compute_ops": ops, "exchange_ops": ops}

    def exchanges(self):
        sizes = [1, *self.exchange_sizes]
        seconds = [self.exchange_s]
        seconds += [max(self.exchange_s, size / rate) for size, rate in zip(sizes[1:], self.exchange_bytes_per_s)]
        alone = table("bytes", sizes, seconds)
        return [
            {"transport": "wire", "num_messages": count, **alone, "beside_gemm_seconds": alone["seconds"]}
            for count in (1, 3, 7)]


def calibration(about, machine, ranks, gpu, network):
    return {
        "schema": "eps-bench/calibration", "schema_version": 1, "hash": None, "about": about,
        "measured": {"machine": machine, "libraries": "derived", "ranks": ranks, "threads": 1, "cores_shared": False,
                     "beyond_caches": True},
        "op_overhead_s": 2e-6, "lane_hop_s": 4e-6, "chunk_overhead_s": 3e-5, "segment_overhead_s": 5e-5,
        # Copy engines: hiding 2.87 ms of exchange in 5 chunks cost 0.26 ms, what its first and last chunk take.
        "exchange_slowdown": 1, "gemm_loss": 0,
        "exchanges": gpu.exchanges(), "copy": table("bytes", [1, 1e9], [LAUNCH_S, 1e9 * 2 / gpu.memory_bytes_per_s]),
        "network": network, "dtypes": [gpu.dtype()]}


def text_of(value, indent=""):
    """Lists of numbers on one line."""
    if isinstance(value, dict):
        inner = ",\n".join(f"{indent}  {json.dumps(key)}: {text_of(v, indent + '  ')}" for key, v in value.items())
        return "{\n" + inner + "\n" + indent + "}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"{indent}  {text_of(v, indent + '  ')}" for v in value) + "\n" + indent + "]"
    return json.dumps(value)


def main():
    sizes = [16e6, 64e6, 256e6, 1e9]
    h200 = Gpu(4.1e12, [263e9, 344e9, 377e9, 388e9], 25e-6, sizes)
    # 3.35 TB/s of memory against the H200's 4.8, in proportion; 160 GB/s of exchange at every size.
    h800 = Gpu(4.1e12 * 3.35 / 4.8, [160e9] * 4, 25e-6, sizes)
    files = {
        "h200x4": calibration(
            "4 H200 of one host, sustained, copy engines over NVLink; measured rates of GEMMs, attention, exchange and "
            "memory, the rest derived (scripts/write_calibrations.py)", "H200", 4, h200, None),
        "h800x8": calibration(
            "8 H800 as in arXiv 2410.12247: 989 TFLOP/s bf16 peak of which 657 are sustained (as on an H200), 160 GB/s "
            "of exchange, 2.9 TB/s of memory; between hosts of 8 one 400 Gb/s port a GPU; derived "
            "(scripts/write_calibrations.py)", "H800", 8, h800,
            {"ranks_per_host": 8, "gb_per_s": 50, "latency_us": 10}),
    }
    for name, document in files.items():
        (FOLDER / f"{name}.json").write_text(text_of(document) + "\n")


if __name__ == "__main__":
    main()
