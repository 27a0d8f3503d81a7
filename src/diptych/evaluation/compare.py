"""Several reports of the same queries in one table: intervals, differences, paired bootstrap tests.

The resamples draw the same records for every run, so a difference's interval is that of the
difference, which is narrower than two intervals side by side suggest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from diptych.core.errors import ConfigError, DataError
from diptych.core.notes import Note

from .bootstrap import (
    LEVEL,
    Difference,
    Interval,
    Number,
    Resampling,
    by_draw,
    holm,
    percentile_interval,
    replicates,
    same_queries,
    sign_p_value,
    summarised,
)
from .classification import DIRECTION
from .metrics import metric_named
from .saved import SavedReport

FORMAT, FORMAT_VERSION = "diptych-comparison", 1
BEST, FIRST = "best", "first"
_BEST_BY = "rsum"


@dataclass(frozen=True)
class Cell:
    """One metric of one run: its value, interval, and difference to the baseline (None for the baseline itself).

    The difference's `p_value` is corrected by Holm over the runs compared on this metric. `deviation` is the standard
    deviation over the draws (such as seeds or folds); None where they are all the same.
    """

    value: float
    interval: Interval
    difference: Difference | None
    deviation: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Runs by name, each with its cells by metric ("image_to_text R@1", "rsum", ...)."""

    runs: Mapping[str, Mapping[str, Cell]]
    baseline: str
    task: Mapping[str, Any]
    resamples: int
    seed: int
    units: int
    notes: tuple[Note, ...] = ()  # on how the source was read, where there was one

    def table(self, metrics: Sequence[str] = ()) -> str:
        """A Markdown page with a table for each direction; `metrics` such as R@1 choose the columns (empty: all)."""
        from .comparison_page import to_markdown

        return to_markdown(self, metrics)

    __str__ = table

    def to_json(self) -> dict[str, Any]:
        """Everything, JSON-ready."""
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "baseline": self.baseline,
            "task": dict(self.task),
            "bootstrap": {"resamples": self.resamples, "seed": self.seed, "level": LEVEL, "records": self.units},
            "correction": "Holm, over the runs compared on one metric",
            "runs": {
                name: {metric: asdict(cell) for metric, cell in cells.items()} for name, cells in self.runs.items()
            },
        }


def check_same_task(reports: Sequence[SavedReport]) -> None:
    """Raise DataError naming what differs, unless all reports measured the same queries in the same way."""
    first = reports[0]
    for other in reports[1:]:
        keys = [key for key in first.task if first.task[key] != other.task[key]]
        named = [key for key in keys if key != "content"] or keys  # the fingerprint says no more than what it covers
        if keys:
            found = "; ".join(f"{key}: {_short(first.task[key])} and {_short(other.task[key])}" for key in named)
            raise DataError(
                f"{first.name} and {other.name} are reports of different queries ({found}); a paired comparison "
                "needs the same source, split and protocol: run diptych eval --out again for both"
            )
        if first.units != other.units or not all(
            same_queries(number, other.numbers[name]) for name, number in first.numbers.items() if name in other.numbers
        ):
            raise DataError(f"{first.name} and {other.name} ranked different queries; run diptych eval --out again")


def compare_reports(
    reports: Sequence[SavedReport], *, baseline: str = FIRST, resamples: int = 2000, seed: int = 0
) -> Comparison:
    """One table over the reports, against the `baseline`: "first", "best" (by rsum), or a report's name.

    Metrics that some report lacks are left out. Raises ConfigError for names that are not unique or
    unknown, DataError when the reports are not of the same queries.
    """
    names = [report.name for report in reports]
    if len(reports) < 2 or len(set(names)) != len(names):
        raise ConfigError(f"a comparison needs two or more runs with different names, found: {', '.join(names)}")
    check_same_task(reports)
    metrics = [name for name in reports[0].numbers if all(name in report.numbers for report in reports)]
    if not metrics:
        raise DataError("the reports have no metric in common; run diptych eval with the same --cuts")
    against = _baseline(reports, baseline, metrics)
    resampling = Resampling(reports[0].units, resamples, seed)
    cells: dict[str, dict[str, Cell]] = {name: {} for name in names}
    for metric in metrics:
        numbers = [report.numbers[metric] for report in reports]
        for name, cell in zip(names, _cells(numbers, against, resampling), strict=True):
            cells[name][metric] = cell
    return Comparison(cells, names[against], reports[0].task, resamples, seed, resampling.units)


def _cells(numbers: Sequence[Number], against: int, resampling: Resampling) -> list[Cell]:
    """One metric's cells; every resample draws the same units for all runs."""
    values = [summarised(number) for number in numbers]
    replicated = replicates(numbers, resampling)
    others = [place for place in range(len(numbers)) if place != against]
    moved = {place: replicated[place] - replicated[against] for place in others}
    p_values = holm([sign_p_value(moved[place]) for place in others])
    differences = {
        place: Difference(values[place] - values[against], percentile_interval(moved[place]), p_value)
        for place, p_value in zip(others, p_values, strict=True)
    }
    return [
        Cell(value, percentile_interval(replicated[place]), differences.get(place), _deviation(numbers[place]))
        for place, value in enumerate(values)
    ]


def _deviation(number: Number) -> float | None:
    values = by_draw(number)
    return float(np.std(values)) if len(set(values)) > 1 else None


def _baseline(reports: Sequence[SavedReport], wanted: str, metrics: Sequence[str]) -> int:
    names = [report.name for report in reports]
    if wanted in names:
        return names.index(wanted)
    if wanted == FIRST:
        return 0
    if wanted == BEST:
        by = _BEST_BY if _BEST_BY in metrics else next(name for name in metrics if name.endswith(("MRR", "top-1")))
        return int(np.argmax([summarised(report.numbers[by]) for report in reports]))
    raise ConfigError(f"unknown baseline {wanted!r}; choose from {FIRST}, {BEST}, {', '.join(names)}")


def is_percent(metric: str) -> bool:
    """Whether a metric of the table ("text_to_image R@1") is printed times 100; rsum is in percent already."""
    direction, _, name = metric.partition(" ")
    found = metric_named(name)
    return direction == DIRECTION or (found is not None and found.percent)


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value is the better one."""
    found = metric_named(metric.partition(" ")[2])
    return found is not None and found.lower_is_better


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        value = " ".join(str(value[key]) for key in ("name", "seed", "relevance", "relevant_from") if key in value)
    return str(value) if value is not None else "none"
