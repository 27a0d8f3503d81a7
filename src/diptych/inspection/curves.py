"""Plots of how well scores tell right from wrong: of a filter, and of probabilities (reliability)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diptych.core.shapes import Float
from diptych.evaluation.calibration import Curve
from diptych.evaluation.reliability import Bin

from .figures import COLOURS, FAINT, INK, figure, png_of, without_frame

_GIVEN, _WRONG = COLOURS[:2]


def draw_filter(
    curve: Curve,
    given: Float[np.ndarray, " a"],
    wrong: Float[np.ndarray, " b"],
    threshold: float,
    title: str = "",
) -> bytes:
    """Three panels as PNG bytes: both score distributions with the threshold, the ROC, and precision over recall."""
    drawn = figure(12, 3.9, "the plot of a filter")
    scores, roc, precision = drawn.subplots(1, 3)
    _scores(scores, given, wrong, threshold)
    at = max(0, int(np.searchsorted(-curve.thresholds, -threshold, side="right")) - 1)
    roc.plot(np.r_[0, curve.fallout, 1], np.r_[0, curve.recall, 1], color=_GIVEN)
    roc.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=":")
    roc.plot(curve.fallout[at], curve.recall[at], "o", color=INK, label="threshold")
    roc.set(xlabel="share of wrong pairs kept", ylabel="share of right pairs kept", xlim=(-0.01, 1), ylim=(0, 1.02))
    roc.set_title(f"ROC, AUC {curve.auc:.3f}", loc="left", fontsize=11)
    roc.legend(frameon=False, loc="lower right")
    precision.plot(curve.recall, curve.precision, color=_GIVEN)
    precision.plot(curve.recall[at], curve.precision[at], "o", color=INK)
    least = max(0.0, min(0.98, float(curve.precision.min())) - 0.03)
    precision.set(
        xlabel="share of right pairs kept", ylabel="right among the kept", xlim=(0, 1.01), ylim=(least, 1.005)
    )
    precision.set_title(f"precision, AP {curve.average_precision:.3f}", loc="left", fontsize=11)
    for axis in (scores, roc, precision):
        without_frame(axis)
    if title:
        drawn.suptitle(title, x=0.01, ha="left", fontsize=12)
    return png_of(drawn)


def _scores(axis: Any, given: Float[np.ndarray, " a"], wrong: Float[np.ndarray, " b"], threshold: float) -> None:
    bins = np.linspace(min(given.min(), wrong.min()), max(given.max(), wrong.max()), 60)
    for values, colour, label in ((wrong, _WRONG, "shuffled"), (given, _GIVEN, "as given")):
        axis.hist(values, bins, density=True, color=colour, alpha=0.55, label=label)
    axis.axvline(threshold, color=INK, linewidth=1.2)
    axis.annotate(
        "keep →",
        (threshold, 0.97),
        xycoords=("data", "axes fraction"),
        xytext=(4, 0),
        textcoords="offset points",
        va="top",
        fontsize=9,
    )
    axis.set(xlabel="score", yticks=[])
    axis.set_title("pairs calibrated on", loc="left", fontsize=11)
    axis.legend(frameon=False, loc="upper left")


def draw_reliability(curves: Mapping[str, Sequence[Bin]], title: str) -> bytes:
    """Reliability diagram as a PNG: stated against observed, dots as large as their bins are full."""
    drawn = figure(5, 5, "the reliability diagram")
    axis = drawn.subplots()
    axis.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8)
    for (name, rows), colour in zip(curves.items(), COLOURS, strict=False):
        stated, observed = [one.predicted for one in rows], [one.observed for one in rows]
        most = max(one.count for one in rows)
        axis.plot(stated, observed, color=colour, linewidth=1, label=name)
        axis.scatter(stated, observed, s=[8 + 80 * one.count / most for one in rows], color=colour)
    axis.set(xlabel="stated probability", ylabel="observed share")
    without_frame(axis, grid="")
    axis.set_title(title, loc="left")
    axis.legend(frameon=False)
    return png_of(drawn)


def draw_shares(shares: Sequence[float], sources: Mapping[str, Mapping[str, Mapping[str, float]]]) -> bytes:
    """Rsum of blends by the share of the second model, a line for each source, as PNG bytes.

    Args:
        shares: from 0 to 1.
        sources: name of a source -> a row for each share, in their order -> metric -> percent.
    """
    drawn = figure(6, 4, "the curve of blends")
    axis = drawn.subplots()
    order = np.argsort(shares)
    for (name, rows), colour in zip(sources.items(), COLOURS, strict=False):
        sums = np.array([row["rsum"] for row in rows.values()])
        axis.plot(np.array(shares)[order], sums[order], "o-", color=colour, label=name)
    axis.set(xlabel="share of the fine-tuned model", ylabel="rsum")
    without_frame(axis)
    axis.legend(frameon=False)
    return png_of(drawn)
