#!/usr/bin/env python3
"""Figures of GPU runs, from the reports and tables that scripts/test_gpu.sh leaves, as a page of Markdown.

    gpu_figures.py FOLDER                 everything, beside the paper's figures (arXiv 2410.12247)
    gpu_figures.py FOLDER --only-peers    the table of figures beside their peers, as README.md has it

Reports that are not there are named; INVALID cases have no figure.
"""

import argparse
import pathlib
import re
import sys

from plotting.inputs import BadInput, read_json, read_reports

# Gains in % over plain EP, by number of chunks: the paper's table 2 (8 H800).
PAPER_GAINS = {
    1: {1024: 11.83, 2048: 11.02, 4096: 6.77, 8192: 5.13},
    5: {1024: 21.81, 2048: 20.53, 4096: 16.89, 8192: 12.75},
    20: {1024: 21.27, 2048: 18.05, 4096: 10.00, 8192: 11.60},
}
# Milliseconds of one layer, 20 experts on each of 4 H800: rows of the paper's table 5 with bf16 exchange, width 1536.
PAPER_LAYER = {
    ("ep", 1, "group"): {3072: 5.698, 1024: 2.120, 256: 1.032},
    ("ep", 1, "dense"): {3072: 5.620, 1024: 3.889, 256: 0.868},
    ("eps", 5, "group"): {3072: 4.837, 1024: 1.790, 256: 0.683},
    ("eps", 5, "dense"): {3072: 4.299, 1024: 1.714, 256: 0.798},
    ("eps", 20, "dense"): {3072: 4.855, 1024: 2.133, 256: 1.016},
}
PAPER_SMS_3072 = {132: 4.597, 124: 4.403, 116: 3.894, 108: 3.967, 100: 4.031, 92: 4.081}  # table 6, ms, m = 3072
# TFLOP/s of 40 experts on one H200, sustained: the best of CUTLASS, DeepGEMM and torch, and one dense cuBLAS product
# of the same rows.
PEER_GEMMS = {
    (3072, 5120): {128: (441, 656), 256: (573, 648), 512: (634, 681), 1024: (657, 680), 2048: (681, 677), 4096: (673, 678)},
    (5120, 1536): {128: (412, 650), 256: (536, 638), 512: (602, 641), 1024: (632, 652), 2048: (658, 657), 4096: (667, 656)},
}
LENGTHS = (1024, 2048, 4096, 8192)
ROWS = (256, 1024, 3072)
NAMES = ("moe-16384", "moe-4096", "moe-16384-quarter", "moe-4096-quarter", "wire", "attention-1024", "attention-4096", "model-1024", "model-4096",
         *(f"lengths-{length}" for length in LENGTHS), *(f"experts-{rows}" for rows in ROWS), "strategies")


class Reports:
    """The reports of a folder, read when they are asked for."""

    def __init__(self, folder):
        self.folder = folder
        self.missing, self.invalid = [], []

    def has(self, name):
        return (self.folder / f"{name}.json").exists()

    def found(self):
        """Names of the reports of figures that are there."""
        return [name for name in NAMES if self.has(name)]

    def document(self, name):
        read_reports([self.folder / f"{name}.json"])  # complains about what is none
        return read_json(self.folder / f"{name}.json")

    def config(self, name):
        return self.document(name)["run"]["config"]

    def environment(self, name):
        return self.document(name)["environment"]

    def num_ranks(self):
        """Of the run's reports: the most."""
        return max((len(self.environment(name)["ranks"]) for name in self.found()), default=0)

    def cases(self, name):
        """The valid cases of a report; none where it is missing."""
        if not self.has(name):
            if name not in self.missing:
                self.missing.append(name)
            return []
        found = read_reports([self.folder / f"{name}.json"])
        for case in found:
            wrong = f"{name}: {case.label}"
            if not (case.valid and case.pass_seconds) and wrong not in self.invalid:
                self.invalid.append(wrong)
        return [case for case in found if case.valid and case.pass_seconds]

    def text(self, name):
        path = self.folder / f"{name}.txt"
        if path.exists():
            return path.read_text(encoding="utf-8")
        if name not in self.missing:
            self.missing.append(name)
        return ""


def ms(case):
    return 1e3 * case.pass_seconds.value


def rate(case):
    return case.tokens_per_second.value


def exposed(case):
    """Share of the time of exchanges in which nothing was computed; in a traced pass."""
    return case.exposed_seconds / case.busy_seconds if case.busy_seconds > 0 else None


def select(cases, strategy, **params):
    """Cases of a strategy with these parameters, whatever their others."""
    return [case for case in cases
            if case.strategy == strategy and all(case.params.get(key) == value for key, value in params.items())]


def one(cases, strategy, **params):
    found = select(cases, strategy, **params)
    return found[0] if found else None


def fastest(cases):
    return max(cases, key=rate, default=None)


def chunks_name(case):
    asked = case.params.get("chunks")
    return f"auto: {case.chosen.get('chunks', '?')}" if asked == "auto" else f"n = {asked}"


def with_chunks(case, text):
    return f"{text} ({chunks_name(case)})"


def table(heads, rows):
    """Markdown; cells that are None become "-"."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return lines + ["| " + " | ".join("-" if cell is None else str(cell) for cell in row) + " |" for row in rows]


def of_wire(cases, gb_per_s):
    return [case for case in cases if (case.params["link"] or {}).get("gb_per_s") == gb_per_s]


def layers_of(config):
    return config["model"].get("layers") or 60


def spread(values, digits, unit):
    """ "11.40 ms", or "11.40 to 11.69 ms" where the same work was measured several times."""
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"


def by_kind(cases):
    """{kind of GEMM: its cases}: a GPU alone exchanges nothing, so that all schedules are the same work."""
    return {kind: [case for case in cases if case.params["gemm"] == kind] for kind in ("group", "dense")
            if any(case.params["gemm"] == kind for case in cases)}


def alone(reports):
    """Figures of one GPU, where nothing is exchanged, beside what the same work takes on four."""
    rows = []
    names = {"group": "GroupGemm", "dense": "DenseGemm"}
    for name, experts, tokens, peer in (
            ("moe-16384-quarter", "40 experts, as a GPU of 4", 16384, "10.46 ms"), ("moe-4096-quarter", "40 experts, as a GPU of 4", 4096, "2.74 ms"),
            ("moe-16384", "160 experts", 16384, None), ("moe-4096", "160 experts", 4096, None)):
        for kind, cases in by_kind(reports.cases(name)).items():
            rows.append((f"MoE part, {tokens} tokens, {experts}, {names[kind]}", peer, None, spread([ms(case) for case in cases], 2, " ms")))
    for kind, cases in by_kind(reports.cases("moe-16384-quarter")).items():
        joules = [16.384 * case.joules for case in cases if case.joules]
        rows.append((f"energy of the first, {names[kind]}", "7.2-7.9 J", None, spread(joules, 1, " J") if joules else None))
    rows += attention_rows(reports)
    for length, peer in (1024, "28.3 ms"), (4096, "31.6 ms"):
        layers = layers_of(reports.config(f"model-{length}")) if reports.has(f"model-{length}") else 0
        for kind, cases in by_kind(reports.cases(f"model-{length}")).items():
            rows.append((f"DeepSeek-V2, {layers} of 60 layers, S {length}, 16384 tokens, {names[kind]}",
                         f"{peer} a layer, exchange included", None,
                         f"{spread([ms(case) / layers for case in cases], 2, ' ms')} a layer, "
                         f"{spread([rate(case) / 1e3 for case in cases], 1, 'k tokens/s')}"))
    return table(("figure", "best peer, a GPU of 4 H200", "goal", "here"), rows)


def attention_rows(reports):
    for length, peer, must in (1024, "12.9 ms", "<= 12 ms"), (4096, "16.4 ms", "<= 15.5 ms"):
        attention = fastest(reports.cases(f"attention-{length}"))
        yield f"attention part, S {length}, 16384 tokens a GPU", peer, must, attention and f"{ms(attention):.2f} ms"


def peers(reports):
    """Each figure beside the best peer and what it must be."""
    if reports.num_ranks() == 1:
        return alone(reports)
    rows = []

    def add(figure, peer, must, measured):
        rows.append((figure, peer, must, measured))

    large, small = reports.cases("moe-16384"), reports.cases("moe-4096")
    base = one(large, "ep", overlap=True)
    best, auto = fastest([case for case in select(large, "eps") if case.params["chunks"] != "auto"]), one(large, "eps", chunks="auto")
    add("MoE part, 16384 tokens a GPU, `ep` with `overlap`", "13.1 ms", "<= 13 ms", base and f"{ms(base):.2f} ms")
    add("the same, `eps`, best fixed n", "none gains", "<= 12 ms", best and with_chunks(best, f"{ms(best):.2f} ms"))
    add("the same, `eps`, auto", "none gains", "<= 12 ms", auto and with_chunks(auto, f"{ms(auto):.2f} ms"))
    best_small = fastest(select(small, "eps"))
    add("4096 tokens a GPU, `eps`", "3.7 ms", "<= 3.6 ms", best_small and with_chunks(best_small, f"{ms(best_small):.2f} ms"))
    wires = reports.cases("wire")
    for gb_per_s in sorted({case.params["link"]["gb_per_s"] for case in wires}, reverse=True) or (160,):
        slow = one(of_wire(wires, gb_per_s), "ep", overlap=True)
        quick = fastest(select(of_wire(wires, gb_per_s), "eps"))
        gain = slow and quick and with_chunks(quick, f"{rate(quick) / rate(slow):.2f}x")
        add(f"wire of {gb_per_s:g} GB/s: `eps` against `ep` with `overlap`", None, ">= 1.07x" if gb_per_s == 160 else None, gain)
    shown = best and exposed(best) is not None
    add("exposed share of exchange time in `eps`, at the best n", None, "<= 35 %",
        with_chunks(best, f"{100 * exposed(best):.0f} %") if shown else None)
    rows += attention_rows(reports)
    for length, peer, must in (1024, 38600, 41000), (4096, 34600, 36000):
        cases = reports.cases(f"model-{length}")
        quick = fastest(select(cases, "eps"))
        layers = layers_of(reports.config(f"model-{length}")) if cases else 60
        text = quick and f"{rate(quick) / 1e3:.1f}k tokens/s, {ms(quick) / layers:.2f} ms a layer"
        whole = layers == 60 and bool(cases) and cases[0].ranks == 4
        add(f"DeepSeek-V2, {'all 60' if layers == 60 else f'{layers} of 60'} layers, S {length}, `eps`",
            f"{peer / 1e3:.1f}k tokens/s" if whole or not cases else f"{peer / 1e3:.1f}k, 60 layers on 4 GPUs",
            f">= {must // 1000}k" if whole or not cases else None, text)
    return table(("figure", "best peer, 4 H200", "goal, 4 H200", "here"), rows)


def against_chunks(reports):
    """Time, exposed exchange and energy of the MoE part against the number of chunks; serial beside overlapped."""
    lines = []
    for tokens in 16384, 4096:
        cases = reports.cases(f"moe-{tokens}")
        if not cases or reports.num_ranks() == 1:
            continue
        rows = []
        for case in cases:
            share = exposed(case)
            name = f"`{case.strategy}`" + (" with `overlap`" if case.strategy == "ep" and case.params.get("overlap") else "")
            rows.append((name, chunks_name(case) if "chunks" in case.params else None, case.params.get("gemm"), f"{ms(case):.2f}",
                         f"{1e3 * case.busy_seconds:.2f}", share is not None and f"{100 * share:.0f} %" or None,
                         case.joules and f"{case.joules:.2f}", case.megahertz and f"{case.megahertz:.0f}"))
        lines += ["", f"MoE part, {tokens} tokens a GPU (standard, serial and pipeline of the paper's figure 11 are `ep`, "
                  "`eps_serial`, `eps`):", ""]
        lines += table(("strategy", "chunks", "GEMM", "ms", "exchange ms", "exposed", "J per 1000 tokens", "MHz"), rows)
    return lines


def by_length(reports):
    found = {length: reports.cases(f"lengths-{length}") for length in LENGTHS}
    numbers = sorted({case.params["chunks"] for cases in found.values() for case in select(cases, "eps")})
    if reports.num_ranks() == 1:
        rows = {}
        for length, cases in found.items():
            for kind, same in by_kind(cases).items():
                rows.setdefault(kind, {})[length] = spread([ms(case) / 2 for case in same], 2, " ms")
        about = ["", "Two whole MoE layers by sequence length, 16384 tokens, time of a layer:", ""]
        return [*about, *table(["GEMM", *(f"S {length}" for length in LENGTHS)],
                               [[kind, *map(cells.get, LENGTHS)] for kind, cells in rows.items()])] if rows else []
    if not numbers:
        return []

    def gain(length, case):
        base = one(found[length], "ep", overlap=False)
        return f"{100 * (rate(case) / rate(base) - 1):+.1f}" if base and case else None

    rows = [["`ep`, ms a layer"] + [f"{ms(base) / 2:.2f}" if (base := one(found[length], 'ep', overlap=False)) else None
                                    for length in LENGTHS]]
    rows.append(["`ep` with `overlap`"] + [gain(length, one(found[length], "ep", overlap=True)) for length in LENGTHS])
    for n in numbers:
        cells = []
        for length in LENGTHS:
            paper, ours = PAPER_GAINS.get(n, {}).get(length), gain(length, one(found[length], "eps", chunks=n))
            cells.append(f"{paper:+.1f} / {ours}" if paper and ours else ours)
        rows.append([f"`eps`, n = {n}"] + cells)
    return ["", "Gain over plain `ep` in %, two whole MoE layers, by sequence length (paper's table 2, 8 H800 / here):", "",
            *table(["", *(f"S {length}" for length in LENGTHS)], rows)]


def by_rows(reports):
    found = {rows: reports.cases(f"experts-{rows}") for rows in ROWS}
    if not any(found.values()):
        return []
    params = {}
    for cases in found.values():
        for case in cases:
            keys = tuple((key, case.params.get(key)) for key in ("chunks", "gemm", "transport", "comm_ctas", "gemm_sms"))
            params.setdefault((case.strategy, keys), None)
    rows, lone = [], reports.num_ranks() == 1
    for strategy, keys in params:
        wanted = dict(keys)
        library = wanted["transport"] == "nccl"
        if lone and wanted["gemm_sms"] is None and (library or strategy != "ep"):
            continue  # the same work
        cells = []
        for m in ROWS:
            case = one(found[m], strategy, **{key: value for key, value in wanted.items() if value is not None})
            paper = PAPER_LAYER.get((strategy, wanted["chunks"] or 1, wanted["gemm"]), {}).get(m)
            if lone:
                paper = None
            elif library and wanted["gemm_sms"] is not None:
                paper = PAPER_SMS_3072.get(wanted["gemm_sms"]) if m == 3072 else None
            elif library:
                paper = None
            cells.append(case and (f"{paper:.3f} / {ms(case):.3f}" if paper else f"{ms(case):.3f}"))
        transport = None if lone else f"NCCL, {wanted['comm_ctas']} CTAs" if library else "copy engines"
        rows.append([f"`{strategy}`", wanted["chunks"], wanted["gemm"], transport, wanted["gemm_sms"], *cells])
    beside = "" if lone else " (paper's tables 5 and 6, 4 H800 / here)"
    return ["", f"One layer's experts, about 20 a GPU, width 1536, by rows an expert{beside}, ms:", "",
            *table(["", "chunks", "GEMM", "exchange by", "SMs of the GEMM", *(f"m = {m}" for m in ROWS)], rows)]


def gemms(reports):
    """TFLOP/s of both kinds against rows an expert, from what bench_gemms prints."""
    text = reports.text("gemms")
    figures = {(int(n), int(k), int(m), kind): float(tflops) for n, k, m, kind, tflops in re.findall(
        r"^n (\d+) k (\d+) m +(\d+) (group|dense|group, then swiglu|group, swiglu in it) .*? ([0-9.]+) TFLOP/s$", text, re.MULTILINE)}
    if not figures:
        return []
    rows = []
    for n, k, m in sorted({key[:3] for key in figures}):
        group, dense = figures.get((n, k, m, "group")), figures.get((n, k, m, "dense"))
        theirs = PEER_GEMMS.get((n, k), {}).get(m, (None, None))
        behind, inside = figures.get((n, k, m, "group, then swiglu")), figures.get((n, k, m, "group, swiglu in it"))
        rows.append((f"N {n}, K {k}", m, group and f"{group:.0f}", behind and inside and f"{inside:.0f} ({inside / behind:.2f}x)",
                     dense and f"{dense:.0f}", *theirs))
    first = text.splitlines()[0]
    return ["", f"TFLOP/s against rows an expert, sustained ({first}; paper's figure 5):", "",
            *table(("product", "rows an expert", "GroupGemm", "with SwiGLU (beside one behind it)", "DenseGemm", "best grouped peer",
                    "one dense product"), rows), "",
            "The paper has DenseGemm ahead from 4096 rows on. Here it is not: in bf16 both end near what one product of all rows",
            "reaches, which is what power allows, and products one after another leave multiprocessors idle at the end of each."]


def strategies(reports):
    cases = reports.cases("strategies")
    if not cases:
        return []
    rows = [(f"`{case.label}`", f"{rate(case) / 1e3:.1f}", f"{rate(case) / rate(cases[0]):.2f}x", case.joules and f"{case.joules:.1f}")
            for case in cases]
    layers = layers_of(reports.config("strategies"))
    return ["", f"Every strategy on one workload, DeepSeek-V2 of {layers} layers, S 1024, 16384 tokens a GPU:", "",
            *table(("case", "1000 tokens/s", "speed", "J per 1000 tokens"), rows)]


def benches(reports):
    lines = []
    for name, about in ("kernels", "Memory-bound kernels beside a copy of memory"), ("exchanges", "Exchanges alone and beside a GEMM"):
        text = reports.text(name)
        if text and (name == "kernels" or reports.num_ranks() > 1):
            lines += ["", f"{about}:", "", *("    " + line for line in text.rstrip("\n").splitlines())]
    return lines


def machine(reports):
    for name in reports.found():
        environment = reports.environment(name)
        device = str(environment["ranks"][0]["device"]).split(",", maxsplit=1)[0]
        return f"{len(environment['ranks'])} x {device}; {environment['cuda']}; {environment['nccl']}; {environment['blas']}."
    raise BadInput(f"{reports.folder}: no reports there")


def page(reports):
    lines = ["# Figures of GPU runs", "", f"Made by `scripts/gpu_figures.py` from the reports beside it. {machine(reports)}",
             "All figures are sustained, bf16, of random data; medians over the timed passes of VALID cases.", ""]
    if reports.num_ranks() == 1:
        lines += ["A GPU alone exchanges nothing: `ep`, `eps` and `eps_serial` are the same work, and their figures differ as measurements do.",
                  "Energy is read from a counter that moves ten times a second: within 10 % in these runs. The attention part is a layer with a",
                  "dense MLP 64 wide behind it.", ""]
    lines += peers(reports)
    for section in against_chunks, by_length, by_rows, gemms, strategies, benches:
        lines += section(reports)
    if reports.missing:
        lines += ["", f"Not measured: {', '.join(reports.missing)}."]
    if reports.invalid:
        lines += ["", f"INVALID: {', '.join(reports.invalid)}."]
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", metavar="FOLDER", type=pathlib.Path, help="reports and tables of scripts/test_gpu.sh")
    parser.add_argument("--only-peers", action="store_true", help="only the table of figures beside their peers")
    options = parser.parse_args()
    reports = Reports(options.folder)
    try:
        machine(reports)
        print("\n".join(peers(reports) if options.only_peers else page(reports)))
    except BadInput as error:
        print(f"gpu_figures.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
