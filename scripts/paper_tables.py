#!/usr/bin/env python3
"""Tables 2, 5 and 7 of the EPS-MoE paper (arXiv 2410.12247) beside what the simulator makes of them.

    paper_tables.py [--bench build/cpu/eps-bench] [--calibration h800x8] [--reports FOLDER]

The paper does not say everything: the batch of table 2 (here 16384 tokens a GPU), what m counts (rows an expert in
table 5, as its table 6 says; tokens a GPU in table 7, where rows an expert would exceed the peak), and the precision of
its GEMMs. This model is bf16 throughout, has no fp8 exchange and knows no SM budget, so only those rows are compared.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

GAINS = {  # in %, of PN 1, 5 and 20
    "1K": (11.83, 21.81, 21.27), "2K": (11.02, 20.53, 18.05), "4K": (6.77, 16.89, 10.00), "8K": (5.13, 12.75, 11.60)}
COLUMNS = [(3072, 1536), (3072, 15360), (1024, 1536), (1024, 15360), (256, 1536), (256, 15360)]
LAYER_MS = {  # ID: (schedule, GEMM, milliseconds of each column)
    0: ({"strategy": "ep", "gemm": "group"}, (5.698, 32.469, 2.120, 8.996, 1.032, 2.349)),
    2: ({"strategy": "ep", "gemm": "dense"}, (5.620, 21.247, 3.889, 7.497, 0.868, 2.708)),
    3: ({"strategy": "eps", "chunks": 5, "gemm": "group"}, (4.837, 25.979, 1.790, 8.333, 0.683, 2.452)),
    7: ({"strategy": "eps", "chunks": 5, "gemm": "dense"}, (4.299, 20.203, 1.714, 7.128, 0.798, 2.598)),
    9: ({"strategy": "eps", "chunks": 20, "gemm": "dense"}, (4.855, 20.599, 2.133, 7.043, 1.016, 2.655)),
}
ONE_LAYER_MS = {
    1700: (0.869, 0.801), 1800: (0.995, 0.801), 1900: (1.032, 0.968), 2000: (1.054, 0.985), 2200: (1.124, 1.085)}


class Simulator:
    def __init__(self, bench, calibration, folder):
        self.bench, self.calibration, self.folder = bench, calibration, folder

    def seconds(self, name, **config):
        """Seconds a pass of each case, in order."""
        path, report = self.folder / f"{name}.config.json", self.folder / f"{name}.json"
        path.write_text(json.dumps({
            "name": name, "backend": "sim", "dtype": "bf16", "calibration": self.calibration, "report": str(report),
            **config}))
        subprocess.run([self.bench, "--config", path, "--overwrite"], check=True, stdout=subprocess.DEVNULL)
        results = json.loads(report.read_text())["results"]
        return [result["metrics"]["pass_seconds"]["median"] for result in results]


def routed(batch, length):
    return {"batch": batch, "sequence_length": length, "routing": {"kind": "uniform"}}


def table_2(simulator):
    print("Table 2: throughput of DeepSeek-V2 on 8 H800 against plain EP, gain in %; paper | model")
    print("PN   " + "".join(f"{length:>18}" for length in GAINS))
    rows = {chunks: [] for chunks in (1, 5, 20)}
    for length in GAINS:
        tokens = 1024 * int(length[:-1])
        base, *others = simulator.seconds(
            f"paper-table-2-{length}", model={"preset": "deepseek-v2", "layers": 4}, ranks=8,
            workload=routed(8 * 16384 // tokens, tokens),
            cases=[{"strategy": "ep", "gemm": "group"}, {"strategy": "eps", "chunks": list(rows)}])
        for chunks, seconds in zip(rows, others):
            rows[chunks].append(100 * (base / seconds - 1))
    for i, chunks in enumerate(rows):
        print(f"{chunks:<5}" + "".join(
            f"{GAINS[length][i]:>+9.2f} |{gain:>+7.2f}" for length, gain in zip(GAINS, rows[chunks])))


def table_5(simulator):
    print("\nTable 5: one layer's experts on 4 H800, 20 experts each, ms; paper | model; columns: rows an expert/width")
    print("ID GEMM  PN " + "".join(f"{f'{m}/{width}':>18}" for m, width in COLUMNS))
    columns = []
    for m, width in COLUMNS:
        columns.append(simulator.seconds(
            f"paper-table-5-{m}-{width}", scope="moe", ranks=4, workload=routed(4, m * 20 // 6),
            model={"preset": "deepseek-v2", "layers": 2, "overrides": {
                "n_routed_experts": 80, "moe_intermediate_size": width, "n_shared_experts": 0}},
            cases=[schedule for schedule, _ in LAYER_MS.values()]))
    for i, (number, (schedule, paper)) in enumerate(LAYER_MS.items()):
        print(f"{number:<3}{schedule['gemm']:<6}{schedule.get('chunks', 1):<3}" + "".join(
            f"{theirs:>9.3f} |{1e3 * column[i]:>7.3f}" for theirs, column in zip(paper, columns)))


def table_7(simulator):
    print("\nTable 7: one layer's experts on 8 H800, PN 2, m tokens a GPU, ms; paper | model")
    print("m       serial             pipelined          change in %")
    for m, paper in ONE_LAYER_MS.items():
        ours = simulator.seconds(
            f"paper-table-7-{m}", scope="moe", ranks=8, workload=routed(8, m),
            model={"preset": "deepseek-v2", "layers": 2, "overrides": {"n_shared_experts": 0}},
            cases=[{"strategy": "ep"}, {"strategy": "eps", "chunks": 2}])
        changes = [100 * (pipelined / serial - 1) for serial, pipelined in (paper, ours)]
        print(f"{m:<8}" + "   ".join(
            f"{theirs:.3f} | {1e3 * mine:.3f}  " for theirs, mine in zip(paper, ours))
            + f"   {changes[0]:+.1f} | {changes[1]:+.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bench", type=pathlib.Path, default=ROOT / "build/cpu/eps-bench")
    parser.add_argument("--calibration", default="h800x8")
    parser.add_argument("--reports", type=pathlib.Path, help="folder that keeps the reports")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.reports or pathlib.Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        simulator = Simulator(arguments.bench.resolve(), arguments.calibration, folder)
        table_2(simulator)
        table_5(simulator)
        table_7(simulator)


if __name__ == "__main__":
    main()
