"""Normalising against the formula, pixel by pixel."""

import numpy as np
import pytest

from diptych.core.errors import ModelError
from diptych.core.protocols import Preprocess
from diptych.encoders.image.pixels import normalise_pixels

PREPARED = Preprocess(size=3, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))


def test_against_the_formula() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 3, 3), dtype=np.uint8)
    planes = normalise_pixels(pixels, PREPARED)
    assert planes.shape == (2, 3, 3, 3)
    assert planes.dtype == np.float32
    for b, y, x, c in np.ndindex(*pixels.shape):
        expected = (pixels[b, y, x, c] - PREPARED.mean[c]) / PREPARED.std[c]
        assert planes[b, c, y, x] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("shape", [(3, 3, 3), (1, 3, 3, 4), (1, 4, 3, 3), (1, 3, 4, 3)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"takes uint8 of shape \(b, 3, 3, 3\)"):
        normalise_pixels(np.zeros(shape, dtype=np.uint8), PREPARED)


def test_another_type_is_refused() -> None:
    with pytest.raises(ModelError, match="found pixels of type float32"):
        normalise_pixels(np.zeros((1, 3, 3, 3), dtype=np.float32), PREPARED)
