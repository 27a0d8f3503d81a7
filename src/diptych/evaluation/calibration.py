"""From scores to the probability that a pair is right, and to a threshold.

Calibrated on pairs as given and on shuffled ones, which are wrong for certain. Logistic regression
makes log(r / w) a line in the score, where r is the density of right pairs' scores and w that of wrong
ones (Platt 1999, with his smoothed targets). Given pairs may hold wrong ones too, in an estimated
share c: then each given pair counts with its probability of being right, (1 - c) r / ((1 - c) r + c w),
and line and probabilities are found in turns (expectation-maximisation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from diptych.core.errors import ConfigError, DataError
from diptych.core.shapes import Float, Float64

from .reliability import fit_weights

Criterion = Literal["probability", "equal-error", "precision", "recall"]
ScoreArray = Float[np.ndarray, " _"]
_TURNS, _SETTLED = 200, 1e-4
_FEWEST = 20  # pairs of either kind
_MOST_LOGIT = 50.0


@dataclass(frozen=True)
class Calibration:
    """log(right / wrong density) = slope * score + intercept; `contamination` is the share of wrong pairs among
    those calibrated on, `prior` the share of right ones among those that are to be judged.
    """

    slope: float
    intercept: float
    contamination: float
    prior: float

    def probability(self, scores: ScoreArray) -> Float64[np.ndarray, " n"]:
        """How likely each pair is to be right, in [0, 1]; never falls as the score rises."""
        return _probability(scores, self.slope, self.intercept, self.prior)


@dataclass(frozen=True)
class Curve:
    """What each threshold would do, from strict to lenient: pairs with that score or more are kept.

    `recall` is the share of right pairs kept, `fallout` that of wrong ones, `precision` the share of
    right ones among the kept.
    """

    thresholds: Float64[np.ndarray, " t"]
    recall: Float64[np.ndarray, " t"]
    fallout: Float64[np.ndarray, " t"]
    precision: Float64[np.ndarray, " t"]

    @property
    def auc(self) -> float:
        """Area under recall over fallout: the chance that a right pair scores above a wrong one (ties count half)."""
        height, width = np.r_[0.0, self.recall, 1.0], np.diff(np.r_[0.0, self.fallout, 1.0])
        return float(np.sum(width * (height[1:] + height[:-1]) / 2))

    @property
    def average_precision(self) -> float:
        """Mean precision over the recalls that are reached."""
        return float(np.sum(np.diff(np.r_[0.0, self.recall]) * self.precision))


def calibrate(given: ScoreArray, wrong: ScoreArray, *, contamination: float, prior: float) -> Calibration:
    """The calibration from scores of given and of wrong pairs.

    Raises DataError for too few scores or ones that are not finite, ConfigError for shares outside [0, 1).
    """
    if not (0 <= contamination < 1 and 0 < prior <= 1):
        raise ConfigError(f"shares must lie in [0, 1), found {contamination:.3f} wrong, {prior:.3f} right")
    _check(given, wrong)
    counts = np.ones(len(given))
    for _ in range(_TURNS):
        slope, intercept = _logistic(given, wrong, counts)
        before, counts = counts, _probability(given, slope, intercept, 1 - contamination)
        if np.abs(counts - before).max() < _SETTLED:
            break
    if slope <= 0:
        raise DataError(
            "the model scores the given pairs no higher than shuffled ones, so it cannot tell right from wrong here; "
            "use another model, or check that the source's texts belong to its images"
        )
    return Calibration(slope, intercept, contamination, prior)


def wrong_share(given: ScoreArray, wrong: ScoreArray) -> float:
    """An estimate of the share of wrong pairs among the given ones.

    Below any score s the given hold at least c times what the wrong hold, so c <= G(s) / W(s), and it
    comes close where hardly any right pair scores that low. Of many such scores, from the wrong ones'
    first quartile up, the one is taken at which ratio plus two standard errors is least: the error keeps
    the estimate from being the luckiest of many.
    """
    _check(given, wrong)
    at = np.quantile(wrong, np.linspace(0.25, 0.9, 66))
    below = np.searchsorted(np.sort(given), at, side="right") + 1.0
    wrong_below = np.searchsorted(np.sort(wrong), at, side="right").astype(np.float64)
    ratio = (below / len(given)) / (wrong_below / len(wrong))
    error = ratio * np.sqrt(1 / below + 1 / wrong_below)
    return float(min(0.99, ratio[np.argmin(ratio + 2 * error)]))


def curve(given: ScoreArray, wrong: ScoreArray, *, contamination: float, prior: float) -> Curve:
    """Every threshold's outcome, the contamination of the given pairs taken out."""
    thresholds = np.unique(np.r_[given, wrong])[::-1].astype(np.float64)
    kept = _share_kept(given, thresholds)
    fallout = _share_kept(wrong, thresholds)
    recall = np.maximum.accumulate(np.clip((kept - contamination * fallout) / (1 - contamination), 0.0, 1.0))
    right, not_right = prior * recall, (1 - prior) * fallout
    precision = right / np.maximum(right + not_right, 1e-300)
    return Curve(thresholds, recall, fallout, precision)


def choose(calibration: Calibration, outcome: Curve, criterion: Criterion, target: float) -> float:
    """The score from which pairs are kept.

    probability: those at least as likely as `target` to be right. equal-error: right ones lost as often,
    in share, as wrong ones are kept. precision: the most pairs with at least that share of right ones.
    recall: as few as hold that share of the right ones. Raises ConfigError when no threshold will do.
    """
    if criterion != "equal-error" and not 0 < target < 1:
        raise ConfigError(f"the target of {criterion} must lie between 0 and 1, found {target}")
    if criterion == "probability":
        enough = calibration.probability(outcome.thresholds) >= target
    elif criterion == "equal-error":
        enough = 1 - outcome.recall >= outcome.fallout
    elif criterion == "precision":
        enough = outcome.precision >= target
    else:
        first = int(np.argmax(outcome.recall >= target)) if outcome.recall[-1] >= target else len(outcome.recall) - 1
        return float(outcome.thresholds[first])
    if not enough.any():
        best = calibration.probability(outcome.thresholds) if criterion == "probability" else outcome.precision
        raise ConfigError(f"no threshold reaches {criterion} {target}; the best is {best.max():.3f}: lower --target")
    return float(outcome.thresholds[np.flatnonzero(enough)[-1]])


def _share_kept(scores: ScoreArray, thresholds: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, " t"]:
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    return np.asarray((len(ordered) - np.searchsorted(ordered, thresholds, side="left")) / len(ordered))


def _check(given: ScoreArray, wrong: ScoreArray) -> None:
    if min(len(given), len(wrong)) < _FEWEST:
        raise DataError(
            f"found {len(given)} given and {len(wrong)} shuffled pairs to calibrate on; "
            f"expected {_FEWEST} or more of each"
        )
    if not (np.isfinite(given).all() and np.isfinite(wrong).all()):
        raise DataError("a score is not finite; check the embeddings")


def _probability(scores: ScoreArray, slope: float, intercept: float, prior: float) -> Float64[np.ndarray, " n"]:
    logit = np.clip(slope * np.asarray(scores, dtype=np.float64) + intercept, -_MOST_LOGIT, _MOST_LOGIT)
    right, wrong = prior * np.exp(logit), 1 - prior
    return np.asarray(right / (right + wrong))


def _logistic(given: ScoreArray, wrong: ScoreArray, counts: Float64[np.ndarray, " n"]) -> tuple[float, float]:
    """Slope and intercept, both kinds of the same weight in all; given pair i counts `counts[i]` times.

    Platt's targets keep it finite when the two are apart.
    """
    scores = np.r_[given, wrong].astype(np.float64)
    centre, width = float(scores.mean()), float(scores.std()) or 1.0
    features = np.stack([(scores - centre) / width, np.ones(len(scores))], axis=1)
    right = float(counts.sum())
    targets = np.r_[np.full(len(given), (right + 1) / (right + 2)), np.full(len(wrong), 1 / (len(wrong) + 2))]
    weights = np.r_[0.5 * counts / max(right, 1e-12), np.full(len(wrong), 0.5 / len(wrong))]
    line = fit_weights(features, targets, weights)
    return float(line[0] / width), float(line[1] - line[0] * centre / width)
