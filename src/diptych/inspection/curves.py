"""The plot of a filter: scores, ROC and precision-recall."""

from __future__ import annotations

from typing import Any

import numpy as np

from diptych.core.shapes import Float
from diptych.evaluation.calibration import Curve

from .figures import COLOURS, FAINT, figure, plain, png_of

_GIVEN, _WRONG, _LINE = COLOURS[0], COLOURS[1], "#16181d"


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
    roc.plot(curve.fallout[at], curve.recall[at], "o", color=_LINE, label="threshold")
    roc.set(xlabel="share of wrong pairs kept", ylabel="share of right pairs kept", xlim=(-0.01, 1), ylim=(0, 1.02))
    roc.set_title(f"ROC, AUC {curve.auc:.3f}", loc="left", fontsize=11)
    roc.legend(frameon=False, loc="lower right")
    precision.plot(curve.recall, curve.precision, color=_GIVEN)
    precision.plot(curve.recall[at], curve.precision[at], "o", color=_LINE)
    least = max(0.0, min(0.98, float(curve.precision.min())) - 0.03)
    precision.set(
        xlabel="share of right pairs kept", ylabel="right among the kept", xlim=(0, 1.01), ylim=(least, 1.005)
    )
    precision.set_title(f"precision, AP {curve.average_precision:.3f}", loc="left", fontsize=11)
    for axis in (scores, roc, precision):
        plain(axis)
    if title:
        drawn.suptitle(title, x=0.01, ha="left", fontsize=12)
    return png_of(drawn)


def _scores(axis: Any, given: Float[np.ndarray, " a"], wrong: Float[np.ndarray, " b"], threshold: float) -> None:
    bins = np.linspace(min(given.min(), wrong.min()), max(given.max(), wrong.max()), 60)
    for values, colour, label in ((wrong, _WRONG, "shuffled"), (given, _GIVEN, "as given")):
        axis.hist(values, bins, density=True, color=colour, alpha=0.55, label=label)
    axis.axvline(threshold, color=_LINE, linewidth=1.2)
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
