from __future__ import annotations

import numpy as np
import pytest

from diptych.core.errors import DataError
from diptych.evaluation.reliability import calibration_error, fit_logistic, reliability


def test_the_fit_finds_the_probabilities_that_made_the_labels():
    draw = np.random.default_rng(0)
    features = draw.normal(size=(20_000, 2)) * [3, 0.1] + [5, -2]
    true = 1 / (1 + np.exp(-(0.8 * (features[:, 0] - 5) - 12 * (features[:, 1] + 2) + 0.5)))
    found = fit_logistic(features, draw.random(20_000) < true, decay=1e-6)
    assert np.abs(found(features) - true).mean() < 0.01
    assert np.array(found.weights) / np.array(found.scale) == pytest.approx([0.8, -12], rel=0.1)


def test_separable_data_stays_finite():
    features = np.arange(10.0)[:, None]
    found = fit_logistic(features, features[:, 0] > 4.5)
    assert np.isfinite(found.weights).all()
    assert (found(features) > 0.5).tolist() == [False] * 5 + [True] * 5


def test_reliability_by_hand():
    said = np.array([0.05, 0.15, 0.15, 0.95, 1.0])
    right = np.array([False, True, False, True, True])
    rows = reliability(said, right)
    assert [(round(one.predicted, 3), one.observed, one.count) for one in rows] == [
        (0.05, 0.0, 1),
        (0.15, 0.5, 2),
        (0.975, 1.0, 2),
    ]
    assert calibration_error(said, right) == pytest.approx((0.05 + 2 * 0.35 + 2 * 0.025) / 5)


@pytest.mark.unchecked
def test_what_cannot_be_fitted():
    with pytest.raises(DataError, match="both right and wrong"):
        fit_logistic(np.ones((3, 1)), np.ones(3, dtype=bool))
    with pytest.raises(DataError, match="as many"):
        reliability(np.ones(2), np.ones(3, dtype=bool))
