"""Distances between the features of real and of generated images, and the score of a classifier's probabilities.

The Fréchet distance takes each set for a Gaussian (Dowson and Landau 1982), the kernel distance is an unbiased squared
MMD (Binkowski et al. 2018). They are called FID (Heusel et al. 2017), KID and IS only when the features are
Inception's; with any other extractor the numbers are of another size, and go by the extractor's name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diptych.core.errors import ConfigError, DataError
from diptych.core.shapes import Float, Float64

from ..bootstrap import Interval, percentile_interval


def checked_features(vectors: Float[np.ndarray, "n d"], what: str, fewest: int = 2) -> Float64[np.ndarray, "n d"]:
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


def frechet_distance(real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"]) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2), means and covariances (divided by n - 1) of both sets; 0 is best.

    Identical sets give 0. The number grows as the sets get smaller: compare only sets of the same sizes.
    tr (C1 C2)^1/2 is the sum of the singular values of X1 X2' (centred rows, over the roots of n - 1), so
    fewer images than features cost no more than the images.

    Raises DataError for fewer than two images, other widths and numbers that are not finite.
    """
    same_width(real, generated)
    if min(len(real), len(generated)) > real.shape[1]:
        one, two = moments(real, "real images"), moments(generated, "generated images")
        return frechet_from_moments((one[0], two[0]), (one[1], two[1]))
    x, y = checked_features(real, "real images"), checked_features(generated, "generated images")
    gap = x.mean(axis=0) - y.mean(axis=0)
    x = (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)
    y = (y - y.mean(axis=0)) / np.sqrt(len(y) - 1)
    shared = float(np.linalg.svd(x @ y.T, compute_uv=False).sum())
    return _not_below_zero(float(gap @ gap) + float((x * x).sum()) + float((y * y).sum()) - 2 * shared)


def moments(
    vectors: Float[np.ndarray, "n d"], what: str = "images"
) -> tuple[Float64[np.ndarray, " d"], Float64[np.ndarray, "d d"]]:
    """Mean and covariance (divided by n - 1) of features, a block of rows at a time in double precision.

    Raises DataError for fewer than two of them and for numbers that are not finite.
    """
    if len(vectors) < 2 or not np.isfinite(vectors).all():
        checked_features(vectors, what)  # says what is wrong
    blocks = [slice(start, start + _ROWS) for start in range(0, len(vectors), _ROWS)]
    mean = np.sum([vectors[block].sum(axis=0, dtype=np.float64) for block in blocks], axis=0) / len(vectors)
    covariance = np.zeros((vectors.shape[1],) * 2)
    for block in blocks:
        apart = vectors[block].astype(np.float64) - mean
        covariance += apart.T @ apart
    return mean, covariance / (len(vectors) - 1)


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


_BLOCK = 1 << 22  # products held at a time: 32 MiB
_ROWS = 4096  # features in double precision at a time


@dataclass(frozen=True)
class KernelDistance:
    """`value` is that of all images; `interval` holds the middle 95% of `subsets` draws of `size` from each set."""

    value: float
    interval: Interval
    deviation: float  # of the subsets, the number that papers print
    subsets: int
    size: int


def kernel_distance(
    real: Float[np.ndarray, "n d"],
    generated: Float[np.ndarray, "m d"],
    *,
    subsets: int = 100,
    size: int = 1000,
    seed: int = 0,
) -> KernelDistance:
    """mean k(x, x') over x != x' + mean k(y, y') over y != y' - 2 mean k(x, y), with k(x, y) = (x·y / d + 1)^3.

    Subsets are drawn without replacement; `size` is cut to half of the smaller set, so that they differ. Sets
    from one distribution give 0 on average, so single numbers may be below 0: identical sets always are, since
    their cross term also holds each image with itself.

    Raises DataError for fewer than four images, other widths and numbers that are not finite.
    """
    if subsets < 1 or size < 2:
        raise ConfigError(f"expected at least 1 subset of at least 2 images, found {subsets} of {size}")
    same_width(real, generated)
    x = checked_features(real, "real images", 4)
    y = checked_features(generated, "generated images", 4)
    size = min(size, len(x) // 2, len(y) // 2)
    generator = np.random.default_rng(seed)
    found = np.empty(subsets)
    for number in range(subsets):
        a = generator.choice(len(x), size, replace=False)
        b = generator.choice(len(y), size, replace=False)
        found[number] = _statistic(x[a], y[b])
    return KernelDistance(_statistic(x, y), percentile_interval(found), float(found.std()), subsets, size)


def _statistic(x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "m d"]) -> float:
    n, m = len(x), len(y)
    within = _sum(x, x) - _own(x), _sum(y, y) - _own(y)
    return within[0] / (n * (n - 1)) + within[1] / (m * (m - 1)) - 2 * _sum(x, y) / (n * m)


def _sum(x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "m d"]) -> float:
    """Sum of the kernel over all pairs, a block of rows at a time."""
    rows = max(1, _BLOCK // len(y))
    return sum(
        float(((x[start : start + rows] @ y.T / x.shape[1] + 1.0) ** 3).sum()) for start in range(0, len(x), rows)
    )


def _own(x: Float64[np.ndarray, "n d"]) -> float:
    """Sum of the kernel of each row with itself."""
    return float((((x * x).sum(axis=1) / x.shape[1] + 1.0) ** 3).sum())


def inception_score(probabilities: Float[np.ndarray, "n c"]) -> float:
    """exp(mean KL(p(class | image) || p(class))), from 1 (all alike, or all unclear) to the number of classes.

    It looks at generated images only: one clear image a class scores best, however it looks. Of all images
    at once, not the mean of ten parts as in the paper; a class of probability 0 adds 0. Called IS only with
    Inception's classes.

    Raises DataError for rows that are no probabilities.
    """
    p = checked_features(probabilities, "class probabilities", 1)
    if p.min() < 0 or not np.allclose(p.sum(axis=1), 1.0, atol=1e-4):
        raise DataError("expected probabilities: each row from 0 up, with the sum 1")
    marginal = p.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * (np.log(p) - np.log(marginal)), 0.0)
    return float(np.exp(terms.sum(axis=1).mean()))
