"""A comparison as a Markdown page and as a bar plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diptych.evaluation.bootstrap import LEVEL, Interval
from diptych.evaluation.compare import Cell, Comparison, is_percent, lower_is_better
from diptych.evaluation.report import ARROWS

from .figures import COLOURS, figure, plain, png_of

SIGNIFICANT = 0.05
_PLOTTED = ("R@1", "R@5", "R@10")


def to_markdown(comparison: Comparison, metrics: Sequence[str] = ()) -> str:
    """A page with a table a direction: a run a row; `metrics` such as R@1 choose the columns (all when empty)."""
    task = comparison.task
    protocol = task["protocol"] or {}
    parts = [
        "# Comparison",
        f"- Source: {_cell(str(task['source']))}, split {_cell(str(task['split'] or 'everything'))}, "
        f"protocol {protocol.get('name')}, relevance by {protocol.get('relevance')}\n"
        f"- Baseline: **{_cell(comparison.baseline)}**; p is two-sided, from {comparison.resamples:,} paired bootstrap "
        f"resamples of {comparison.units:,} records (seed {comparison.seed}), "
        "Holm-corrected over the runs of one metric\n"
        f"- In brackets: {LEVEL:.0%} interval; Δ: difference to the baseline with the interval of the difference; "
        f"\\*: p < {SIGNIFICANT}",
    ]
    for title, names in _sections(comparison):
        chosen = [name for name in names if not metrics or name.split()[-1] in metrics]
        if chosen:
            parts.append(f"## {title}\n\n{_table(comparison, chosen)}")
    return "\n\n".join(parts) + "\n"


def draw_bars(comparison: Comparison) -> bytes:
    """R@1, R@5 and R@10 of every run in every direction with intervals, and rsum, as PNG bytes."""
    panels = [
        (title, [name for name in names if name.split()[-1] in (*_PLOTTED, "rsum")])
        for title, names in _sections(comparison)
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
            axis.errorbar(x, value, yerr=away, color="#16181d", linewidth=1, capsize=2)
            if cell.difference is not None and cell.difference.p_value < SIGNIFICANT:
                top = scale * cell.interval.high
                axis.annotate("*", (x, top), textcoords="offset points", xytext=(0, 1), ha="center", fontsize=12)
    axis.set_xticks(range(len(names)), [name.split()[-1] for name in names])
    axis.set_title(title, loc="left", fontsize=11)
    axis.set_ylabel("%, both directions" if names == ["rsum"] else "%")
    plain(axis)


def _sections(comparison: Comparison) -> list[tuple[str, list[str]]]:
    every = list(next(iter(comparison.runs.values())))
    found = [
        (arrow, [name for name in every if name.startswith(f"{direction} ")]) for direction, arrow in ARROWS.items()
    ]
    both = [("both directions", [name for name in every if " " not in name])]
    return [(title, names) for title, names in (*both, *found) if names]


def _table(comparison: Comparison, names: Sequence[str]) -> str:
    header = ["run", *(_label(name) for name in names)]
    lines = [header, ["---", *["---:"] * len(names)]]
    for run, cells in comparison.runs.items():
        lines.append([_cell(run), *(_printed(cells[name], 100 if is_percent(name) else 1) for name in names)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _label(name: str) -> str:
    short = name.split()[-1]
    return f"{short} %" if is_percent(name) else f"{short} (lower is better)" if lower_is_better(name) else short


def _printed(cell: Cell, scale: float) -> str:
    text = f"{scale * cell.value:.1f} {_interval(cell.interval, scale)}"
    if cell.difference is None:
        return text
    mark = "\\*" if cell.difference.p_value < SIGNIFICANT else ""
    moved = f"Δ {scale * cell.difference.value:+.1f}{mark} {_interval(cell.difference.interval, scale, sign='+')}"
    return f"{text}<br>{moved} p {_p(cell.difference.p_value)}"


def _interval(interval: Interval, scale: float, sign: str = "") -> str:
    return f"[{scale * interval.low:{sign}.1f}, {scale * interval.high:{sign}.1f}]"


def _p(p_value: float) -> str:
    return f"{p_value:.3f}" if p_value >= 0.001 else "< 0.001"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
