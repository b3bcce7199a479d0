"""scripts/plot_results.py: pictures of made-up reports, and what it says of bad input."""

import json
import subprocess
import sys
import xml.etree.ElementTree

import jsonschema
import matplotlib.image
import numpy
import pytest

import made_up_reports
from report_checks import SCHEMA, SOURCE

CHARTS = ["throughput", "chunks", "phases", "lanes"]


def plot(*arguments):
    command = [sys.executable, str(SOURCE / "scripts/plot_results.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def refused(*arguments):
    """The one line on stderr with which the script ends with status 2."""
    done = plot(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(made_up_reports.report()))
    return path


@pytest.fixture
def timeline(tmp_path):
    path = tmp_path / "pass.trace.json"
    path.write_text(json.dumps(made_up_reports.timeline()))
    return path


def texts_of(svg):
    """What an SVG says; matplotlib keeps each text as a comment beside its outlines."""
    parser = xml.etree.ElementTree.XMLParser(target=xml.etree.ElementTree.TreeBuilder(insert_comments=True))
    root = xml.etree.ElementTree.parse(svg, parser).getroot()
    return [node.text.strip() for node in root.iter() if node.tag is xml.etree.ElementTree.Comment]


def test_made_up_reports_obey_the_schema():
    jsonschema.Draft7Validator(SCHEMA).validate(made_up_reports.report())


def test_every_chart_in_every_format(report, timeline, tmp_path):
    out = tmp_path / "new/pictures"
    done = plot(report, "--timeline", timeline, "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    expected = {out / f"{chart}.{ending}" for chart in CHARTS for ending in ("svg", "png")}
    assert set(out.iterdir()) == expected
    assert set(done.stdout.split("\n")) == {str(path) for path in expected} | {""}
    for chart in CHARTS:
        pixels = matplotlib.image.imread(out / f"{chart}.png")
        assert min(pixels.shape[:2]) > 300
        assert len(numpy.unique(pixels[:, :, 0])) > 50  # shades of red: something was drawn


def test_charts_say_what_they_show(report, timeline, tmp_path):
    assert plot(report, "--timeline", timeline, "--out", tmp_path, "--format", "svg").returncode == 0
    throughput = texts_of(tmp_path / "throughput.svg")
    assert {"ep", "ep overlap on", "eps chunks 4", "eps_serial chunks 16", "tp (INVALID)"} <= set(throughput)
    rate = made_up_reports.report()["results"][0]["metrics"]["tokens_per_second"]["value"]
    assert f"{rate:,.0f}" in throughput
    assert any(text.endswith("NOISY") for text in throughput)
    assert {"eps", "eps_serial", "ep", "ep overlap on", "tp_ep", "2", "4", "8", "16"} <= set(texts_of(tmp_path / "chunks.svg"))
    phases = texts_of(tmp_path / "phases.svg")
    assert {"expert_gemm", "all_to_all", "attention", "33 % exposed", "time of the pass"} <= set(phases)
    lanes = texts_of(tmp_path / "lanes.svg")
    assert {"Lanes over time: eps chunks=4", "rank 0  compute", "rank 1  combine", "Layer 2", "expert_gemm"} <= set(lanes)


def test_the_same_input_gives_the_same_svg(report, tmp_path):
    for folder in "ab":
        assert plot(report, "--out", tmp_path / folder, "--format", "svg").returncode == 0
    for chart in CHARTS[:3]:
        assert (tmp_path / "a" / f"{chart}.svg").read_bytes() == (tmp_path / "b" / f"{chart}.svg").read_bytes()


def test_several_reports_are_told_apart(report, tmp_path):
    other = tmp_path / "other.json"
    other.write_text(json.dumps(made_up_reports.report("slow link", 1.3)))
    same = tmp_path / "same.json"
    same.write_text(report.read_text())
    assert plot(report, other, same, "--out", tmp_path, "--format", "svg").returncode == 0
    assert {"quickstart", "slow link", "quickstart (2)"} <= set(texts_of(tmp_path / "throughput.svg"))
    assert "Time against chunks: slow link" in texts_of(tmp_path / "chunks.svg")


def test_cases_on_several_wires_show_when_overlap_pays(tmp_path):
    document = made_up_reports.report("wires")
    cases = [case for case in document["results"] if case["params"]["strategy"] in ("ep", "eps")]
    document["results"] = []
    for gb_per_s in 0.1, 1, 10:
        for case in json.loads(json.dumps(cases)):
            case["link"] = {"gb_per_s": gb_per_s, "latency_us": 5}
            case["name"] += f" {gb_per_s}"
            document["results"].append(case)
    (tmp_path / "wires.json").write_text(json.dumps(document))
    assert plot(tmp_path / "wires.json", "--out", tmp_path, "--format", "svg").returncode == 0
    texts = set(texts_of(tmp_path / "overlap.svg"))
    assert {"When overlap pays", "eps, 2 chunks", "eps, 16 chunks", "speed against ep with overlap"} <= texts
    document["results"] = [case for case in document["results"] if not case["params"].get("overlap")]
    (tmp_path / "wires.json").write_text(json.dumps(document))
    done = plot(tmp_path / "wires.json", "--out", tmp_path / "again", "--format", "svg")
    assert done.returncode == 0 and "overlap: skipped, fewer than three wires" in done.stdout


def test_reports_of_several_numbers_of_ranks_show_how_throughput_scales(tmp_path):
    paths = []
    for ranks in 2, 8, 64:
        document = made_up_reports.report(f"{ranks} ranks", 2 / ranks)
        for result in document["results"]:
            result["per_rank"] = [{**result["per_rank"][0], "rank": rank} for rank in range(ranks)]
            result["flags"] = ["MODELLED"]
        paths.append(tmp_path / f"{ranks}.json")
        paths[-1].write_text(json.dumps(document))
    assert plot(*paths, "--out", tmp_path, "--format", "svg").returncode == 0
    texts = texts_of(tmp_path / "scaling.svg")
    assert {"Scaling", "2", "8", "64", "ranks, modelled", "in proportion", "eps_serial chunks 4"} <= set(texts)


def test_pictures_lie_beside_the_report_unless_told_otherwise(report):
    done = plot(report, "--format", "png")
    assert done.returncode == 0
    assert (report.parent / "run/throughput.png").is_file()


def test_charts_without_data_are_skipped_with_a_reason(tmp_path):
    document = made_up_reports.report()
    tp = document["results"][3]
    empty = {"value": None, "median": None, "min": None, "max": None, "ci_low": None, "ci_high": None, "n": 0, "samples": []}
    tp["metrics"]["tokens_per_second"].update(empty)
    tp["phases"] = []
    document["results"] = [tp]
    path = tmp_path / "tp.json"
    path.write_text(json.dumps(document))
    done = plot(path, "--out", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == CHARTS[:3]
    assert all("skipped, " in line for line in done.stdout.splitlines())
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_report_without_results_is_no_error(tmp_path):
    path = tmp_path / "none.json"
    path.write_text(json.dumps({**made_up_reports.report(), "results": []}))
    done = plot(path, "--out", tmp_path)
    assert (done.returncode, done.stdout.count("skipped"), done.stderr) == (0, 3, "")


def test_the_sample_report_and_a_lone_timeline(timeline, tmp_path):
    assert plot(made_up_reports.SAMPLE, "--out", tmp_path / "sample").returncode == 0
    done = plot("--timeline", timeline, "--out", tmp_path / "lone", "--format", "png")
    assert done.stdout.split() == [str(tmp_path / "lone/lanes.png")]


def test_each_case_of_a_timeline_has_its_picture(tmp_path):
    path = tmp_path / "two.trace.json"
    path.write_text(json.dumps(made_up_reports.timeline(cases=("ep", "eps chunks=4"))))
    assert plot("--timeline", path, "--out", tmp_path, "--format", "svg").returncode == 0
    names = ["lanes-01-ep.svg", "lanes-02-eps-chunks-4.svg"]
    assert sorted(file.name for file in tmp_path.glob("lanes*")) == names
    for name, case in zip(names, ("ep", "eps chunks=4")):
        texts = texts_of(tmp_path / name)
        assert f"Lanes over time: {case}" in texts
        assert {"0", "25", "30"} <= set(texts) and "60" not in texts  # each pass begins at 0
        assert "rank 0  compute" in texts and "rank 0  case" not in texts


def test_a_single_lane_has_room_for_its_legend(tmp_path):
    document = made_up_reports.timeline(num_ranks=1)
    document["traceEvents"] = [e for e in document["traceEvents"] if e.get("tid", 11) == 11]
    path = tmp_path / "one.trace.json"
    path.write_text(json.dumps(document))
    done = plot("--timeline", path, "--out", tmp_path, "--format", "png")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "No such file"),
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "not an eps-bench report"),
        ('{"schema": "other"}', "not an eps-bench report"),
        ('{"schema": "eps-bench/report", "schema_version": 9}', "schema_version 9"),
        ('{"schema": "eps-bench/report", "schema_version": 1}', "no 'run' there"),
        ('{"schema": "eps-bench/report", "schema_version": 1, "run": {"config": {}}, "results": 3}', "results: 3 is not"),
        ('{"schema": "eps-bench/report", "schema_version": 1, "run": {"config": {}}, "results": [{}]}', "results/0: no"),
    ],
)
def test_bad_reports_are_refused(tmp_path, text, message):
    path = tmp_path / "bad.json"
    if text is not None:
        path.write_text(text)
    said = refused(path, "--out", tmp_path / "out")
    assert str(path) in said and message in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["[]", "{}", '{"traceEvents": [{"ph": "M"}]}', '[{"ph": "X", "name": "op"}]'])
def test_bad_timelines_are_refused(tmp_path, text):
    path = tmp_path / "bad.trace.json"
    path.write_text(text)
    assert str(path) in refused("--timeline", path)


def test_bad_command_lines_are_refused(report, tmp_path):
    assert "at least one report" in refused()
    assert "'gif'" in refused(report, "--format", "svg,gif")
    assert "--colour" in refused(report, "--colour", "red")
    assert str(report) in refused(report, "--out", report / "below")
    assert "folder" in refused(tmp_path) or "directory" in refused(tmp_path)
