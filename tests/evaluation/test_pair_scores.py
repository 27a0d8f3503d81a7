import numpy as np
import pytest

from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError
from diptych.evaluation import Embeddings
from diptych.evaluation.pair_scores import Gallery, nearness, pair_scores, with_shuffled_texts


def vectors(images=30, per_image=2, dimension=6, seed=0):
    generator = np.random.default_rng(seed)
    owner = np.repeat(np.arange(images), per_image)
    pictures = normalise(generator.normal(size=(images, dimension)))
    return Embeddings(pictures, normalise(pictures[owner] + generator.normal(size=(len(owner), dimension))), owner)


def slow_csls(one, gallery, k):
    found = []
    for text, owner in zip(one.texts, one.owner, strict=True):
        image = one.images[owner]
        to_texts = sorted(
            float(image @ other)
            for other, record in zip(gallery.texts, gallery.text_records, strict=True)
            if record != owner
        )
        to_images = sorted(
            float(text @ other)
            for other, record in zip(gallery.images, gallery.image_records, strict=True)
            if record != owner
        )
        found.append(2 * float(image @ text) - np.mean(to_texts[-k:]) - np.mean(to_images[-k:]))
    return found


@pytest.mark.parametrize("k", [1, 5, 500])
def test_csls_is_its_formula(k):
    one = vectors()
    gallery = Gallery.drawn(one, most=20, seed=1)
    assert pair_scores(one, gallery, k=k) == pytest.approx(slow_csls(one, gallery, k), abs=1e-5)


def test_without_a_gallery_it_is_the_cosine():
    one = vectors()
    wanted = [float(one.images[owner] @ text) for owner, text in zip(one.owner, one.texts, strict=True)]
    assert pair_scores(one, None) == pytest.approx(wanted)


def test_of_a_foreign_gallery_nothing_is_left_out():
    one = vectors(images=3, per_image=1)
    gallery = Gallery(one.images, np.arange(3), one.texts, one.owner)
    own = pair_scores(one, gallery, k=1)
    foreign = pair_scores(one, gallery, k=1, foreign=True)
    assert (foreign <= own + 1e-6).all()
    assert (foreign < own - 1e-6).any()


def test_nearness_of_nothing_is_zero_and_blocks_change_nothing(monkeypatch):
    one = vectors()
    nothing = np.zeros((0, 6), dtype=np.float32)
    assert nearness(one.images, np.arange(30), nothing, np.zeros(0, np.int64), 3).tolist() == [0] * 30
    whole = nearness(one.images, np.arange(30), one.texts, one.owner, 3)
    monkeypatch.setattr("diptych.evaluation.pair_scores._BLOCK_SCORES", 100)
    assert nearness(one.images, np.arange(30), one.texts, one.owner, 3) == pytest.approx(whole, abs=1e-6)


def test_shuffled_pairs_are_all_wrong():
    one = vectors()
    moved = with_shuffled_texts(one, seed=3)
    assert (moved.owner != one.owner).all()
    assert moved.owner.max() < 30
    assert (with_shuffled_texts(one, seed=3).owner == moved.owner).all()
    with pytest.raises(ConfigError, match="two records"):
        with_shuffled_texts(vectors(images=1))
