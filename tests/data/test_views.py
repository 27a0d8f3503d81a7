"""Views: deterministic, in bounds, and what their names say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.errors import ConfigError
from diptych.core.protocols import Preprocess
from diptych.data import views
from diptych.data.images import as_image, prepare

TOWER = Preprocess(size=16)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_full_is_what_search_shows_and_flip_its_mirror() -> None:
    pixels = picture(40, 30)
    assert np.array_equal(views.show_view(pixels, "full", TOWER), prepare(pixels, TOWER))
    assert np.array_equal(views.show_view(pixels, "flip", TOWER), prepare(pixels, TOWER)[:, ::-1])


def test_packed_patches_are_mirrored_before_they_are_packed() -> None:
    pixels, tower = picture(40, 30), Preprocess(16, "patches", patch=4)
    full, flip = (as_image(views.show_view(pixels, view, tower), tower) for view in ("full", "flip"))
    assert full.shape == (16, 12, 3)
    assert np.array_equal(flip, full[:, ::-1])
    crops = [views.show_view(pixels, f"crop-{k}", tower) for k in range(8)]
    assert {crop.shape for crop in crops} == {tower.shape}
    assert all(min(as_image(crop, tower).shape[:2]) >= 4 for crop in crops)


def test_a_crop_is_a_function_of_the_picture_and_its_number() -> None:
    one, other = picture(40, 30), picture(40, 30, seed=1)
    crops = [views.show_view(one, f"crop-{k}", TOWER) for k in range(4)]
    assert all(np.array_equal(crop, views.show_view(one.copy(), f"crop-{k}", TOWER)) for k, crop in enumerate(crops))
    assert len({crop.tobytes() for crop in crops}) == 4
    assert not np.array_equal(views.show_view(other, "crop-0", TOWER), crops[0])


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 999))
def test_boxes_lie_inside_and_keep_their_area(height: int, width: int, seed: int) -> None:
    top, left, crop_height, crop_width = views._box(np.random.default_rng(seed), height, width)
    assert top >= 0
    assert left >= 0
    assert 1 <= crop_height <= height - top
    assert 1 <= crop_width <= width - left
    low, _ = views.CROP_AREA
    slack = 1 / height + 1 / width + 1 / (height * width)  # of rounding to whole pixels
    narrowest = np.sqrt(low / views.CROP_ASPECT[1])  # a wide crop may hit the picture's edge
    assert crop_height * crop_width / (height * width) >= low * narrowest - slack


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (50, 1), (2, 300)])
@pytest.mark.parametrize("view", ["full", "flip", "crop-0", "crop-7", "crop-999"])
def test_thin_pictures(height: int, width: int, view: str) -> None:
    assert views.show_view(picture(height, width), view, TOWER).shape == (16, 16, 3)


def test_both_mirrorings_occur_among_crops() -> None:
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (100, 200, 3))
    crops = (views.show_view(ramp, f"crop-{k}", TOWER) for k in range(12))
    rising = {bool(shown[8, 15, 0] > shown[8, 0, 0]) for shown in crops}
    assert rising == {True, False}


@pytest.mark.parametrize(
    "names", [("full", "flop"), ("full", "crop-"), ("full", "crop-1000"), ("full", "crop--1"), ("full", "")]
)
def test_unknown_views(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=f"unknown view '{names[1]}'; choose from full, flip, crop-0"):
        views.check_views(names)
    with pytest.raises(ConfigError, match="unknown view"):
        views.show_view(picture(4, 4), names[1], TOWER)


@pytest.mark.parametrize("names", [(), ("flip",)])
def test_the_full_view_is_needed(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="views must include 'full'"):
        views.check_views(names)
