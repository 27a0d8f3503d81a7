"""R-precision, objects, class scores, diversity and retrieval through pictures."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core.cosine import normalise
from diptych.core.errors import DataError
from diptych.evaluation.generative import (
    deep_distances,
    draw_pools,
    estimate_of_mean,
    inception_score,
    own_spread,
    r_precision,
    retrieval_by_generated_images,
)


def vectors(rows, width=8, seed=0):
    return normalise(np.random.default_rng(seed).normal(size=(rows, width)))


def test_r_precision_by_hand():
    texts = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    pictures = np.array([[0.9, 0.1], [0.9, 0.1], [-1, 0.2]], dtype=np.float32)
    pools = np.array([[1, 2], [0, 2], [0, 1]])
    assert r_precision(pictures, texts, pools).tolist() == [1.0, 0.0, 1.0]


def test_several_pictures_of_one_text():
    texts, pools = vectors(5), draw_pools(list(range(5)), 3)
    own = np.array([4, 4, 0, 2])
    assert r_precision(texts[[4, 1, 0, 2]], texts, pools, own).tolist() == [1.0, 0.0, 1.0, 1.0]


def test_pictures_of_their_texts_are_found_and_shuffled_captions_are_at_chance():
    texts = vectors(2000, 16)
    pools = draw_pools(list(range(2000)))
    assert pools.shape == (2000, 99)
    assert r_precision(texts, texts, pools).mean() == 1.0
    shuffled = texts[np.random.default_rng(1).permutation(2000)]
    hits = r_precision(shuffled, texts, pools)
    assert abs(hits.mean() - 0.01) < 4 * math.sqrt(0.01 * 0.99 / 2000)


def test_an_encoder_that_tells_nothing_apart_scores_nothing():
    same = np.repeat(vectors(1), 50, axis=0)
    pools = draw_pools(list(range(50)), 10)
    assert r_precision(same, same, pools).sum() == 0
    assert r_precision(np.zeros((50, 8)), vectors(50), pools).sum() == 0


@given(st.lists(st.integers(0, 6), min_size=2, max_size=30), st.integers(2, 12), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_pools_hold_other_texts_only_and_none_twice(texts, size, seed):
    if len(set(texts)) == 1:
        with pytest.raises(DataError, match="at least two"):
            draw_pools(texts, size, seed)
        return
    pools = draw_pools(texts, size, seed)
    strangers = min(sum(other != text for other in texts) for text in texts)
    assert pools.shape == (len(texts), min(size - 1, strangers))
    for text, pool in zip(texts, pools, strict=True):
        assert len(set(pool.tolist())) == len(pool)
        assert all(texts[place] != text for place in pool)
    assert np.array_equal(pools, draw_pools(texts, size, seed))


@given(st.integers(2, 15), st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_r_precision_agrees_with_a_loop(rows, seed):
    pictures, texts = vectors(rows, 3, seed), vectors(rows, 3, seed + 1)
    pools = draw_pools(list(range(rows)), 5, seed)
    hits = r_precision(pictures, texts, pools)
    for i, pool in enumerate(pools):
        scores = [float(pictures[i].astype(float) @ texts[j].astype(float)) for j in [i, *pool]]
        assert hits[i] == float(all(scores[0] > other for other in scores[1:]))


@pytest.mark.unchecked
def test_r_precision_refuses_what_does_not_fit():
    pools = draw_pools([0, 1, 2], 2)
    with pytest.raises(DataError, match="a pool for each text"):
        r_precision(vectors(4), vectors(3), pools)
    bad = vectors(3)
    bad[0, 0] = np.nan
    with pytest.raises(DataError, match="NaN"):
        r_precision(bad, vectors(3), pools)


def test_inception_score_of_what_is_known():
    assert inception_score(np.eye(7)) == pytest.approx(7.0)  # a clear picture of each class
    assert inception_score(np.full((5, 4), 0.25)) == pytest.approx(1.0)  # all unclear
    assert inception_score(np.repeat(np.eye(3)[:1], 6, axis=0)) == pytest.approx(1.0)  # all of one class
    p = np.array([[0.75, 0.25], [0.25, 0.75]])
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert inception_score(p) == pytest.approx(math.exp(divergence))
    with pytest.raises(DataError, match="probabilities"):
        inception_score(np.array([[0.5, 0.6]]))


@given(st.integers(1, 10), st.integers(2, 6), st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_inception_score_lies_between_one_and_the_classes(rows, classes, seed):
    p = np.random.default_rng(seed).dirichlet(np.ones(classes) * 0.3, rows)
    assert 1 - 1e-9 <= inception_score(p) <= classes + 1e-9


SHAPES = ((3, 2, 2), (5, 1, 1))


def slow_deep_distance(a, b):
    layers, start = [], 0
    for channels, rows, columns in SHAPES:
        stop = start + channels * rows * columns
        one, two = (x[start:stop].reshape(channels, rows, columns) for x in (a, b))
        total = 0.0
        for r in range(rows):
            for c in range(columns):
                u, v = one[:, r, c], two[:, r, c]
                u, v = u / (np.linalg.norm(u) + 1e-10), v / (np.linalg.norm(v) + 1e-10)
                total += float(((u - v) ** 2).sum())
        layers.append(total / (rows * columns))
        start = stop
    return sum(layers) / len(layers)


def test_deep_distances_agree_with_loops_and_ignore_brightness_of_features():
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(6, 17)), generator.normal(size=(6, 17))
    expected = [slow_deep_distance(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(deep_distances(a, b, SHAPES), expected)
    np.testing.assert_allclose(deep_distances(a, 3 * a, SHAPES), 0, atol=1e-12)
    np.testing.assert_allclose(deep_distances(a, -a, SHAPES), 4)
    with pytest.raises(DataError, match="hold 17 numbers, found 16"):
        deep_distances(a[:, :16], b[:, :16], SHAPES)


def test_spread_is_the_mean_over_pairs_of_noises():
    maps = np.random.default_rng(1).normal(size=(4, 3, 17))
    for text, spread in enumerate(own_spread(maps, SHAPES)):
        pairs = [slow_deep_distance(maps[text, a], maps[text, b]) for a, b in ((0, 1), (0, 2), (1, 2))]
        assert spread == pytest.approx(np.mean(pairs))
    assert own_spread(np.repeat(maps[:, :1], 3, axis=1), SHAPES).tolist() == [0.0] * 4
    with pytest.raises(DataError, match="at least two"):
        own_spread(maps[:, :1], SHAPES)


def test_means_resample_whole_texts():
    values = np.repeat([0.0, 1.0], 50)
    alone = estimate_of_mean(values)
    together = estimate_of_mean(values, np.repeat(np.arange(10), 10))
    assert alone.value == together.value == 0.5
    assert together.interval.high - together.interval.low > 2 * (alone.interval.high - alone.interval.low)
    with pytest.raises(DataError, match="nothing to average"):
        estimate_of_mean(np.zeros(0))


def test_retrieval_by_generated_images_stands_beside_real_images():
    real, labels = vectors(60, 24), np.arange(60)
    texts = normalise(real + 0.02 * np.random.default_rng(1).normal(size=real.shape))
    perfect = retrieval_by_generated_images(real, real, texts, (labels, labels), resamples=50)
    assert perfect.generated["R@1"].value == perfect.real["R@1"].value == 1.0
    assert perfect.difference["R@1"].value == 0.0
    noise = retrieval_by_generated_images(vectors(60, 24, 9), real, texts, (labels, labels), resamples=50)
    assert noise.generated["R@10"].value == pytest.approx(10 / 60, abs=0.16)
    assert noise.difference["R@10"].interval.high < 0
    assert noise.difference["R@10"].value == pytest.approx(noise.generated["R@10"].value - noise.real["R@10"].value)
    assert (noise.queries, noise.gallery) == (60, 60)
    assert retrieval_by_generated_images(real, real, texts, (labels, labels), resamples=0).difference == {}
    with pytest.raises(DataError, match="no relevant item"):
        retrieval_by_generated_images(real, real, texts, (labels + 1, labels))
