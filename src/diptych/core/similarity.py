"""The similarities that a model can be trained for, on NumPy arrays: by name, as in a model's config.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from diptych.core.shapes import Float, Float32

from .config import unknown
from .cosine import cosine

_CELLS = 1 << 22  # of the (rows, m, d) array that one step of `order` holds: 16 MB

Similarity = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (n, d) images, (m, d) texts -> (n, m), higher is nearer


def order(images: Float[np.ndarray, "n d"], texts: Float[np.ndarray, "m d"]) -> Float32[np.ndarray, "n m"]:
    """-|| max(0, |t| - |v|) ||^2: how far a text says more than the picture shows (arXiv 1511.06361, equation 2)."""
    images, texts = (np.abs(np.asarray(side, dtype=np.float32)) for side in (images, texts))
    scores = np.empty((len(images), len(texts)), dtype=np.float32)
    step = max(1, _CELLS // max(1, texts.size))
    for start in range(0, len(images), step):
        beyond = np.maximum(texts[None] - images[start : start + step, None], 0)
        scores[start : start + step] = -np.einsum("nmd,nmd->nm", beyond, beyond)
    return scores


SIMILARITIES: Mapping[str, Similarity] = {"cosine": cosine, "order": order}


def similarity_named(name: str) -> Similarity:
    """The similarity of that name. Raises ConfigError for an unknown one."""
    if name not in SIMILARITIES:
        raise unknown("similarity", name, SIMILARITIES)
    return SIMILARITIES[name]
