"""How far raters agree: Krippendorff's alpha for nominal values, with a bootstrap over what is rated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diptych.core.shapes import Float64, Int64

from .bootstrap import Interval, Resampling, percentile_interval


@dataclass(frozen=True)
class Agreement:
    """How far raters agree.

    `alpha` is 1 for full agreement, about 0 for raters who choose at random, and below 0 for systematic disagreement.
    It is None where it is not defined: nothing was rated by two raters, or all values are equal.
    """

    alpha: float | None
    interval: Interval | None  # of alpha
    agreeing: float | None  # share of pairs of values of one unit that are equal; no correction for chance
    units: int  # units with two values or more: only these count


def krippendorff_alpha(counts: Int64[np.ndarray, "units values"], *, resamples: int = 1000, seed: int = 0) -> Agreement:
    """Krippendorff's alpha of nominal values: 1 - observed / expected disagreement.

    `counts[u, c]` says how many raters gave unit u the value c; units with fewer than two values are left out. With
    m_u values of unit u, n_c values c in all, n = sum of n_c and the agreement o = sum over u, c of
    n_uc (n_uc - 1) / (m_u - 1), alpha is 1 - (n - 1) (n - o) / (n² - sum of n_c²). The interval resamples units;
    resamples in which alpha is not defined are left out.

    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), part C.
    """
    counts = counts[counts.sum(axis=1) > 1]
    if not len(counts):
        return Agreement(None, None, None, 0)
    agreeing = (counts * (counts - 1)).sum(axis=1) / (counts.sum(axis=1) - 1)
    parts = np.column_stack([counts, agreeing])
    whole = parts.sum(axis=0)
    alpha = float(_alpha(whole[None])[0])
    if np.isnan(alpha):
        return Agreement(None, None, float(whole[-1] / whole[:-1].sum()), len(counts))
    interval = None
    if resamples:
        drawn = [_alpha(chunk @ parts) for chunk in Resampling(len(counts), resamples, seed).counts()]
        replicated = np.concatenate(drawn)
        interval = percentile_interval(replicated[np.isfinite(replicated)])
    return Agreement(alpha, interval, float(whole[-1] / whole[:-1].sum()), len(counts))


def _alpha(sums: Float64[np.ndarray, "r parts"]) -> Float64[np.ndarray, " r"]:
    """Alpha of sums over units: how often each value was given, then the agreement; NaN where it is not defined."""
    given, agreeing = sums[:, :-1], sums[:, -1]
    total = given.sum(axis=1)
    expected = total**2 - (given**2).sum(axis=1)
    observed = (total - 1) * (total - agreeing)
    return np.asarray(1 - np.divide(observed, expected, out=np.full_like(observed, np.nan), where=expected > 0))
