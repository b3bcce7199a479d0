#!/usr/bin/env python3
"""Prompt tokens per second of eps-bench beside Hugging Face transformers on the same CPU, in one run.

Decoder layers of DeepSeek-V2-Lite's dimensions (1 dense + 1 MoE), random weights, 512 tokens a sequence. Both sides
take turns, so that a machine that drifts drifts for both. Between turns one large torch.matmul shows what the machine
can do: the limit is a pass whose FLOPs all run at that rate.

    python3 -m venv hf && hf/bin/pip install torch transformers
    scripts/compare_transformers.py --python hf/bin/python [--output results/local]

Writes eps-bench's reports and transformers.json with every sample into the output folder; prints a table.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PRESET = ROOT / "configs/models/deepseek-v2-lite.json"
LAYERS, LENGTH = 2, 512
TURNS, PASSES = 3, 6  # of each side; passes a turn
MATMUL = 2048  # rows and columns
SETTINGS = [  # ranks of eps-bench, sequences, dtype, the ratio asked for
    (1, 1, "f32", 2.0),
    (1, 1, "bf16", 1.3),
    (2, 2, "f32", 2.0),
    (2, 2, "bf16", 1.3),
]


def seconds_of(run):
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def matmul_rate(torch):
    """FLOP/s of a large matrix product in the default dtype, the best of some."""
    a, b = torch.randn(MATMUL, MATMUL), torch.randn(MATMUL, MATMUL)
    torch.matmul(a, b)
    return 2 * MATMUL**3 / min(seconds_of(lambda: torch.matmul(a, b)) for _ in range(5))


def worker(batch, dtype, threads):
    """Under the other Python: for every line on stdin the seconds of some passes, as JSON; first a line of facts."""
    import torch
    import transformers

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    torch_dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
    values = json.loads(PRESET.read_text()) | {"num_hidden_layers": LAYERS, "vocab_size": 64}
    config = transformers.DeepseekV2Config(**{key: value for key, value in values.items() if key != "model_type"})
    torch.set_default_dtype(torch_dtype)
    model = transformers.DeepseekV2Model(config).eval()
    hidden = torch.randn(batch, LENGTH, config.hidden_size)
    facts = {"torch": torch.__version__, "transformers": transformers.__version__, "threads": torch.get_num_threads(),
             "attention": model.config._attn_implementation,
             "experts": getattr(model.config, "_experts_implementation", None)}
    print(json.dumps(facts), flush=True)
    with torch.inference_mode():
        for _ in range(2):
            model(inputs_embeds=hidden, use_cache=False)
        for line in sys.stdin:
            seconds = [seconds_of(lambda: model(inputs_embeds=hidden, use_cache=False)) for _ in range(int(line))]
            print(json.dumps({"seconds": seconds, "flops": matmul_rate(torch)}), flush=True)


class Transformers:
    def __init__(self, python, batch, dtype, threads):
        self.process = subprocess.Popen(
            [python, __file__, "--worker", json.dumps([batch, dtype, threads])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("compare_transformers: transformers did not run, see above; does --python name a Python that has it?")
        return json.loads(line)

    def turn(self):
        """Seconds of some passes, and FLOP/s of a large matrix product after them."""
        self.process.stdin.write(f"{PASSES}\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def from_root(path):
    """As a report should name it: without this machine's folders where that can be."""
    path = pathlib.Path(path).resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def eps_bench(program, ranks, batch, dtype, path):
    """One run of eps-bench with its report at `path`: samples of tokens per second, and FLOPs a token."""
    config = {
        "name": "beside-transformers", "model": {"preset": "deepseek-v2-lite", "layers": LAYERS}, "scope": "layer",
        "dtype": dtype, "workload": {"batch": batch, "sequence_length": LENGTH}, "report": from_root(path),
        "cases": [{"strategy": "ep"}],
        "measure": {"warmup": 2, "min_repetitions": PASSES, "max_repetitions": PASSES, "max_seconds": 600},
    }
    config_path = path.with_suffix(".config.json")
    config_path.write_text(json.dumps(config))
    command = (f'. scripts/mpi_env.sh; exec mpirun -n {ranks} "{from_root(program)}" --config "{from_root(config_path)}" '
               "--overwrite")
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    config_path.unlink()
    if done.returncode != 0:
        sys.exit(f"compare_transformers: eps-bench ended with status {done.returncode}:\n{done.stderr}")
    (result,) = json.loads(path.read_text())["results"]
    return result["metrics"]["tokens_per_second"]["samples"], result["model"]["flops"] / result["tokens"]


def compare(args, ranks, batch, dtype):
    """Turns of both sides; the last of eps-bench's reports stays."""
    path = args.output / f"eps-{ranks}-ranks-{dtype}.json"
    threads = len(os.sched_getaffinity(0))
    other = Transformers(args.python, batch, dtype, threads)
    theirs, ours, rates = [], [], []
    for _ in range(TURNS):
        turn = other.turn()
        theirs += [batch * LENGTH / seconds for seconds in turn["seconds"]]
        rates.append(turn["flops"])
        samples, flops_per_token = eps_bench(args.program, ranks, batch, dtype, path)
        ours += samples
    other.end()
    return {"ranks": ranks, "batch": batch, "dtype": dtype, "tokens": batch * LENGTH, "unit": "tokens/s",
            "transformers": theirs, "eps_bench": ours, "facts": other.facts, "report": path.name,
            "ratio": statistics.median(ours) / statistics.median(theirs),
            "matmul_flops": rates, "limit": max(rates) / flops_per_token}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="a Python that has torch and transformers")
    parser.add_argument("--program", default=ROOT / "build/cpu/eps-bench", type=pathlib.Path)
    parser.add_argument("--output", default=ROOT / "results/local", type=pathlib.Path, help="folder for the reports")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(*json.loads(args.worker))
    args.output.mkdir(parents=True, exist_ok=True)
    print(f"{'ranks':>5} {'batch':>5} {'dtype':>5} {'transformers':>13} {'eps-bench':>10} {'ratio':>6} {'wanted':>7} "
          f"{'limit':>7}")
    rows = []
    for ranks, batch, dtype, wanted in SETTINGS:
        row = compare(args, ranks, batch, dtype)
        rows.append(row)
        print(f"{ranks:>5} {batch:>5} {dtype:>5} {statistics.median(row['transformers']):>13.0f} "
              f"{statistics.median(row['eps_bench']):>10.0f} {row['ratio']:>6.2f} {wanted:>7.2f} "
              f"{row['limit']:>7.0f}", flush=True)
    (args.output / "transformers.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(f"tokens/s, medians of {TURNS * PASSES} passes each, limit: all FLOPs at the best torch.matmul's rate; "
          f"samples: {args.output / 'transformers.json'}")


if __name__ == "__main__":
    main()
