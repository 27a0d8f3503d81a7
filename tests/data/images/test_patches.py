"""Packed patches: what they hold, how many there are, and that they show the image again."""

from __future__ import annotations

import importlib
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.errors import ConfigError, DataError, ModelError
from diptych.core.protocols import Preprocess
from diptych.data.images import as_image, as_prepared, mirrored, prepare
from diptych.data.images.patches import fitted, pack
from diptych.encoders.inputs import check_pixels, grey_pixels
from diptych.encoders.pretrained import import_transformers

NAFLEX = Preprocess(8, "patches", patch=2)  # at most 16 patches of 2 x 2 pixels


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_layout_by_hand() -> None:
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    packed = pack(image, NAFLEX)
    assert packed.shape == NAFLEX.shape == (9, 8, 3)
    values = packed[:8].reshape(-1)
    second = image[:2, 2:4].reshape(-1)  # the second patch of the first row
    assert values[12:24].tolist() == second.tolist() == [6, 7, 8, 9, 10, 11, 24, 25, 26, 27, 28, 29]
    assert not values[6 * 12 :].any()
    assert packed[8, :2].tolist() == [[0, 2, 0], [0, 3, 0]]  # two rows of three patches


@given(st.integers(1, 300), st.integers(1, 300))
def test_what_was_packed_is_shown_again(height: int, width: int) -> None:
    rows, columns = fitted(height, width, NAFLEX)
    assert 1 <= rows * columns <= 16
    image = noise(rows * 2, columns * 2)
    packed = as_prepared(image, NAFLEX)
    assert np.array_equal(as_image(packed, NAFLEX), image)
    assert np.array_equal(as_image(mirrored(packed, NAFLEX), NAFLEX), image[:, ::-1])
    check_pixels(packed[None], NAFLEX)


def test_proportions_are_kept_and_a_strip_becomes_a_row() -> None:
    assert fitted(100, 100, NAFLEX) == (4, 4)
    assert fitted(100, 400, NAFLEX) == (2, 8)
    assert fitted(1, 100, NAFLEX) == (1, 16)
    wide = Preprocess(512, "patches", patch=2)
    assert as_image(prepare(noise(1, 90), wide), wide).shape == (54, 4854, 3)  # more columns than a byte can state


def test_as_many_patches_as_siglip_2_makes() -> None:
    pytest.importorskip("torch", reason="needs the [train] extra")
    if find_spec("transformers") is None:
        pytest.skip("needs the [hub] extra")
    import_transformers()
    theirs = importlib.import_module("transformers.models.siglip2.image_processing_siglip2")
    preprocess = Preprocess(256, "patches", patch=16)
    draw = np.random.default_rng(0)
    for height, width in [(1, 1), (1, 5000), (256, 256), (255, 257), *draw.integers(1, 3000, (200, 2)).tolist()]:
        sides = theirs.get_image_size_for_max_num_patches(height, width, 16, 256)
        assert fitted(height, width, preprocess) == tuple(side // 16 for side in sides), (height, width)


def test_other_modes_are_shown_as_they_are() -> None:
    image = noise(8, 8)
    assert as_image(image, Preprocess(8)) is image
    assert as_prepared(image, Preprocess(8)) is image
    assert np.array_equal(mirrored(image, Preprocess(8)), image[:, ::-1])


def test_what_is_no_packed_image() -> None:
    with pytest.raises(DataError, match="found an image of 5 x 8 pixels; expected 1 to 16 patches of 2 x 2"):
        pack(noise(5, 8), NAFLEX)
    with pytest.raises(DataError, match="found an image of 10 x 8 pixels"):
        pack(noise(10, 8), NAFLEX)
    for stated in (0, 17):
        packed = grey_pixels(NAFLEX)
        packed[0, -1, :2, :2] = [[0, 1], [0, stated]]
        with pytest.raises(ModelError, match=rf"state \[{stated}\] patches; expected 1 to 16 each"):
            check_pixels(packed, NAFLEX)
    with pytest.raises(ConfigError, match="must be a multiple of the patch, found 3"):
        Preprocess(8, "patches", patch=3)
