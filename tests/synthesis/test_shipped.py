"""The generator inside the package: whole, small, and it heeds its words."""

import numpy as np
import pytest

from diptych.synthesis import folder, load


@pytest.fixture(scope="module")
def emoji():
    return load("emoji")


def colour(generator, text):
    """Mean of what is not white."""
    images = generator.generate([text] * 4, seed=3).reshape(-1, 3).astype(float)
    return images[images.min(axis=1) < 200].mean(axis=0)


def test_it_is_whole_and_small(emoji):
    folder.verify(emoji.folder, emoji.config)
    assert sum(path.stat().st_size for path in emoji.folder.iterdir()) < 20e6
    assert "Limits" in (emoji.folder / "README.md").read_text()
    assert emoji.config.size == 64


def test_it_hears_a_colour_in_several_languages(emoji):
    for red, green in (("a red apple", "a green apple"), ("manzana roja", "manzana verde"), ("红苹果", "绿苹果")):
        one, other = colour(emoji, red), colour(emoji, green)
        assert one[0] - one[1] > 50
        assert other[1] - other[0] > 20


def test_equal_seeds_make_equal_images(emoji):
    one, again, other = (emoji.generate(["a cat"], seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert one.shape == (1, 64, 64, 3)
