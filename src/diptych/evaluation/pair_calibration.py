"""Whether two things are related: from the scores of one pair to a probability and a yes or no.

A pair may have several scores (a cosine; a cosine and how much an image raises a text's likelihood). Their weighted
sum plus a bias is the evidence log(r / w), where r is the density of related pairs' scores and w that of unrelated
ones, so that the probability follows from the share of related pairs among those that are asked about (the prior).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from diptych.core.errors import ConfigError, DataError
from diptych.core.shapes import Bool, Float, Float64

from .calibration import Calibration, calibrate, curve
from .reliability import calibration_error, fit_logistic

PROBABILITY = "probability"  # the criterion of a line that is drawn by the probability itself
FEWEST = 20  # pairs of either kind
AT_RANDOM, LABELLED = "drawn at random", "labelled so"  # where unrelated pairs come from
STAY = 0.97  # share of related pairs that a search for relevant hits alone is to keep
_MOST_EVIDENCE = 50.0

Scores = Float[np.ndarray, "n f"]


@dataclass(frozen=True)
class PairQuality:
    """How right the answers are on pairs that were not fitted on: each half judged by what the other half fitted.

    `error` is the expected calibration error, half of the pairs being related; `found` and `wrongly` are the shares of
    related and of unrelated pairs that are called related.
    """

    error: float
    found: float
    wrongly: float
    auc: float

    def to_text(self) -> str:
        """A sentence."""
        return (
            f"on pairs that it was not fitted on: calibration error {100 * self.error:.1f} %, "
            f"{100 * self.found:.0f} % of related pairs found, {100 * self.wrongly:.0f} % of unrelated ones called "
            f"related, AUC {self.auc:.3f}"
        )


@dataclass(frozen=True)
class Cut:
    """From which probability on a search for relevant hits alone shows a hit.

    `found` and `wrongly` are the shares of related and of unrelated pairs that reach it, of pairs that were not fitted
    on.
    """

    probability: float
    found: float
    wrongly: float

    def to_text(self) -> str:
        """A sentence."""
        return (
            f"a search for relevant hits alone shows those of probability {self.probability:.2g} and more: "
            f"{100 * self.found:.0f} % of related and {100 * self.wrongly:.0f} % of unrelated pairs"
        )


@dataclass(frozen=True)
class PairCalibration:
    """Evidence = weights . scores + bias; a pair is related from the probability `least` on, at the share `prior`.

    `criterion` says what `least` was chosen by: "probability" is `least` itself; "precision", "recall" and
    "equal-error" (see `calibration.choose`) hold at this prior alone. `right` and `wrong` count the pairs fitted on;
    `unrelated` says where the latter came from. `cut` is lower than `least`, so that a search loses hardly a right hit;
    None where an earlier version fitted it, or nothing could be measured.
    """

    weights: tuple[float, ...]
    bias: float
    prior: float = 0.5
    least: float = 0.5
    criterion: str = PROBABILITY
    right: int = 0
    wrong: int = 0
    quality: PairQuality | None = None
    unrelated: str = AT_RANDOM
    cut: Cut | None = None

    def __post_init__(self) -> None:
        if not (self.weights and all(map(math.isfinite, (*self.weights, self.bias)))):
            raise ConfigError(f"a calibration has finite weights and a bias, found {self.weights} and {self.bias}")
        check_share("prior", self.prior)
        check_share("least probability", self.least)

    @classmethod
    def of(cls, fitted: Calibration, *, right: int = 0, wrong: int = 0) -> PairCalibration:
        """That of one score, as `calibration.calibrate` fitted it on so many pairs."""
        prior = min(fitted.prior, 1 - 1e-6)  # a source without a wrong pair leaves some doubt
        return cls((fitted.slope,), fitted.intercept, prior, right=right, wrong=wrong)

    def evidence(self, scores: Scores) -> Float64[np.ndarray, " n"]:
        """log(r / w) of each pair; above 0 it speaks for being related."""
        found = np.asarray(scores, dtype=np.float64) @ np.array(self.weights) + self.bias
        return np.asarray(np.clip(found, -_MOST_EVIDENCE, _MOST_EVIDENCE))

    def probability(self, scores: Scores, prior: float | None = None) -> Float64[np.ndarray, " n"]:
        """How likely each pair is to be related, where a share `prior` of such pairs is (None: that of the fit)."""
        share = self.prior if prior is None else check_share("prior", prior)
        return np.asarray(1 / (1 + np.exp(-(self.evidence(scores) + math.log(share / (1 - share))))))

    def least_for(self, prior: float | None) -> float:
        """The probability from which on pairs are related.

        Raises ConfigError for another prior than the one that a line of precision, recall or equal errors holds at.
        """
        if prior is not None and self.criterion != PROBABILITY:
            raise ConfigError(
                f"the line was drawn for {self.criterion} where {self.prior:.3g} of the pairs are related; with another"
                " prior, name the least probability too (--threshold)"
            )
        return self.least

    @property
    def line(self) -> float | None:
        """The score from which on pairs are related, where there is one score."""
        if len(self.weights) > 1:
            return None
        wanted = math.log(self.least / (1 - self.least)) - math.log(self.prior / (1 - self.prior))
        return (wanted - self.bias) / self.weights[0]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PairCalibration:
        """What `to_json` wrote. Raises KeyError, TypeError, ValueError or ConfigError for anything else."""
        quality, cut = value["quality"], value.get("cut")
        return cls(
            tuple(float(one) for one in value["weights"]),
            float(value["bias"]),
            float(value["prior"]),
            float(value["least"]),
            str(value["criterion"]),
            int(value["right"]),
            int(value["wrong"]),
            None if quality is None else PairQuality(**{key: float(one) for key, one in quality.items()}),
            str(value.get("unrelated", AT_RANDOM)),
            None if cut is None else Cut(**{key: float(one) for key, one in cut.items()}),
        )


def check_share(what: str, value: float) -> float:
    """The share. Raises ConfigError unless it lies between 0 and 1."""
    if not 0 < value < 1:
        raise ConfigError(f"the {what} must lie between 0 and 1, found {value}")
    return value


def fit_pairs(
    right: Scores,
    wrong: Float[np.ndarray, "m f"],
    halves: tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " m"]] | None = None,
    *,
    prior: float = 0.5,
    least: float = 0.5,
) -> PairCalibration:
    """From scores of related and of unrelated pairs.

    Args:
        right: a row of scores for each related pair.
        wrong: and for each unrelated one, whose number may differ.
        halves: which of both belong to the first half; what one half fits is measured on the other. None measures
            nothing, and so do halves with fewer than 20 pairs of either kind.
        prior: share of related pairs among those that will be asked about.
        least: probability from which on a pair is related.

    Raises DataError for fewer than 20 of either kind, or where related pairs score no higher than unrelated ones.
    """
    made = replace(_fitted(right, wrong), prior=check_share("prior", prior), least=check_share("threshold", least))
    made = replace(made, right=len(right), wrong=len(wrong))
    if halves is None or min(_fewer(halves[0]), _fewer(halves[1])) < FEWEST:
        return made
    evidence = [np.zeros(len(right)), np.zeros(len(wrong))]
    for side in (True, False):
        fitted = _fitted(right[halves[0] == side], wrong[halves[1] == side])
        for found, scores, half in zip(evidence, (right, wrong), halves, strict=True):
            found[half != side] = fitted.evidence(scores[half != side])
    return replace(made, quality=_quality(evidence[0], evidence[1], least), cut=_cut(evidence[0], evidence[1], prior))


def _fewer(half: Bool[np.ndarray, " n"]) -> int:
    return int(min(half.sum(), (~half).sum()))


def _fitted(right: Scores, wrong: Float[np.ndarray, "m f"]) -> PairCalibration:
    if min(len(right), len(wrong)) < FEWEST:
        raise DataError(
            f"found {len(right)} related and {len(wrong)} unrelated pairs; expected {FEWEST} or more of each"
        )
    if right.shape[1] == 1:
        fitted = calibrate(right[:, 0], wrong[:, 0], contamination=0.0, prior=0.5)
        return PairCalibration((fitted.slope,), fitted.intercept)
    labels = np.r_[np.ones(len(right), dtype=np.bool_), np.zeros(len(wrong), dtype=np.bool_)]
    made = fit_logistic(np.concatenate([right, wrong]), labels)
    weights = np.array(made.weights) / np.array(made.scale)
    bias = made.bias - float(weights @ np.array(made.mean)) - math.log(len(right) / len(wrong))
    found = PairCalibration(tuple(weights.tolist()), bias)
    if _auc(found.evidence(right), found.evidence(wrong)) <= 0.5:
        raise DataError("the models score related pairs no higher than unrelated ones, so they cannot tell them apart")
    return found


def _quality(right: Float64[np.ndarray, " n"], wrong: Float64[np.ndarray, " m"], least: float) -> PairQuality:
    """Of evidence, as if there were as many related pairs as unrelated ones."""
    count = min(len(right), len(wrong))
    some = [one[np.linspace(0, len(one) - 1, count).astype(int)] for one in (right, wrong)]
    probabilities = 1 / (1 + np.exp(-np.concatenate(some)))
    labels = np.repeat([True, False], count)
    line = math.log(least / (1 - least))
    return PairQuality(
        round(calibration_error(probabilities, labels), 4),
        round(float((right >= line).mean()), 4),
        round(float((wrong >= line).mean()), 4),
        round(_auc(right, wrong), 4),
    )


def _cut(right: Float64[np.ndarray, " n"], wrong: Float64[np.ndarray, " m"], prior: float) -> Cut:
    """Of evidence: the probability that all but the weakest related pairs reach."""
    line = float(np.quantile(right, 1 - STAY, method="lower"))
    probability = 1 / (1 + math.exp(-(line + math.log(prior / (1 - prior)))))
    return Cut(probability, round(float((right >= line).mean()), 4), round(float((wrong >= line).mean()), 4))


def _auc(right: Float64[np.ndarray, " n"], wrong: Float64[np.ndarray, " m"]) -> float:
    return curve(right, wrong, contamination=0.0, prior=0.5).auc


def measured(
    probabilities: Sequence[float], related: Sequence[bool], labels: Sequence[bool]
) -> dict[str, float | int | None]:
    """Answers against labels: their number, accuracy, precision, recall (None where undefined), calibration error."""
    said, true = np.array(related, dtype=np.bool_), np.array(labels, dtype=np.bool_)
    both = int((said & true).sum())
    return {
        "pairs": len(true),
        "accuracy": round(float((said == true).mean()), 4),
        "precision": round(both / int(said.sum()), 4) if said.any() else None,
        "recall": round(both / int(true.sum()), 4) if true.any() else None,
        "calibration_error": round(calibration_error(np.array(probabilities, dtype=np.float64), true), 4),
    }
