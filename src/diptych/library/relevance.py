"""How likely a hit is right, and how likely nothing here is: from the cross-encoder's likelihoods.

The features come from the cross-encoder alone: how much the image raises the text's likelihood, h - log p(text), for
each word, and how a candidate compares with the others. A cosine says more about the images of its training than about
new ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from diptych.core.shapes import Float, Float32, Float64
from diptych.evaluation.reliability import Logistic


@runtime_checkable
class Prior(Protocol):
    """What relevance needs besides h: the text's likelihood without an image, and its length in words."""

    def prior(self, texts: list[str]) -> Float32[np.ndarray, " m"]:
        """log p(text)."""

    def lengths(self, texts: list[str]) -> Float32[np.ndarray, " m"]:
        """Words of each text."""


def hit_features(h: Float[np.ndarray, " c"], prior: float, words: float) -> Float64[np.ndarray, "c f"]:
    """Of each candidate: gain a word, share of all candidates' likelihood in logs, distance to the best other."""
    h = np.asarray(h, dtype=np.float64)
    gain = (h - prior) / words
    top = h.max()
    share = h - (top + np.log(np.exp(h - top).sum()))
    if len(h) > 1:
        first, second = np.sort(h)[::-1][:2]
        ahead = h - np.where(h == first, second, first)
    else:
        ahead = np.zeros(1)
    return np.column_stack([gain, share, np.clip(ahead, -20, 20)])


def query_features(h: Float[np.ndarray, " c"], prior: float, words: float) -> Float64[np.ndarray, "1 f"]:
    """Of all candidates together: the best gain a word, the mean of the best five, and how far the best is ahead."""
    ordered = np.sort(np.asarray(h, dtype=np.float64))[::-1]
    gain = (ordered - prior) / words
    ahead = min(20.0, ordered[0] - ordered[1]) if len(ordered) > 1 else 0.0
    return np.array([[gain[0], gain[:5].mean(), ahead]])


@dataclass(frozen=True)
class Relevance:
    """Fitted on held-out queries, half of them with their right image taken away."""

    hit: Logistic
    nothing: Logistic

    def of(self, h: Float[np.ndarray, " c"], prior: float, words: float) -> tuple[Float64[np.ndarray, " c"], float]:
        """Probability of each candidate to be right, and of none to be."""
        return self.hit(hit_features(h, prior, words)), float(self.nothing(query_features(h, prior, words))[0])

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Relevance | None:
        """What `to_json` wrote, or None where nothing was fitted."""
        if not value:
            return None
        return cls(
            *(
                Logistic(tuple(part["weights"]), float(part["bias"]), tuple(part["mean"]), tuple(part["scale"]))
                for part in (value["hit"], value["nothing"])
            )
        )
