"""The program under mpirun: started from a config, ended by a time limit, its report checked."""

import json
import os
import pathlib
import signal
import subprocess

from report_checks import SOURCE, read_checked

BENCH = os.environ["EPS_BENCH"]
FLAGS = os.environ.get("EPS_BENCH_FLAGS", "").split()  # of every run, for example of another backend
CASES = SOURCE / "tests/data/cases"
LIMIT_S = 300  # of one run, on a machine with much else to do; a run takes a second or two

# One sample proves as much as a hundred.
QUICK = {"warmup": 0, "min_repetitions": 1, "max_repetitions": 1, "max_seconds": 60}


class Ended:
    """What a run left behind."""

    def __init__(self, status, stdout, stderr, report_path):
        self.status, self.stdout, self.stderr, self.report_path = status, stdout, stderr, report_path

    @property
    def errors(self):
        """What the program itself said on stderr; mpirun adds lines of its own."""
        return [line for line in self.stderr.splitlines() if line.startswith("eps-bench")]

    @property
    def report(self):
        return read_checked(self.report_path)

    def results(self):
        return {result["name"]: result for result in self.report["results"]}


class Bench:
    """Runs in a folder of their own, each with the report at `folder`/report.json."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.report_path = self.folder / "report.json"
        self.config_path = self.folder / "config.json"

    def command(self, config, *flags, ranks=2, program=BENCH):
        """`config`: an object, completed by where the report goes; or the file's text; or nothing: see the flags."""
        started = ["mpirun", "-n", str(ranks), program]
        if config is None:
            return [*started, *map(str, flags)]
        if isinstance(config, dict):
            config = json.dumps({"measure": QUICK, "report": str(self.report_path), **config})
        if isinstance(config, str):
            config = config.encode()
        self.config_path.write_bytes(config)
        return [*started, "--config", str(self.config_path), *FLAGS, *map(str, flags)]

    def start(self, config, *flags, env=None, **options):
        return subprocess.Popen(
            self.command(config, *flags, **options), cwd=self.folder, env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def end(self, mpirun, limit_s=LIMIT_S):
        try:
            stdout, stderr = mpirun.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            mpirun.send_signal(signal.SIGTERM)  # which it passes on; killed, it would leave its ranks behind
            _, stderr = mpirun.communicate(timeout=60)
            raise AssertionError(f"still running after {limit_s} s: {mpirun.args}\n{stderr}") from None
        return Ended(mpirun.returncode, stdout, stderr, self.report_path)

    def __call__(self, config, *flags, limit_s=LIMIT_S, **options):
        return self.end(self.start(config, *flags, **options), limit_s)

    def valid(self, config, *flags, **options):
        """A run that must end well, every case VALID."""
        done = self(config, *flags, **options)
        assert done.status == 0, done.stderr + done.stdout
        assert all(result["valid"] for result in done.report["results"])
        return done


def case_of_files(name, **config):
    """A checkpoint of the repository with the prompts of its reference."""
    return {
        "name": name,
        "model": {"checkpoint": str(CASES / name)},
        "workload": {"batch": 2, "sequence_length": 24, "tokens": str(CASES / name / "reference.safetensors")},
        **config,
    }


def placement(pp=1, tp=1, dp=1, etp=1, ep=1, edp=1):
    return {"placement": {"pp": pp, "attention": {"tp": tp, "dp": dp}, "experts": {"etp": etp, "ep": ep, "edp": edp}}}
