"""The kernel distance: unbiased squared MMD with a polynomial kernel (Binkowski et al. 2018).

Called KID only when the features are Inception's. Unlike the Fréchet distance its expectation does not depend
on how many pictures there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.shapes import Float, Float64

from ..bootstrap import Interval, percentile_interval
from .checks import features_of, same_width

_BLOCK = 1 << 22  # products held at a time: 32 MiB


@dataclass(frozen=True)
class KernelDistance:
    """`value` is that of all pictures; `interval` holds the middle 95% of `subsets` draws of `size` from each set."""

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
    their cross term also holds each picture with itself.

    Raises DataError for fewer than four pictures, other widths and numbers that are not finite.
    """
    if subsets < 1 or size < 2:
        raise ConfigError(f"expected at least 1 subset of at least 2 pictures, found {subsets} of {size}")
    same_width(real, generated)
    x = features_of(real, "real pictures", 4)
    y = features_of(generated, "generated pictures", 4)
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
