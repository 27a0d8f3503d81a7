"""The fakes keep the protocols and have a little sense."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core.errors import ModelError
from diptych.core.protocols import ImageTower, TextTower
from diptych.core.similarity import cosine
from diptych.encoders.fake import FakeImageTower, FakeTextTower


def plain(red: int, green: int, blue: int, size: int = 32) -> np.ndarray:
    return np.full((1, size, size, 3), (red, green, blue), dtype=np.uint8)


def test_they_are_towers() -> None:
    assert isinstance(FakeImageTower(), ImageTower)
    assert isinstance(FakeTextTower(), TextTower)


def test_like_colours_are_near() -> None:
    tower = FakeImageTower()
    red, dark_red, blue = (tower.embed(plain(*rgb)) for rgb in [(250, 10, 10), (220, 20, 20), (10, 10, 250)])
    assert cosine(red, dark_red)[0, 0] > 0.9 > cosine(red, blue)[0, 0]


def test_image_features_by_hand() -> None:
    tower = FakeImageTower(dim=5, size=4)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    expected = ((pixels.reshape(3, -1) - 127.0) / 128.0) @ tower._matrix  # one pixel a cell
    np.testing.assert_allclose(tower.embed(pixels), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1, 3, 5, 33])
def test_any_size_is_finite(size: int) -> None:
    features = FakeImageTower(size=size).embed(plain(1, 2, 3, size))
    assert features.shape == (1, 32)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()


def test_wrong_pixels_are_refused() -> None:
    with pytest.raises(ModelError, match=r"\(b, 32, 32, 3\)"):
        FakeImageTower().embed(plain(0, 0, 0, 16))


def test_shared_words_are_near_and_order_does_not_matter() -> None:
    tower = FakeTextTower()
    first, second, other = tower.embed(["a red Dog runs", "dog  runs a red", "snow on the mountain"])
    np.testing.assert_allclose(first, second, rtol=1e-6)
    assert cosine(first[None], other[None])[0, 0] < 0.9


def test_the_cut_counts_words_before_it() -> None:
    tower = FakeTextTower(max_tokens=2)
    assert tower.count_tokens(["one two three", ""]) == [3, 0]
    np.testing.assert_array_equal(tower.embed(["one two three"]), tower.embed(["one two four"]))


def test_fingerprints_differ_by_settings() -> None:
    towers = [FakeImageTower(), FakeImageTower(dim=8), FakeImageTower(size=8), FakeImageTower(seed=5)]
    assert len({tower.fingerprint for tower in towers}) == 4
    assert FakeTextTower().fingerprint == FakeTextTower().fingerprint != FakeTextTower(dim=8).fingerprint


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.characters(codec=None)), max_size=4))
def test_any_text_is_finite_and_independent_of_its_batch(texts: list[str]) -> None:
    tower = FakeTextTower()
    features = tower.embed(texts)
    assert features.shape == (len(texts), 32)
    for row, text in enumerate(texts):
        np.testing.assert_allclose(features[row], tower.embed([text])[0], atol=1e-6)
