from __future__ import annotations

import numpy as np
import pytest

from diptych.evaluation.reliability import Logistic
from diptych.library.relevance import Relevance, hit_features, query_features


def test_features_by_hand():
    h = np.array([-20.0, -14.0, -17.0])
    found = hit_features(h, prior=-30.0, words=5.0)
    share = np.log(np.exp(h) / np.exp(h).sum())
    assert np.allclose(found, np.column_stack([[2.0, 3.2, 2.6], share, [-6.0, 3.0, -3.0]]))
    assert np.allclose(query_features(h, -30.0, 5.0), [[3.2, 2.6, 3.0]])
    assert np.allclose(hit_features(h[:1], -30.0, 5.0), [[2.0, 0.0, 0.0]])
    assert np.allclose(query_features(h[:1], -30.0, 5.0), [[2.0, 2.0, 0.0]])


def test_ties_and_huge_likelihoods_stay_finite():
    for h in (np.array([-5.0, -5.0]), np.array([-1e5, -2e5])):
        assert np.isfinite(hit_features(h, 0.0, 3.0)).all()


def test_it_comes_back_from_json():
    one = Logistic((1.0, 0.0, 0.5), -1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    other = Logistic((-1.0, 0.0, -0.5), 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    relevance = Relevance(one, other)
    again = Relevance.from_json(relevance.to_json())
    assert again == relevance
    assert Relevance.from_json({}) is None
    probabilities, nothing = relevance.of(np.array([-20.0, -14.0]), -30.0, 5.0)
    assert probabilities[1] > probabilities[0]
    assert nothing == pytest.approx(1 / (1 + np.exp(3.2 + 0.5 * 6 - 1)), rel=1e-6)
