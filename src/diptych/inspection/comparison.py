"""A comparison as a plot: bars, or lines over shots."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np

from diptych.evaluation.compare import Comparison, is_percent
from diptych.evaluation.comparison_page import SIGNIFICANT, sections

from .figures import COLOURS, INK, figure, png_of, without_frame

_PLOTTED = ("R@1", "R@5", "R@10")


def draw_bars(comparison: Comparison) -> bytes:
    """R@1, R@5 and R@10 of every run in every direction with intervals, and rsum, as PNG bytes."""
    panels = [
        (title, [name for name in names if name.split()[-1] in (*_PLOTTED, "rsum")])
        for title, names in sections(comparison)
    ]
    panels = [(title, names) for title, names in panels if names]
    runs = list(comparison.runs)
    widths = [max(1.2, len(names)) for _, names in panels]
    drawn = figure(2.2 + 1.7 * sum(widths) + 0.25 * len(runs), 4.2, "the plot of a comparison")
    axes = drawn.subplots(1, len(panels), width_ratios=widths, squeeze=False)[0]
    for axis, (title, names) in zip(axes, panels, strict=True):
        _draw_panel(axis, comparison, title, names)
    handles, labels = axes[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=min(4, len(runs)), frameon=False)
    return png_of(drawn)


def draw_accuracies(comparison: Comparison) -> bytes:
    """Accuracies of classification over the shots that adapters learnt from, as PNG bytes; bars where there are none.

    A line is an adapter of a model with its interval, a dashed one the model by words alone.
    """
    rows = comparison.task.get("rows", [])
    names = list(next(iter(comparison.runs.values())))
    drawn = figure(4.6 * len(names), 4.2, "the plot of a comparison")
    axes = drawn.subplots(1, len(names), squeeze=False)[0]
    ticks = sorted({row["shots"] for row in rows if row["method"] != "zero-shot"}, key=lambda shots: shots or np.inf)
    for axis, name in zip(axes, names, strict=True):
        if not ticks:
            _draw_panel(axis, comparison, name.split()[-1], [name])
            continue
        lines = dict.fromkeys((row["model"], row["method"]) for row in rows)
        for colour, (model, method) in zip(cycle(COLOURS), lines, strict=False):
            own = [row for row in rows if (row["model"], row["method"]) == (model, method)]
            cells = [comparison.runs[row["name"]][name] for row in own]
            if method == "zero-shot":
                axis.axhline(100 * cells[0].value, color=colour, linestyle="--", label=f"{model} {method}")
                continue
            places = [ticks.index(row["shots"]) for row in own]
            axis.plot(places, [100 * cell.value for cell in cells], "o-", color=colour, label=f"{model} {method}")
            low, high = ([100 * getattr(cell.interval, side) for cell in cells] for side in ("low", "high"))
            axis.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.set_xticks(range(len(ticks)), [str(shots or "all") for shots in ticks])
        axis.set(xlabel="training images of each class", ylabel="%")
        axis.set_title(name.split()[-1], loc="left", fontsize=11)
        without_frame(axis)
    handles, labels = axes[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)
    return png_of(drawn)


def _draw_panel(axis: Any, comparison: Comparison, title: str, names: Sequence[str]) -> None:
    runs = list(comparison.runs)
    width = 0.8 / len(runs)
    for place, run in enumerate(runs):
        for at, name in enumerate(names):
            cell = comparison.runs[run][name]
            scale = 100 if is_percent(name) else 1
            x, value = at - 0.4 + width * (place + 0.5), scale * cell.value
            away = [[max(0.0, value - scale * cell.interval.low)], [max(0.0, scale * cell.interval.high - value)]]
            axis.bar(x, value, 0.92 * width, color=COLOURS[place % len(COLOURS)], label=run if at == 0 else None)
            axis.errorbar(x, value, yerr=away, color=INK, linewidth=1, capsize=2)
            if cell.difference is not None and cell.difference.p_value < SIGNIFICANT:
                top = scale * cell.interval.high
                axis.annotate("*", (x, top), textcoords="offset points", xytext=(0, 1), ha="center", fontsize=12)
    axis.set_xticks(range(len(names)), [name.split()[-1] for name in names])
    axis.set_title(title, loc="left", fontsize=11)
    axis.set_ylabel("%, both directions" if names == ["rsum"] else "%")
    without_frame(axis)
