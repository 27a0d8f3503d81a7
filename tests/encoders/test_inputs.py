"""Normalising against the formula, pixel by pixel; any string becomes one that can be encoded and tokenised."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.errors import ModelError
from diptych.core.protocols import Preprocess
from diptych.encoders.inputs import clean, normalise_pixels

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


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("", ""),
        (" \t\r\n\u3000 ", ""),
        ("  two \n\n words\t", "two words"),
        ("a\0b", "ab"),
        ("\ud800x", "\ufffdx"),
        ("x\udc00", "x\ufffd"),
        ("\ud83d\ude00", "😀"),
        ("cafe\u0301", "café"),
        ("日本\u3000語", "日本 語"),
    ],
)
def test_cleaning_by_hand(raw: str, expected: str) -> None:
    assert clean(raw) == expected


@given(st.text(st.characters(codec=None)))
def test_clean_text_encodes_and_stays(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert "\0" not in cleaned
    assert clean(cleaned) == cleaned
