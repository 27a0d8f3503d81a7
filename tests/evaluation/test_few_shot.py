"""Linear probe and Tip-Adapter: by hand, against scikit-learn, and by properties."""

from __future__ import annotations

import numpy as np
import pytest

from diptych.core.errors import DataError
from diptych.evaluation.class_calibration import log_loss
from diptych.evaluation.classification import class_ranks
from diptych.evaluation.few_shot import (
    ADAPTERS,
    LabelledFeatures,
    TipAdapter,
    _key_gradient,
    draw_shots,
    fit_softmax,
    linear_probe,
    minimise,
    tip_adapter,
)


def clusters(count: int = 30, classes: int = 3, noise: float = 0.1, seed: int = 0) -> LabelledFeatures:
    """Unit features in one cluster a class, and zero-shot logits that are right in about half of the cases."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count * classes) % classes
    features = np.eye(classes, 8)[labels] + noise * generator.normal(size=(len(labels), 8))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    zero_shot = generator.normal(size=(len(labels), classes)) + 1.0 * np.eye(classes)[labels]
    return LabelledFeatures(features.astype(np.float32), zero_shot, labels)


def test_shots_are_drawn_apart_from_what_is_held_out() -> None:
    labels = np.repeat(np.arange(4), [20, 6, 3, 1])
    found = draw_shots(labels, 4, seed=1)
    assert not set(found.learnt) & set(found.held)
    assert np.bincount(labels[found.learnt]).tolist() == [4, 3, 2, 1]
    assert np.bincount(labels[found.held], minlength=4).tolist() == [4, 3, 1, 0]  # at most four, at most half
    assert found.short == 3
    again, other = draw_shots(labels, 4, seed=1), draw_shots(labels, 4, seed=2)
    assert (again.learnt == found.learnt).all()
    assert set(other.learnt) != set(found.learnt)
    every = draw_shots(labels, 0, seed=1)
    assert np.bincount(labels[every.held], minlength=4).tolist() == [4, 1, 1, 0]
    assert len(every.held) + len(every.learnt) == len(labels)
    with pytest.raises(DataError, match="no class has two training images"):
        draw_shots(np.arange(3), 1, seed=0)


@pytest.mark.parametrize("decay", [1.0, 1e-2, 1e-4])
def test_softmax_regression_is_that_of_scikit_learn(decay: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    images = clusters(noise=0.4)
    features = images.features.astype(np.float64)
    weights = fit_softmax(features, images.labels, np.zeros((9, 3)), decay)
    theirs = linear_model.LogisticRegression(C=1 / (decay * len(features)), tol=1e-8, max_iter=5000)
    theirs.fit(features, images.labels)
    ours = features @ weights[:-1] + weights[-1]
    assert ours - ours.mean(1, keepdims=True) == pytest.approx(
        theirs.decision_function(features) - theirs.decision_function(features).mean(1, keepdims=True), abs=1e-2
    )


def test_the_least_of_a_stretched_bowl_is_found() -> None:
    scales = np.array([1.0, 100.0, 1e4])

    def bowl(place: np.ndarray) -> tuple[float, np.ndarray]:
        return float((scales * (place - 3) ** 2).sum()), 2 * scales * (place - 3)

    assert minimise(bowl, np.zeros(3)) == pytest.approx(np.full(3, 3.0), abs=1e-5)


def test_tip_adapter_by_hand() -> None:
    keys = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    adapter = TipAdapter(keys, np.array([1, 0]), alpha=2.0, beta=3.0)
    found = adapter(np.array([[0.6, 0.8]], dtype=np.float32), np.array([[0.5, 0.25]]))
    expected = [0.5 + 2 * np.exp(-3 * 0.2), 0.25 + 2 * np.exp(-3 * 0.4)]  # class 0 has the second key, at 0.8
    assert found[0] == pytest.approx(expected)


def test_the_gradient_by_the_keys_is_the_slope_of_the_loss() -> None:
    images = clusters(4)
    keys, own = images.features[:5].astype(np.float64), np.eye(3)[images.labels[:5]]

    def loss(moved: np.ndarray) -> float:
        near = np.exp(-2.0 * (1 - images.features.astype(np.float64) @ moved.T))
        return log_loss(images.zero_shot + 1.5 * near @ own, images.labels)

    found = _key_gradient(keys, own, images, 1.5, 2.0)
    for row, column in ((0, 0), (4, 7), (2, 3)):
        step = np.zeros_like(keys)
        step[row, column] = 1e-5
        assert found[row, column] == pytest.approx((loss(keys + step) - loss(keys - step)) / 2e-5, rel=1e-4)


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters_learn_clusters_that_words_do_not_tell(name: str) -> None:
    pool, shown = clusters(), clusters(seed=1)
    drawn = draw_shots(pool.labels, 8, seed=0)
    found = ADAPTERS[name](pool.at(drawn.learnt), pool.at(drawn.held), 0)
    by_words = (class_ranks(shown.zero_shot, shown.labels) == 0).mean()
    right = (class_ranks(found(shown.features, shown.zero_shot), shown.labels) == 0).mean()
    assert by_words < 0.8
    assert right > 0.97


def test_settings_are_those_that_are_best_on_the_held_out_images() -> None:
    learnt, held = clusters(4, noise=0.5), clusters(10, noise=0.5, seed=2)
    found = tip_adapter(learnt, held)
    mixed = found(held.features, held.zero_shot)
    for alpha in (0.0, 0.5 * found.alpha, 2 * found.alpha):
        other = TipAdapter(found.keys, found.labels, alpha, found.beta)(held.features, held.zero_shot)
        assert (class_ranks(mixed, held.labels) == 0).mean() >= (class_ranks(other, held.labels) == 0).mean()
    assert linear_probe(learnt, held).decay in [10.0**power for power in range(-6, 2)]
