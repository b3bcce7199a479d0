"""scripts/gpu_figures.py: a page of figures from made-up reports of GPU runs."""

import json
import subprocess
import sys

import made_up_reports
from report_checks import SOURCE

GEMMS = """NVIDIA H200; cuBLAS 13.1; 40 experts
linear, known                                               3.0 us of the host
n 3072 k 5120 m  128 group                               2923.1 us   430.5 TFLOP/s
n 3072 k 5120 m  128 group, then swiglu                  3200.0 us   400.0 TFLOP/s
n 3072 k 5120 m  128 group, swiglu in it                 3000.0 us   420.0 TFLOP/s
n 3072 k 5120 m  128 dense                               4000.0 us   314.6 TFLOP/s
n 3072 k 5120 m 1024 group, skewed 0-2x                 20000.0 us   500.0 TFLOP/s
"""


def figures(*arguments):
    command = [sys.executable, str(SOURCE / "scripts/gpu_figures.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def write(folder, name, document):
    (folder / f"{name}.json").write_text(json.dumps(document))


def cells(page, first):
    """The rows of tables whose first cell begins so."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    return [row for row in rows if row[0].startswith(first)]


def test_the_page(tmp_path):
    document = made_up_reports.report("moe-16384")
    metered = document["results"][7]
    metered["metrics"]["joules_per_1000_tokens"] = made_up_reports.metric([12.5] * 3, "J", "lower")
    write(tmp_path, "moe-16384", document)
    write(tmp_path, "model-1024", {**document, "run": {**document["run"], "config": {"model": {"layers": 30}}}})
    (tmp_path / "gemms.txt").write_text(GEMMS)
    (tmp_path / "kernels.txt").write_text("copy   100 GB/s\n")
    done = figures(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    page = done.stdout
    assert cells(page, "MoE part, 16384") == [
        ["MoE part, 16384 tokens a GPU, `ep` with `overlap`", "13.1 ms", "<= 13 ms", "204.00 ms"]]
    (best,) = cells(page, "the same, `eps`, best")
    assert best[3] == "187.00 ms (n = 4)"
    (share,) = cells(page, "exposed share")
    assert share[3] == "33 % (n = 4)"
    (model,) = cells(page, "DeepSeek-V2, 30 of 60 layers")
    assert model[3] == "5.5k tokens/s, 6.23 ms a layer"
    assert [row[6] for row in cells(page, "`eps`") if row[1] == "n = 4"] == ["12.50"]
    assert cells(page, "N 3072") == [["N 3072, K 5120", "128", "430", "420 (1.05x)", "315", "441", "656"]]
    assert "    copy   100 GB/s" in page
    assert "Not measured: moe-4096, wire, attention-1024" in page
    assert "INVALID: moe-16384: tp" in page
    short = figures(tmp_path, "--only-peers")
    assert short.returncode == 0 and short.stdout in page


def test_one_gpu_exchanges_nothing(tmp_path):
    document = made_up_reports.report()
    document["environment"]["ranks"] = document["environment"]["ranks"][:1]
    document["results"] = [document["results"][0]]
    document["results"][0]["params"]["gemm"] = "group"
    write(tmp_path, "moe-16384", document)
    done = figures(tmp_path, "--only-peers")
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = cells(done.stdout, "MoE part, 16384")
    assert row[0].endswith("160 experts, GroupGemm") and row[3] == "212.00 ms"


def test_a_folder_without_reports(tmp_path):
    done = figures(tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "no reports there" in done.stderr
