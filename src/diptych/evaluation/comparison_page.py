"""A comparison as a Markdown page."""

from __future__ import annotations

from collections.abc import Sequence

from diptych.core.markdown import cell, table

from .bootstrap import LEVEL, Interval
from .compare import Cell, Comparison, is_percent, lower_is_better
from .report import ARROWS

SIGNIFICANT = 0.05
_DRAWS = "; ±: standard deviation over the draws (seeds, folds, bags)"


def to_markdown(comparison: Comparison, metrics: Sequence[str] = ()) -> str:
    """A page with a table a direction: a run a row; `metrics` such as R@1 choose the columns (all when empty)."""
    task = comparison.task
    protocol = task["protocol"] or {}
    parts = [
        "# Comparison",
        f"- Source: {cell(str(task['source']))}, split {cell(str(task['split'] or 'everything'))}, "
        f"protocol {protocol.get('name')}, relevance by {protocol.get('relevance')}\n"
        f"- Baseline: **{cell(comparison.baseline)}**; p is two-sided, from {comparison.resamples:,} paired bootstrap "
        f"resamples of {comparison.units:,} records (seed {comparison.seed}), "
        "Holm-corrected over the runs of one metric\n"
        f"- In brackets: {LEVEL:.0%} interval; Δ: difference to the baseline with the interval of the difference; "
        f"\\*: p < {SIGNIFICANT}{_DRAWS if _has_draws(comparison) else ''}",
    ]
    for title, names in sections(comparison):
        chosen = [name for name in names if not metrics or name.split()[-1] in metrics]
        if chosen:
            parts.append(f"## {title}\n\n{_table(comparison, chosen)}")
    return "\n\n".join(parts) + "\n"


def _has_draws(comparison: Comparison) -> bool:
    return any(cell.deviation is not None for cells in comparison.runs.values() for cell in cells.values())


def sections(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Titles, and the metrics below each."""
    every = list(next(iter(comparison.runs.values())))
    found = [
        (arrow, [name for name in every if name.startswith(f"{direction} ")]) for direction, arrow in ARROWS.items()
    ]
    both = [("both directions", [name for name in every if " " not in name])]
    return [(title, names) for title, names in (*both, *found) if names]


def _table(comparison: Comparison, names: Sequence[str]) -> str:
    rows = [
        [cell(run), *(_printed(cells[name], 100 if is_percent(name) else 1) for name in names)]
        for run, cells in comparison.runs.items()
    ]
    return table(["run", *map(_label, names)], rows)


def _label(name: str) -> str:
    short = name.split()[-1]
    return f"{short} %" if is_percent(name) else f"{short} (lower is better)" if lower_is_better(name) else short


def _printed(cell: Cell, scale: float) -> str:
    spread = "" if cell.deviation is None else f" ± {scale * cell.deviation:.1f}"
    text = f"{scale * cell.value:.1f}{spread} {_interval(cell.interval, scale)}"
    if cell.difference is None:
        return text
    mark = "\\*" if cell.difference.p_value < SIGNIFICANT else ""
    moved = f"Δ {scale * cell.difference.value:+.1f}{mark} {_interval(cell.difference.interval, scale, sign='+')}"
    return f"{text}<br>{moved} p {_p(cell.difference.p_value)}"


def _interval(interval: Interval, scale: float, sign: str = "") -> str:
    return f"[{scale * interval.low:{sign}.1f}, {scale * interval.high:{sign}.1f}]"


def _p(p_value: float) -> str:
    return f"{p_value:.3f}" if p_value >= 0.001 else "< 0.001"
