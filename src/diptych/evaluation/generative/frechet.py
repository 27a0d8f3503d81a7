"""The Fréchet distance between two sets of features, each taken for a Gaussian (Dowson and Landau 1982).

Called FID (Heusel et al. 2017) only when the features are Inception's; with any other extractor the number is
of another size, and goes by the extractor's name.
"""

from __future__ import annotations

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Float, Float64

from .checks import features_of, same_width


def frechet_distance(real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"]) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2), means and covariances (divided by n - 1) of both sets; 0 is best.

    Identical sets give 0. The number grows as the sets get smaller: compare only sets of the same sizes.
    tr (C1 C2)^1/2 is the sum of the singular values of X1 X2' (centred rows, over the roots of n - 1), so
    fewer pictures than features cost no more than the pictures.

    Raises DataError for fewer than two pictures, other widths and numbers that are not finite.
    """
    same_width(real, generated)
    one, two = features_of(real, "real pictures"), features_of(generated, "generated pictures")
    gap = one.mean(axis=0) - two.mean(axis=0)
    x = (one - one.mean(axis=0)) / np.sqrt(len(one) - 1)
    y = (two - two.mean(axis=0)) / np.sqrt(len(two) - 1)
    if min(len(x), len(y)) <= x.shape[1]:
        shared = float(np.linalg.svd(x @ y.T, compute_uv=False).sum())
    else:
        shared = _trace_of_root(x.T @ x, y.T @ y)
    return _not_below_zero(float(gap @ gap) + float((x * x).sum()) + float((y * y).sum()) - 2 * shared)


def frechet_from_moments(
    means: tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]],
    covariances: tuple[Float[np.ndarray, "d d"], Float[np.ndarray, "d d"]],
) -> float:
    """The same from moments that are known, such as a data set's published ones."""
    gap = np.asarray(means[0], dtype=np.float64) - np.asarray(means[1], dtype=np.float64)
    one, two = (np.asarray(each, dtype=np.float64) for each in covariances)
    if not (np.isfinite(gap).all() and np.isfinite(one).all() and np.isfinite(two).all()):
        raise DataError("the moments hold NaN or infinite numbers")
    return _not_below_zero(float(gap @ gap) + float(np.trace(one) + np.trace(two)) - 2 * _trace_of_root(one, two))


def _trace_of_root(one: Float64[np.ndarray, "d d"], two: Float64[np.ndarray, "d d"]) -> float:
    """tr (C1 C2)^1/2 through symmetric matrices only: the eigenvalues of C1^1/2 C2 C1^1/2 are never negative."""
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    middle = root @ two @ root
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh((middle + middle.T) / 2), 0)).sum())


def _not_below_zero(value: float) -> float:
    return max(0.0, value)  # rounding may take a distance of zero below it
