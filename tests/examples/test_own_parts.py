"""The examples of parts of one's own, run as they are typed, on tiny data."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_a_loss_of_ones_own(example, shapes: Path) -> None:
    pytest.importorskip("torch", reason="training needs the [train] extra")
    assert "runs/soft_hinge" in example("own_loss.py", shapes)
    assert Path("runs/soft_hinge/model/model.safetensors").exists()


def test_an_image_tower_of_ones_own(example, shapes: Path) -> None:
    pytest.importorskip("torch", reason="training needs the [train] extra")
    assert "runs/grid" in example("own_image_tower.py", shapes)
    assert Path("runs/grid/model/model.safetensors").exists()


def test_a_reader_of_ones_own(example, tmp_path: Path) -> None:
    album = tmp_path / "holiday.album"
    album.write_text("cat.jpg = a cat on a sofa\nnothing\ndog.jpg = a dog\n")
    (tmp_path / "cat.jpg").touch()
    (tmp_path / "dog.jpg").touch()
    printed = example("own_reader.py", album)
    assert printed == "cat.jpg ['a cat on a sofa']\ndog.jpg ['a dog']\n1 lines left out\n"
