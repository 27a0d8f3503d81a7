"""From scores to calibrated probabilities: logistic regression, reliability, calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Bool, Float, Float64

_STEPS = 100  # of Newton's method; it settles in about ten
_MOST_LOGIT = 50.0


@dataclass(frozen=True)
class Logistic:
    """p = 1 / (1 + exp(-(w . (x - mean) / scale + bias)))."""

    weights: tuple[float, ...]
    bias: float
    mean: tuple[float, ...]
    scale: tuple[float, ...]

    def __call__(self, features: Float[np.ndarray, "n f"]) -> Float64[np.ndarray, " n"]:
        """Probability of each row."""
        shown = (np.asarray(features, dtype=np.float64) - self.mean) / self.scale
        return np.asarray(1 / (1 + np.exp(-np.clip(shown @ np.array(self.weights) + self.bias, -500, 500))))


def fit_logistic(
    features: Float[np.ndarray, "n f"], labels: Bool[np.ndarray, " n"], *, decay: float = 1e-3
) -> Logistic:
    """Maximum likelihood with a little weight decay, by Newton's method on standardised features.

    Raises DataError when one of the two labels never occurs: there is nothing to tell apart.
    """
    right = np.asarray(labels, dtype=np.float64)
    if not 0 < right.sum() < len(right):
        raise DataError(f"found {int(right.sum())} right of {len(right)}; both right and wrong ones are needed to fit")
    features = np.asarray(features, dtype=np.float64)
    mean, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    shown = np.column_stack([(features - mean) / scale, np.ones(len(features))])
    weights = fit_weights(shown, right, np.full(len(right), 1 / len(right)), decay)
    return Logistic(tuple(weights[:-1].tolist()), float(weights[-1]), tuple(mean.tolist()), tuple(scale.tolist()))


def fit_weights(
    features: Float64[np.ndarray, "n f"],
    targets: Float64[np.ndarray, " n"],
    shares: Float64[np.ndarray, " n"],
    decay: float = 0.0,
) -> Float64[np.ndarray, " f"]:
    """The w that minimises the log loss of targets in [0, 1], each row counting with its share, by Newton's method.

    The last feature is the constant 1, whose weight does not decay: `decay` / 2 * |w without it|^2 is added.
    """
    penalty = np.append(np.full(features.shape[1] - 1, decay), 0.0)
    found = np.zeros(features.shape[1])

    def loss(weights: Float64[np.ndarray, " f"]) -> float:
        logits = features @ weights
        return float(shares @ (np.logaddexp(0, logits) - targets * logits) + penalty @ weights**2 / 2)

    for _ in range(_STEPS):
        predicted = 1 / (1 + np.exp(-np.clip(features @ found, -_MOST_LOGIT, _MOST_LOGIT)))
        gradient = features.T @ (shares * (predicted - targets)) + penalty * found
        curvature = features.T @ (features * (shares * predicted * (1 - predicted))[:, None]) + np.diag(penalty + 1e-12)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while size > 1e-8 and loss(found - size * step) > loss(found):  # halve a step that overshoots
            size /= 2
        found = found - size * step
        if np.abs(gradient).max() < 1e-10:
            break
    return found


@dataclass(frozen=True)
class Bin:
    """Predictions of like size: what they said on average, how often they were right, and how many there are."""

    predicted: float
    observed: float
    count: int


def reliability(probabilities: Float[np.ndarray, " n"], labels: Bool[np.ndarray, " n"], bins: int = 10) -> list[Bin]:
    """Bins of equal width over [0, 1]; empty ones are left out."""
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if len(probabilities) != len(labels) or not len(labels):
        raise DataError(f"found {len(probabilities)} probabilities and {len(labels)} labels; expected as many")
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    found = []
    for number in range(bins):
        here = place == number
        if here.any():
            found.append(Bin(float(probabilities[here].mean()), float(np.mean(labels[here])), int(here.sum())))
    return found


def calibration_error(probabilities: Float[np.ndarray, " n"], labels: Bool[np.ndarray, " n"], bins: int = 10) -> float:
    """Expected calibration error: mean |said - observed| over bins of equal width, weighted by their counts."""
    rows = reliability(probabilities, labels, bins)
    total = sum(one.count for one in rows)
    return sum(one.count * abs(one.predicted - one.observed) for one in rows) / total
