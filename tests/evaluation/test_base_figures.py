"""What `benchmarks/base_figures.py calibration` computes, by hand and by slow, obvious code; and the command itself."""

from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the small model is trained with the [train] extra")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("base_figures")


def test_the_error_is_that_of_bins_of_equal_weight(benchmark: Any) -> None:
    said, so = np.array([0.1, 0.2, 0.6, 0.9]), np.array([False, True, False, True])
    one = np.ones(4)
    assert benchmark.expected_error(said, so, one, bins=2) == pytest.approx((abs(0.3 - 1) + abs(1.5 - 1)) / 4)
    assert benchmark.expected_error(said, so, one, bins=1) == pytest.approx(abs(1.8 - 2) / 4)
    twice = np.array([2.0, 0.0, 1.0, 1.0])  # as a resample that drew the first twice and the second never
    assert benchmark.expected_error(said, so, twice, bins=2) == pytest.approx((0.2 + abs(1.5 - 1)) / 4)


def test_the_area_is_the_share_of_pairs_in_the_right_order(benchmark: Any) -> None:
    draw = np.random.default_rng(0)
    said, so = np.sort(draw.integers(0, 8, 40) / 8), draw.random(40) < 0.4
    weight = draw.integers(0, 3, 40).astype(float)
    right, whole = 0.0, 0.0
    for one, other in itertools.product(np.flatnonzero(so), np.flatnonzero(~so)):
        both = weight[one] * weight[other]
        right += both * (1.0 if said[one] > said[other] else 0.5 if said[one] == said[other] else 0.0)
        whole += both
    assert benchmark.auc(said, so, weight) == pytest.approx(right / whole)


def test_the_command_prints_both_statements_for_each_size_of_library(
    benchmark: Any,
    small_model: Path,
    shapes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from diptych.cli.app import run

    fitted = tmp_path / "relate.json"
    fit = ["relate", "--calibrate", str(shapes), "--calibrate-split", "train", "--model", str(small_model)]
    assert run([*fit, "--calibration", str(fitted)]) == 0
    monkeypatch.setattr(benchmark, "RESAMPLES", 20)
    monkeypatch.setattr(benchmark, "LIBRARIES", (20, 100))
    words = ["base_figures.py", "calibration", str(shapes), "--split", "train", "--model", str(small_model)]
    monkeypatch.setattr(sys, "argv", words)
    capsys.readouterr()
    benchmark.main()
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith(", train: 70 texts, 35 images")
    assert printed[1].startswith("this pair is right, as it says: ")  # which comes with none
    assert sum(line.startswith("| this pair is right") for line in printed) == 1
    monkeypatch.setattr(sys, "argv", [*words, "--calibration", str(fitted)])
    benchmark.main()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows[0] == ["statement", "statements", "ECE", "AUC"]
    pair = "this pair is right, "
    names = [f"{pair}--calibration", f"{pair}fitted here", "nothing matches, 20 images", "nothing matches, all sizes"]
    assert [row[0] for row in rows[2:]] == names
    assert [row[1] for row in rows[2:]] == ["140", "140", "80", "80"]  # 35 images make one library of 20
    said, fitted_here, *nothing = [[float(cell.split()[0]) for cell in row[2:]] for row in rows[2:]]
    assert min(said[1], fitted_here[1]) > 0.8
    assert all(0 <= value <= 1 for value in itertools.chain(said, fitted_here, *nothing))
