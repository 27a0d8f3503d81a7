"""From the cosines of an image with several labels to probabilities, fitted on labelled images.

Which label it is: the softmax of scale * cosine, whose scale (1 / temperature) gives the images' own labels the highest
likelihood (Guo et al. 2017, arXiv 1706.04599). Whether it is any of them: logistic regression on the best cosine, and
on how far it lies above the mean over the labels. Images whose own label is left out of the labels show what an image
of none of them looks like, so this needs no images of other things.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Bool, Float, Float64, Int64

from .classification import check_labels, class_ranks
from .reliability import Logistic, calibration_error, fit_logistic

FEWEST = 20  # labelled images
_STEPS = 100  # of Newton's method
_MOST_SCALE = 1e4
_FEWEST_LABELS = 3  # so that two are left when an image's own is left out

Scores = Float[np.ndarray, "n c"]


@dataclass(frozen=True)
class ClassCalibration:
    """What was fitted. `known` gives the probability that one of the labels fits; None below three labels.

    It takes half of the images to be of other things, as half of those were that it was fitted on.
    """

    scale: float
    known: Logistic | None

    def probabilities(self, scores: Scores) -> Float64[np.ndarray, "n c"]:
        """Which label it is, given that it is one of them; a row adds up to 1."""
        return softmax(self.scale * np.asarray(scores, dtype=np.float64))

    def none(self, scores: Scores) -> Float64[np.ndarray, " n"] | None:
        """How likely it is that none of the labels fits; None where that was not fitted, or there is one label."""
        if self.known is None or scores.shape[1] < 2:
            return None
        return 1 - self.known(_features(np.asarray(scores, dtype=np.float64)))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"scale": self.scale, "known": None if self.known is None else vars(self.known)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ClassCalibration:
        """From what `to_json` gave. Raises KeyError, TypeError or ValueError for anything else."""
        known = values["known"]
        if known is not None:
            of = {name: tuple(map(float, known[name])) for name in ("weights", "mean", "scale")}
            if {len(each) for each in of.values()} != {2}:
                raise ValueError("expected two weights")
            known = Logistic(bias=float(known["bias"]), **of)
        scale = float(values["scale"])
        if not 0 < scale <= _MOST_SCALE:
            raise ValueError(f"scale is {scale}")
        return cls(scale, known)


@dataclass(frozen=True)
class CalibrationQuality:
    """How right a calibration is, on images that it was not fitted on (each half judged by a fit on the other).

    `error` is the expected calibration error of the best label's probability, over ten bins of equal width, `loss` the
    mean -log probability of the own label (nats), `none_auc` the chance that an image whose own label was left out is
    likelier none of the labels than one whose label is there; `none_found` and `none_wrong` the shares of both that
    are called none at a probability of one half.
    """

    images: int
    accuracy: float
    error: float
    loss: float
    none_auc: float | None
    none_found: float | None
    none_wrong: float | None


def softmax(logits: Float[np.ndarray, "n c"]) -> Float64[np.ndarray, "n c"]:
    """exp(logit) over the row's sum."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)


def log_loss(logits: Float[np.ndarray, "n c"], labels: Int64[np.ndarray, " n"]) -> float:
    """Mean -log softmax of the own label, in nats."""
    shifted = np.asarray(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    own = shifted[np.arange(len(labels)), labels]
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - own))


def fit_scale(scores: Scores, labels: Int64[np.ndarray, " n"]) -> float:
    """The scale of least `log_loss`, by Newton's method; the loss is convex in it. At most 10,000.

    Raises DataError where images score no higher with their own label than with the others on average.
    """
    scores = np.asarray(scores, dtype=np.float64)
    own = scores[np.arange(len(labels)), labels]
    if own.mean() <= scores.mean():
        raise DataError(
            "the images score no higher with their own label than with the others, so there is nothing to calibrate; "
            "use another model, other templates, or check the labels"
        )
    found = 1.0
    for _ in range(_STEPS):
        shares = softmax(found * scores)
        mean = (shares * scores).sum(axis=1)
        slope = float(np.mean(mean - own))
        curvature = float(np.mean((shares * (scores - mean[:, None]) ** 2).sum(axis=1)))
        proposed = found - slope / max(curvature, 1e-12)
        proposed = float(np.clip(proposed, found / 4, min(found * 4, _MOST_SCALE)))
        if abs(proposed - found) <= 1e-9 * found:
            break
        found = proposed
    return found


def fit_classes(scores: Scores, labels: Int64[np.ndarray, " n"]) -> ClassCalibration:
    """The calibration from labelled images. Raises DataError for fewer than 20, or where `fit_scale` does."""
    check_labels(labels, scores.shape[1])
    if len(labels) < FEWEST:
        raise DataError(f"found {len(labels)} labelled images to calibrate on; expected {FEWEST} or more")
    return _fit(scores, labels)


def _fit(scores: Scores, labels: Int64[np.ndarray, " n"]) -> ClassCalibration:
    scale = fit_scale(scores, labels)
    if scores.shape[1] < _FEWEST_LABELS:
        return ClassCalibration(scale, None)
    both = np.concatenate([_features(np.asarray(scores, dtype=np.float64)), _features(left_out(scores, labels))])
    return ClassCalibration(scale, fit_logistic(both, _known(len(labels))))


def calibration_quality(
    scores: Scores, labels: Int64[np.ndarray, " n"], units: Int64[np.ndarray, " n"], seed: int = 0
) -> CalibrationQuality:
    """How right `fit_classes` is: fitted on a random half of the units (records), measured on the other, both ways."""
    fold = np.random.default_rng(seed).permutation(int(units.max()) + 1)[units] % 2
    likely, own, known, unknown = [], [], [], []
    for judged in (fold == 0, fold == 1):
        if judged.any() and not judged.all():
            fitted = _fit(scores[~judged], labels[~judged])
            likely.append(fitted.probabilities(scores[judged]))
            own.append(labels[judged])
            if (here := fitted.none(scores[judged])) is not None:
                known.append(here)
            if (gone := fitted.none(left_out(scores[judged], labels[judged]))) is not None:
                unknown.append(gone)
    probabilities, labels = np.concatenate(likely), np.concatenate(own)
    right = class_ranks(probabilities, labels) == 0
    return CalibrationQuality(
        images=len(labels),
        accuracy=float(right.mean()),
        error=calibration_error(probabilities.max(axis=1), right),
        loss=float(np.mean(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-300)))),
        none_auc=area_under_curve(np.concatenate(unknown), np.concatenate(known)) if known else None,
        none_found=float(np.mean(np.concatenate(unknown) >= 0.5)) if known else None,
        none_wrong=float(np.mean(np.concatenate(known) >= 0.5)) if known else None,
    )


def left_out(scores: Scores, labels: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, "n c-1"]:
    """The scores without the own label of each image: what an image of none of the labels looks like."""
    keep = np.arange(scores.shape[1]) != labels[:, None]
    kept: Float64[np.ndarray, "n c-1"] = np.asarray(scores, dtype=np.float64)[keep].reshape(len(scores), -1)
    return kept


def area_under_curve(positive: Float[np.ndarray, " p"], negative: Float[np.ndarray, " m"]) -> float:
    """The chance that a positive value lies above a negative one; a tie counts half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left") + np.searchsorted(ordered, positive, side="right")
    return float(below.mean() / (2 * len(negative)))


def _features(scores: Float64[np.ndarray, "n c"]) -> Float64[np.ndarray, "n 2"]:
    best = scores.max(axis=1)
    return np.stack([best, best - scores.mean(axis=1)], axis=1)


def _known(count: int) -> Bool[np.ndarray, " both"]:
    return np.arange(2 * count) < count
