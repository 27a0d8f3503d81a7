"""The animation of the README."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from website import animation

pytest.importorskip("matplotlib", reason="the font comes with [plot]")


def test_it_shows_what_was_typed_printed_and_found(tmp_path: Path) -> None:
    drawing = tmp_path / "bird.png"
    Image.new("RGB", (30, 30), "red").save(drawing)
    shown = [animation.Scene("diptych index x", ("1 added",)), animation.Scene("ab", ("1  0.5",), (drawing,))]
    made = list(animation.frames(shown))
    assert all(frame.size == (animation.WIDTH, animation.HEIGHT) for frame, _ in made)
    place = (animation.EDGE + animation.TILE // 2, animation.HEIGHT - animation.EDGE - animation.TILE // 2)
    red = [frame.getpixel(place) == (255, 0, 0) for frame, _ in made]
    assert red == [False] * (len(made) - 1) + [True]
    assert made[-1][1] == animation.LAST


def test_the_one_in_the_readme_is_small_and_moves() -> None:
    assert animation.OUT.stat().st_size < 400_000
    assert f"docs/images/{animation.OUT.name}" in (animation.OUT.parents[2] / "README.md").read_text()
    with Image.open(animation.OUT) as image:
        assert image.n_frames > 10
        assert image.size == (animation.WIDTH, animation.HEIGHT)
