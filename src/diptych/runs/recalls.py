"""Recall of several models, or of one before and after a training, on one source: what shows gain and forgetting."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diptych.core.markdown import cell, table
from diptych.core.notes import Note, notes_json
from diptych.core.protocols import SILENT, Progress
from diptych.data.readers import Source
from diptych.evaluation import Report
from diptych.inspection.measure import Task, measure
from diptych.models import DualEncoder

CUTS = (1, 5, 10)
_WAYS = {"i2t": "image → text", "t2i": "text → image"}
_TASK = Task(cuts=CUTS, resamples=0)


@dataclass(frozen=True)
class Recalls:
    """R@1, R@5 and R@10 in percent, both ways, and their sum, of each model on the same records of a source."""

    source: str
    records: int
    rows: Mapping[str, Mapping[str, float]]  # what a model is called -> "i2t R@1", ..., "rsum"
    notes: tuple[Note, ...] = ()  # on the records that were measured

    def table(self, first: str = "model") -> str:
        """A row for each model, as Markdown."""
        names = [f"{way} R@{cut}" for way in _WAYS for cut in CUTS]
        header = [first, *(f"{_WAYS[name[:3]]} {name[4:]}" for name in names), "rsum"]
        rows = [[cell(label), *(f"{row[name]:.1f}" for name in [*names, "rsum"])] for label, row in self.rows.items()]
        return table(header, rows)

    def named_notes(self) -> list[Note]:
        """The notes with the name of the source, for where those of several stand together."""
        return [dataclasses.replace(note, detail=f"{self.source}: {note.detail}") for note in self.notes]

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Recalls:
        """What `to_json` gave."""
        notes = (Note(each["kind"], each["count"], each["detail"], tuple(each["examples"])) for each in found["notes"])
        return cls(found["source"], found["records"], found["rows"], tuple(notes))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "source": self.source,
            "records": self.records,
            "rows": {label: dict(row) for label, row in self.rows.items()},
            "notes": notes_json(self.notes),
        }


def recalls_of(report: Report) -> dict[str, float]:
    """R@1, R@5, R@10 in percent of both directions of a report, and their sum."""
    sides = {"i2t": report.image_to_text, "t2i": report.text_to_image}
    found = {f"{way} R@{cut}": round(100 * side[f"R@{cut}"], 2) for way, side in sides.items() for cut in CUTS}
    return found | {"rsum": round(sum(found.values()), 2)}


def measure_recalls(model: DualEncoder, source: Source, *, progress: Progress = SILENT) -> Report:
    """A report with these cuts, of a source whose records were chosen."""
    return measure(model, source, _TASK, progress=progress).report


def joined(reports: Mapping[str, Report]) -> Recalls:
    """Reports of several models on the same records in one table."""
    last = [*reports.values()][-1]
    rows = {label: recalls_of(report) for label, report in reports.items()}
    return Recalls(last.source, last.evaluation.records, rows, last.notes)


def named_apart(found: list[Recalls]) -> list[Recalls]:
    """Sources of the same name get numbers."""
    names = [each.source for each in found]
    return [
        dataclasses.replace(each, source=f"{each.source} #{names[:place].count(each.source) + 1}")
        if names.count(each.source) > 1
        else each
        for place, each in enumerate(found)
    ]
