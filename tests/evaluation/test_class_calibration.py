"""Probabilities of labels: the scale against torchmetrics-like formulas by hand, and images of none of them."""

from __future__ import annotations

import numpy as np
import pytest

from diptych.core.errors import DataError
from diptych.evaluation.class_calibration import (
    ClassCalibration,
    area_under_curve,
    calibration_quality,
    fit_classes,
    fit_scale,
    left_out,
    log_loss,
    softmax,
)


def drawn(scale: float, count: int = 4000, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose labels are drawn by the softmax of scale times the score."""
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(count, classes)) * 0.1
    chances = softmax(scale * scores)
    labels = np.array([generator.choice(classes, p=row) for row in chances])
    return scores, labels


def test_the_scale_that_labels_were_drawn_by_is_found() -> None:
    scores, labels = drawn(17.0)
    found = fit_scale(scores, labels)
    assert found == pytest.approx(17.0, rel=0.06)
    losses = [log_loss(found * factor * scores, labels) for factor in (0.99, 1.0, 1.01)]
    assert losses[1] < min(losses[0], losses[2])


def test_the_loss_by_hand() -> None:
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    assert log_loss(logits, np.array([0, 1])) == pytest.approx((np.log(2) + np.log(10)) / 2)
    assert softmax(logits) == pytest.approx(np.exp(logits))


def test_scores_that_tell_every_label_give_the_largest_scale_and_no_information_an_error() -> None:
    labels = np.arange(20) % 2
    assert fit_scale(np.eye(2)[labels], labels) > 20
    with pytest.raises(DataError, match="no higher with their own label"):
        fit_scale(np.eye(2)[1 - labels], labels)


def test_probabilities_are_right_as_often_as_they_say() -> None:
    scores, labels = drawn(17.0)
    quality = calibration_quality(scores, labels, np.arange(len(labels)))
    assert quality.error < 0.02
    assert quality.images == 4000
    assert quality.loss == pytest.approx(log_loss(17.0 * scores, labels), abs=0.005)


def test_images_of_none_of_the_labels_are_told_by_their_best_score() -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 6, 600)
    scores = generator.normal(size=(600, 6)) * 0.03 + 0.3 * np.eye(6)[labels]
    fitted, quality = fit_classes(scores, labels), calibration_quality(scores, labels, np.arange(600))
    assert quality.none_auc == pytest.approx(1.0, abs=0.01)
    assert (quality.none_found, quality.none_wrong) == (pytest.approx(1, abs=0.02), pytest.approx(0, abs=0.02))
    other = generator.normal(size=(50, 6)) * 0.03  # of something else
    assert (fitted.none(other) > 0.5).mean() > 0.95
    assert fitted.none(other[:, :1]) is None


def test_what_is_saved_gives_the_same() -> None:
    scores, labels = drawn(17.0, 100)
    fitted = fit_classes(scores, labels)
    again = ClassCalibration.from_json(fitted.to_json())
    assert (again.probabilities(scores) == fitted.probabilities(scores)).all()
    assert (again.none(scores) == fitted.none(scores)).all()
    for broken in ({"scale": 0, "known": None}, {"scale": 1, "known": {"weights": [1]}}, {}):
        with pytest.raises((KeyError, ValueError, TypeError)):
            ClassCalibration.from_json(broken)


def test_two_labels_leave_nothing_to_tell_none_by() -> None:
    scores, labels = drawn(17.0, 60, 2)
    assert fit_classes(scores, labels).known is None
    assert calibration_quality(scores, labels, np.arange(60)).none_auc is None


def test_few_images_are_refused() -> None:
    with pytest.raises(DataError, match="found 4 labelled images to calibrate on; expected 20"):
        fit_classes(np.eye(4), np.arange(4))


def test_twenty_images_are_enough_though_each_half_has_fewer() -> None:
    scores, labels = drawn(17.0, 20, 4)
    assert fit_classes(scores, labels).scale > 0
    assert calibration_quality(scores, labels, np.arange(20)).images == 20


def test_left_out_and_area_by_hand() -> None:
    assert left_out(np.array([[1.0, 2, 3], [4, 5, 6]]), np.array([1, 2])).tolist() == [[1, 3], [4, 5]]
    assert area_under_curve(np.array([1.0, 3]), np.array([0.0, 1, 2])) == pytest.approx((1 + 0.5 + 3) / 6)
