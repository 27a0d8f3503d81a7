"""Classifiers on frozen image features, from a few labelled images of each class: a linear probe and Tip-Adapter.

Regularisation and mixing weights are chosen on held-out training images, never on those that are reported. Features
have unit length. `zero_shot` are the logits of classification by words: the model's scale times the cosines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Float, Float32, Float64, Int64

from .class_calibration import log_loss, softmax
from .classification import class_ranks

Features = Float[np.ndarray, "n d"]
Labels = Int64[np.ndarray, " n"]
ALL = 0  # shots: every training image that is not held out

_DECAYS = tuple(10.0**power for power in range(1, -7, -1))
_ALPHAS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # times the scale of the zero-shot logits
_BETAS = (0.5, 1.0, 2.0, 3.5, 5.5, 8.0, 11.0)
_MOST_HELD = 4  # held-out images of a class
_HELD_SHARE = 5  # of every so many training images one is held out, where all are used
_EPOCHS, _BATCH, _RATE, _DECAY = 20, 256, 1e-3, 1e-2  # of Tip-Adapter-F


@dataclass(frozen=True)
class Shots:
    """Places of the training images that are learnt from and of those that are held out; classes with too few."""

    learnt: Int64[np.ndarray, " s"]
    held: Int64[np.ndarray, " h"]
    short: int  # classes that have fewer images than were asked for


def draw_shots(labels: Labels, shots: int, seed: int) -> Shots:
    """`shots` random images of each class, and up to four others of it held out; all of them for `ALL`.

    Of a class with few images at most half is held out. Raises DataError where no class has two images.
    """
    generator = np.random.default_rng(seed)
    learnt, held, short = [], [], 0
    for label in np.unique(labels):
        own = generator.permutation(np.flatnonzero(labels == label))
        kept = min(shots, _MOST_HELD) if shots else max(1, len(own) // _HELD_SHARE)
        kept = min(kept, len(own) // 2)
        held.append(own[:kept])
        learnt.append(own[kept : kept + shots] if shots else own[kept:])
        short += len(learnt[-1]) < shots
    found = Shots(np.concatenate(learnt).astype(np.int64), np.concatenate(held).astype(np.int64), short)
    if not len(found.held):
        raise DataError("no class has two training images; expected two or more, of which one is held out")
    return found


class Classifier(Protocol):
    """What an adapter gives: the logits of images by their features and zero-shot logits."""

    def __call__(self, features: Features, zero_shot: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
        """The logits."""
        ...


@dataclass(frozen=True)
class LabelledFeatures:
    """Images of one purpose: features, zero-shot logits, and labels."""

    features: Float32[np.ndarray, "n d"]
    zero_shot: Float64[np.ndarray, "n c"]
    labels: Int64[np.ndarray, " n"]

    def at(self, places: Int64[np.ndarray, " k"]) -> LabelledFeatures:
        """Some of them."""
        return LabelledFeatures(self.features[places], self.zero_shot[places], self.labels[places])


@dataclass(frozen=True)
class LinearProbe:
    """logits = (f - mean) / scale . W + b."""

    weights: Float64[np.ndarray, "d1 c"]  # the last row is the bias
    mean: Float64[np.ndarray, " d"]
    scale: float
    decay: float

    def __call__(self, features: Features, zero_shot: Float[np.ndarray, "n c"]) -> Float64[np.ndarray, "n c"]:
        """The logits; words are not used."""
        shown = (np.asarray(features, dtype=np.float64) - self.mean) / self.scale
        return np.asarray(shown @ self.weights[:-1] + self.weights[-1])


def linear_probe(learnt: LabelledFeatures, held: LabelledFeatures, seed: int = 0) -> LinearProbe:
    """L2-regularised softmax regression on the features; the decay is the best on the held-out images.

    The features' mean is taken off, and they are divided by their standard deviation over all dimensions together.
    """
    classes = learnt.zero_shot.shape[1]
    features = np.asarray(learnt.features, dtype=np.float64)
    mean = features.mean(axis=0)
    scale = float((features - mean).std()) or 1.0
    weights = np.zeros((features.shape[1] + 1, classes))
    best: tuple[tuple[float, float], LinearProbe] | None = None
    for decay in _DECAYS:  # each fit starts where the stronger decay ended
        weights = fit_softmax((features - mean) / scale, learnt.labels, weights, decay)
        probe = LinearProbe(weights, mean, scale, decay)
        worth = _worth(probe(held.features, held.zero_shot), held.labels)
        if best is None or worth > best[0]:
            best = worth, probe
    assert best is not None
    return best[1]


def fit_softmax(
    features: Float64[np.ndarray, "n d"], labels: Labels, start: Float64[np.ndarray, "d1 c"], decay: float
) -> Float64[np.ndarray, "d1 c"]:
    """The weights (last row: the bias, which does not decay) of least log loss + decay / 2 * |W|^2, by L-BFGS."""
    with_one = np.column_stack([features, np.ones(len(features))])
    own = np.eye(start.shape[1])[labels]
    penalty = np.full((len(start), 1), decay)
    penalty[-1] = 0.0

    def loss(flat: Float64[np.ndarray, " w"]) -> tuple[float, Float64[np.ndarray, " w"]]:
        weights = flat.reshape(start.shape)
        logits = with_one @ weights
        gradient = with_one.T @ (softmax(logits) - own) / len(labels) + penalty * weights
        return log_loss(logits, labels) + float((penalty * weights**2).sum()) / 2, gradient.ravel()

    return np.asarray(minimise(loss, start.ravel()).reshape(start.shape))


def minimise(
    loss: Callable[[Float64[np.ndarray, " w"]], tuple[float, Float64[np.ndarray, " w"]]],
    start: Float64[np.ndarray, " w"],
    *,
    steps: int = 200,
    memory: int = 10,
    tolerance: float = 1e-6,
) -> Float64[np.ndarray, " w"]:
    """The least of a smooth convex function that gives its value and gradient, by L-BFGS with a halved step.

    Ends where no part of the gradient is above `tolerance`. Source: Nocedal and Wright 2006, algorithm 7.4.
    """
    place = np.array(start, dtype=np.float64)
    value, gradient = loss(place)
    moves: deque[tuple[Float64[np.ndarray, " w"], Float64[np.ndarray, " w"]]] = deque(maxlen=memory)
    for _ in range(steps):
        if np.abs(gradient).max() <= tolerance:
            break
        direction = -gradient
        shares = []
        for moved, turned in reversed(moves):
            shares.append(moved @ direction / (moved @ turned))
            direction = direction - shares[-1] * turned
        if moves:
            moved, turned = moves[-1]
            direction = direction * (moved @ turned / (turned @ turned))
        for (moved, turned), share in zip(moves, reversed(shares), strict=True):
            direction = direction + (share - turned @ direction / (moved @ turned)) * moved
        size, slope = 1.0, gradient @ direction
        while True:
            reached, turning = loss(place + size * direction)
            if reached <= value + 1e-4 * size * slope or size < 1e-10:
                break
            size /= 2
        moved, turned = size * direction, turning - gradient
        if reached >= value:
            break
        if moved @ turned > 1e-12:
            moves.append((moved, turned))
        place, value, gradient = place + moved, reached, turning
    return place


@dataclass(frozen=True)
class TipAdapter:
    """logits = zero-shot + alpha * exp(-beta * (1 - f . keys)) . labels (Zhang et al. 2022, arXiv 2207.09519)."""

    keys: Float32[np.ndarray, "s d"]
    labels: Int64[np.ndarray, " s"]
    alpha: float
    beta: float

    def __call__(self, features: Features, zero_shot: Float[np.ndarray, "n c"]) -> Float64[np.ndarray, "n c"]:
        """The logits."""
        near = np.exp(-self.beta * (1 - np.asarray(features @ self.keys.T, dtype=np.float64)))
        return np.asarray(zero_shot + self.alpha * near @ np.eye(zero_shot.shape[1])[self.labels])


def tip_adapter(learnt: LabelledFeatures, held: LabelledFeatures, seed: int = 0) -> TipAdapter:
    """The learnt images' features as keys, without training; alpha and beta are the best on the held-out images."""
    return _best_mixture(learnt.features, learnt.labels, held)


def tip_adapter_f(learnt: LabelledFeatures, held: LabelledFeatures, seed: int = 0) -> TipAdapter:
    """Tip-Adapter-F: the keys are trained for 20 epochs by AdamW on the log loss of the learnt images.

    Training starts from Tip-Adapter's keys and mixture; afterwards the mixture is chosen again on the held-out images.
    Learning rate 1e-3 with a cosine decay, batches of 256, as in the paper, on features without augmentation.
    """
    first = tip_adapter(learnt, held)
    alpha = first.alpha or _ALPHAS[1] * _scale(learnt)
    keys = np.array(learnt.features, dtype=np.float64)
    own = np.eye(learnt.zero_shot.shape[1])[learnt.labels]
    generator = np.random.default_rng(seed)
    mean, square = np.zeros_like(keys), np.zeros_like(keys)
    batches = -(-len(keys) // _BATCH)
    for step in range(_EPOCHS * batches):
        if step % batches == 0:
            order = generator.permutation(len(keys))
        rows = order[step % batches * _BATCH :][:_BATCH]
        gradient = _key_gradient(keys, own, learnt.at(rows), alpha, first.beta)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        rate = _RATE * (1 + np.cos(np.pi * step / (_EPOCHS * batches))) / 2
        unbiased = mean / (1 - 0.9 ** (step + 1)), square / (1 - 0.999 ** (step + 1))
        keys = keys * (1 - rate * _DECAY) - rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
    return _best_mixture(keys.astype(np.float32), learnt.labels, held)


def _key_gradient(
    keys: Float64[np.ndarray, "s d"],
    own: Float64[np.ndarray, "s c"],
    batch: LabelledFeatures,
    alpha: float,
    beta: float,
) -> Float64[np.ndarray, "s d"]:
    """Of the mean log loss of a batch, by the keys."""
    features = np.asarray(batch.features, dtype=np.float64)
    near = np.exp(-beta * (1 - features @ keys.T))
    wrong = softmax(batch.zero_shot + alpha * near @ own)
    wrong[np.arange(len(wrong)), batch.labels] -= 1
    by_near = alpha * wrong @ own.T / len(wrong)
    return np.asarray((beta * near * by_near).T @ features)


def _best_mixture(keys: Float32[np.ndarray, "s d"], labels: Labels, held: LabelledFeatures) -> TipAdapter:
    """The mixture with the highest accuracy on the held-out images; of several the one with the least log loss."""
    near = 1 - np.asarray(held.features @ keys.T, dtype=np.float64)
    own, scale = np.eye(held.zero_shot.shape[1])[labels], _scale(held)
    best: tuple[tuple[float, float], TipAdapter] | None = None
    for beta in _BETAS:
        votes = np.exp(-beta * near) @ own
        for alpha in (share * scale for share in _ALPHAS):
            worth = _worth(held.zero_shot + alpha * votes, held.labels)
            if best is None or worth > best[0]:
                best = worth, TipAdapter(keys, labels, alpha, beta)
    assert best is not None
    return best[1]


def _scale(images: LabelledFeatures) -> float:
    """How far the zero-shot logits of an image lie apart, so that alpha means the same for every temperature."""
    return float(np.mean(np.ptp(images.zero_shot, axis=1))) or 1.0


def _worth(logits: Float[np.ndarray, "n c"], labels: Labels) -> tuple[float, float]:
    """What choices are compared by: the accuracy, then the log loss."""
    return float((class_ranks(logits, labels) == 0).mean()), -log_loss(logits, labels)


ADAPTERS: dict[str, Callable[[LabelledFeatures, LabelledFeatures, int], Classifier]] = {
    "linear-probe": linear_probe,
    "tip-adapter": tip_adapter,
    "tip-adapter-f": tip_adapter_f,
}
