"""From the scores of a pair to a probability and a yes or no: by hand, and on distributions whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from diptych.core.errors import ConfigError, DataError
from diptych.evaluation.calibration import Calibration
from diptych.evaluation.pair_calibration import Cut, PairCalibration, fit_pairs, measured


def normal(count: int, mean: float, columns: int = 1, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(mean, 1.0, size=(count, columns))


def halves(*counts: int) -> Any:
    return tuple(np.arange(count) % 2 == 0 for count in counts)


def test_a_probability_is_the_evidence_and_the_prior() -> None:
    made = PairCalibration((2.0,), -1.0, prior=0.2)
    found = made.probability(np.array([[1.0], [0.5], [0.0]]))
    for value, evidence in zip(found, (1.0, 0.0, -1.0), strict=True):
        related = 0.2 * math.exp(evidence)
        assert value == pytest.approx(related / (related + 0.8))
    assert made.probability(np.array([[0.5]]), prior=0.9)[0] == pytest.approx(0.9)  # no evidence: the prior


def test_several_scores_are_weighed() -> None:
    made = PairCalibration((2.0, -3.0), 0.5)
    assert made.probability(np.array([[1.0, 0.5]]))[0] == pytest.approx(1 / (1 + math.exp(-1.0)))
    assert made.line is None


@pytest.mark.parametrize(("least", "prior", "line"), [(0.5, 0.5, 0.5), (0.5, 0.2, 0.5 + math.log(4) / 2)])
def test_the_line_is_the_score_whose_probability_is_the_least(least: float, prior: float, line: float) -> None:
    made = PairCalibration((2.0,), -1.0, prior, least)
    assert made.line == pytest.approx(line)
    assert made.probability(np.array([[line]]))[0] == pytest.approx(least)


def test_the_true_evidence_of_two_normal_distributions_is_found() -> None:
    made = fit_pairs(normal(4000, 1.0), normal(4000, -1.0, seed=1), halves(4000, 4000))
    assert made.weights[0] == pytest.approx(2.0, rel=0.05)  # log N(x; 1, 1) / N(x; -1, 1) = 2 x
    assert made.bias == pytest.approx(0.0, abs=0.08)
    assert made.quality is not None
    assert made.quality.error < 0.02
    assert made.quality.found == pytest.approx(0.841, abs=0.02)  # the normal distribution at 1
    assert made.quality.wrongly == pytest.approx(0.159, abs=0.02)
    assert made.quality.auc == pytest.approx(0.921, abs=0.01)  # at 2 / sqrt(2)


def test_the_cut_is_the_probability_that_97_of_100_related_pairs_reach() -> None:
    made = fit_pairs(normal(4000, 1.0), normal(4000, -1.0, seed=1), halves(4000, 4000), prior=0.2)
    assert made.cut is not None
    score = 1.0 - 1.881  # 3 % of a normal distribution lie below its mean by so many deviations
    related = 0.2 * math.exp(2 * score)
    assert made.cut.probability == pytest.approx(related / (related + 0.8), abs=0.01)
    assert made.cut.found == pytest.approx(0.97, abs=0.001)
    assert made.cut.wrongly == pytest.approx(0.452, abs=0.02)  # beyond 0.119 deviations above the mean of the others
    assert PairCalibration.from_json(made.to_json()) == made
    assert "97 % of related and 10 % of unrelated pairs" in Cut(0.3, 0.97, 0.1).to_text()


def test_a_calibration_of_before_has_no_cut() -> None:
    kept = PairCalibration((2.0,), -1.0).to_json()
    del kept["cut"]
    assert PairCalibration.from_json(kept).cut is None


def test_unequal_numbers_of_related_and_unrelated_pairs_do_not_move_the_evidence() -> None:
    made = fit_pairs(normal(4000, 1.0, 2), normal(500, -1.0, 2, seed=1))
    assert made.weights == pytest.approx((2.0, 2.0), rel=0.2)
    assert made.bias == pytest.approx(0.0, abs=0.3)
    assert (made.right, made.wrong, made.quality) == (4000, 500, None)


def test_what_one_half_fits_is_measured_on_the_other() -> None:
    """The halves contradict each other: each alone is perfect, and wrong about the other."""
    right, wrong = np.zeros((80, 1)), np.zeros((80, 1))
    (first, second) = halves(80, 80)
    right[first], wrong[first] = 4 + normal(40, 0.0) / 10, normal(40, 0.0, seed=1) / 10
    right[~first], wrong[~first] = 9 + normal(40, 0.0) / 10, 6 + normal(40, 0.0, seed=1) / 10
    made = fit_pairs(right, wrong, (first, second))
    assert made.quality is not None
    assert made.quality.wrongly == 0.5  # the first half's line is at 2, below all of the second half
    assert made.quality.found == 0.5  # and the second half's at 7.5, above all of the first


def test_too_few_pairs_and_scores_that_tell_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="found 19 related and 40 unrelated"):
        fit_pairs(normal(19, 1.0), normal(40, -1.0))
    with pytest.raises(DataError, match="found 19 related and 40 unrelated"):
        fit_pairs(normal(19, 1.0, 2), normal(40, -1.0, 2))
    with pytest.raises(DataError, match="no higher than"):
        fit_pairs(normal(200, -1.0), normal(200, 1.0))
    few = fit_pairs(normal(39, 1.0), normal(39, -1.0), halves(39, 39))
    assert few.quality is None


def test_a_line_for_precision_holds_at_its_prior_alone() -> None:
    made = replace(PairCalibration.of(Calibration(2.0, -1.0, 0.0, 0.8)), least=0.7, criterion="precision")
    assert made.least_for(None) == 0.7
    with pytest.raises(ConfigError, match="drawn for precision where"):
        made.least_for(0.1)
    assert PairCalibration((1.0,), 0.0, least=0.7).least_for(0.1) == 0.7


def test_json_gives_the_same_back() -> None:
    made = fit_pairs(normal(60, 1.0), normal(60, -1.0), halves(60, 60), prior=0.3, least=0.8)
    value: Mapping[str, Any] = made.to_json()
    assert PairCalibration.from_json(value) == made
    with pytest.raises(ConfigError, match="finite weights"):
        PairCalibration.from_json({**value, "weights": [math.nan]})


def test_answers_against_labels_by_hand() -> None:
    found = measured([0.9, 0.8, 0.2, 0.1], [True, True, False, False], [True, False, True, False])
    assert (found["pairs"], found["accuracy"], found["precision"], found["recall"]) == (4, 0.5, 0.5, 0.5)
    assert found["calibration_error"] == pytest.approx((0.1 + 0.8 + 0.8 + 0.1) / 4)
    assert measured([0.1], [False], [False])["precision"] is None
