"""Rows of unit length, whose inner product is their cosine."""

from __future__ import annotations

import numpy as np

from diptych.core.shapes import Float, Float32

EPSILON = 1e-12


def normalise(vectors: Float[np.ndarray, "... d"]) -> Float32[np.ndarray, "... d"]:
    """L2-normalise along the last axis; a zero vector stays zero instead of becoming NaN."""
    vectors = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, EPSILON), dtype=np.float32)
