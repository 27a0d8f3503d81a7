"""What every measure asks of its input."""

from __future__ import annotations

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Float, Float64


def features_of(vectors: Float[np.ndarray, "n d"], what: str, fewest: int = 2) -> Float64[np.ndarray, "n d"]:
    """The features in double precision. Raises DataError for too few of them and for numbers that are not finite."""
    if len(vectors) < fewest:
        raise DataError(f"{len(vectors)} {what}; this measure needs at least {fewest}")
    exact = np.asarray(vectors, dtype=np.float64)
    bad = ~np.isfinite(exact).all(axis=1)
    if bad.any():
        raise DataError(f"{what} {int(np.argmax(bad))} holds NaN or infinite features ({int(bad.sum())} such)")
    return exact


def same_width(first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "m e"]) -> None:
    """Raise DataError when two sets of features cannot come from one extractor."""
    if first.shape[1] != second.shape[1]:
        raise DataError(
            f"features of {first.shape[1]} and of {second.shape[1]} numbers; both sets need the same extractor"
        )
