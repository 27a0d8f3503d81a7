"""Vectors that a model or a caller gave: checked, and of length 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError, ModelError
from diptych.core.shapes import Float32, UInt8

from .encoder import Encoder


def embedded(
    pixels: UInt8[np.ndarray, "b hh ww 3"], encoder: Encoder, encode: Callable[[Any], np.ndarray] | None = None
) -> Float32[np.ndarray, "b d"]:
    """Unit vectors of prepared pixels. Raises ModelError when the model gives something else.

    `encode` is by what; None is `encoder.encode_pixels`.
    """
    if not len(pixels):
        return np.empty((0, encoder.dim), dtype=np.float32)
    vectors = normalise((encode or encoder.encode_pixels)(pixels))
    if vectors.shape != (len(pixels), encoder.dim) or not np.isfinite(vectors).all():
        raise ModelError(
            f"model {encoder.name!r} gave vectors of shape {vectors.shape}, "
            f"{int((~np.isfinite(vectors)).sum())} values not finite; expected finite vectors of shape "
            f"{(len(pixels), encoder.dim)}; use another model"
        )
    return vectors


def checked(vector: np.ndarray[Any, Any], dim: int) -> Float32[np.ndarray, d]:
    """A caller's vector as a unit vector. Raises ConfigError unless it has `dim` finite numbers."""
    if vector.dtype.kind not in "biuf":
        raise ConfigError(f"the vector holds values of type {vector.dtype}; expected {dim} finite numbers")
    if vector.shape != (dim,) or not np.isfinite(vector).all():
        raise ConfigError(
            f"the vector has shape {vector.shape}, {int((~np.isfinite(vector)).sum())} values not finite; "
            f"expected {dim} finite values"
        )
    return normalise(vector)
