"""The page of a run: what is shown, what is escaped, and what is left out when it is not there."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from diptych.core.errors import DataError
from diptych.inspection.generators import About, MeasureSettings, measure_generated
from diptych.inspection.generators.html_page import charts, table
from diptych.inspection.generators.run_report import read_log, run_html, sample_grids


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "xmc<1>"
    (folder / "samples").mkdir(parents=True)
    rows = [{"step": 500 * n, "d_loss": 1 / n, "g<loss": n, "note": "x", "flag": True} for n in range(1, 13)]
    rows[3]["d_loss"] = float("nan")
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 65')
    for n in range(1, 13):
        Image.new("RGB", (20, 10), (20 * n, 0, 0)).save(folder / f"samples/step-{500 * n:06}.png")
    return folder


def test_curves_and_samples_without_measures(run):
    text = run_html(run)
    assert text.count("<polyline") == 3  # one curve in two pieces, for the NaN between, and another in one
    assert "(1 not finite)" in text
    assert "g&lt;loss" in text
    assert "xmc&lt;1&gt;" in text
    steps = [int(found.replace(",", "")) for found in re.findall(r"<figcaption>step ([\d,]+)</figcaption>", text)]
    assert len(steps) == 8
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (500, 6000)
    assert "Measures" not in text
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_everything_that_was_measured_is_on_the_page(run, drawing, pairs, tools):
    outcome, looked = measure_generated(
        drawing.Drawer(blind=("green",)), pairs["val"], tools, MeasureSettings(texts=20, pool=5, bootstrap=50),
        training=pairs["train"], about=About("drawer", "shapes", "val"),
    )  # fmt: skip
    text = run_html(run, outcome, looked)
    for one in outcome.measures:
        assert one.name.replace("&", "&amp;") in text
        assert one.rule.split(".")[0].replace("'", "&#x27;") in text
    assert "Failures: furthest from their text" in text
    assert "Nearest training images" in text
    assert "✗ " in text
    assert "20 texts, 2 images each of 64 px" in text
    assert "20 texts of shapes (val)" in text


def test_the_log_of_a_running_job_is_read_up_to_its_last_whole_line(run):
    assert len(read_log(run / "log.jsonl")) == 12
    assert read_log(run / "gone.jsonl") == []
    (run / "log.jsonl").write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(DataError, match="line 2 is no JSON"):
        read_log(run / "log.jsonl")
    (run / "log.jsonl").write_text("[1]\n")
    with pytest.raises(DataError, match="line 1 is no JSON object"):
        read_log(run / "log.jsonl")


def test_samples_come_by_step_not_by_name(tmp_path):
    (tmp_path / "samples").mkdir()
    for name in ("step-1000.png", "step-900.png", "readme.png"):
        (tmp_path / "samples" / name).write_bytes(b"")
    assert [step for step, _ in sample_grids(tmp_path)] == [900, 1000]


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(DataError, match="expected the folder of a run"):
        run_html(tmp_path)


def test_charts_of_odd_series():
    drawn = charts({"flat": ([1, 2], [3, 3]), "one": ([5], [1.5]), "none": ([1], [float("inf")])}, "step")
    assert drawn.count("<figure") == 2
    assert "nan" not in drawn
    assert 'aria-label="one: 1.5 at step 5"' in drawn
    points = [float(value) for value in re.findall(r"[\d.]+", re.search(r'points="([^"]+)"', drawn)[1])]
    assert np.isfinite(points).all()


def test_tables_escape():
    drawn = table(("a", "b"), [["<x>", "1 & 2"]], ['"note"'])
    assert "&lt;x&gt;" in drawn
    assert "1 &amp; 2" in drawn
    assert "&quot;note&quot;" in drawn
