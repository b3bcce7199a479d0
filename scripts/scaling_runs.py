#!/usr/bin/env python3
"""Models configs/scaling.json on 8 to 1024 ranks, with as much work for each, and writes a report of every number.

    scaling_runs.py FOLDER [--bench build/cpu/eps-bench] && plot_results.py FOLDER/*.json --out FOLDER

The strategies `ep` and `eps` split the experts over all ranks, so they end where no expert is left for some of them.
"""

import argparse
import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXPERTS = 160
RANKS = [8, 16, 32, 64, 128, 256, 512, 1024]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--bench", type=pathlib.Path, default=ROOT / "build/cpu/eps-bench")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((ROOT / "configs/scaling.json").read_text())
    ep, eps, copies = config["cases"]
    for ranks in RANKS:
        config["ranks"] = config["workload"]["batch"] = ranks
        copies["placement"] = {"attention": {"dp": ranks}, "experts": {"ep": 8, "edp": ranks // 8}}
        config["cases"] = [ep, eps, copies] if ranks <= EXPERTS else [copies]
        config["report"] = str(arguments.folder / f"{ranks:04}-ranks.json")
        path = arguments.folder / f"{ranks:04}-ranks.config"
        path.write_text(json.dumps(config))
        subprocess.run([os.path.relpath(arguments.bench), "--config", path, "--overwrite"], check=True)
        path.unlink()


if __name__ == "__main__":
    main()
