"""Zero-shot classification measured on images with classes, and its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from diptych.core.errors import DataError
from diptych.core.markdown import cell, table
from diptych.core.notes import Note, note_lines, notes_json
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Int64
from diptych.core.types import Skipped
from diptych.core.version import __version__
from diptych.data.readers import Source
from diptych.evaluation.bootstrap import LEVEL
from diptych.evaluation.class_calibration import CalibrationQuality, calibration_quality
from diptych.evaluation.classification import (
    DIRECTION,
    accuracy_numbers,
    check_labels,
    class_ranks,
    class_scores,
    confusions,
    predicted,
)
from diptych.evaluation.direction import Estimate, estimates
from diptych.evaluation.reliability import Bin, calibration_error, reliability
from diptych.evaluation.report import UNITS, estimate_json, printed
from diptych.evaluation.saved import FORMAT, class_ranks_json

from .classes import LabelledImages, embed_labelled, with_labels
from .zero_shot import LabelScorer, ScoredBy

_FORMAT_VERSION = 1
_SHOWN = 20  # classes and confusions listed in the Markdown; the JSON lists them all
MEANINGS = {
    "top-1, top-5": "share of images whose own class is the first, or among the first five; a tie counts against",
    "per-class": "mean over the classes of each one's top-1",
    "calibration_error": "mean difference of the first label's probability and how often it is right, over ten bins",
}


@dataclass(frozen=True, kw_only=True)
class ZeroShotReport:
    """Where each image's own class landed among the labels.

    `calibration_error` and `reliability` are of the probabilities, absent where scores are cosines; `fitted` is what a
    temperature fitted on half of the images gives on the other half, absent where there are too few images.
    """

    names: tuple[str, ...]
    ranks: Int64[np.ndarray, " n"]
    guesses: Int64[np.ndarray, " n"]
    classes: Int64[np.ndarray, " n"]  # of each image
    records: Int64[np.ndarray, " n"]  # that each image is of, from 0
    metrics: dict[str, Estimate]
    scored_by: ScoredBy
    calibration_error: float | None
    reliability: tuple[Bin, ...]
    fitted: CalibrationQuality | None
    templates: tuple[str, ...]
    resamples: int
    seed: int
    model: str
    model_fingerprint: str
    source: str
    split: str | None
    content: str
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[Note, ...] = ()

    @cached_property
    def per_class(self) -> list[Any]:
        """Each class that has images: see `diptych.evaluation.classification.ClassScore`."""
        return class_scores(self.ranks, self.guesses, self.classes, self.names)

    def to_json(self, *, ranks: bool = False) -> dict[str, Any]:
        """Everything, JSON-ready; with `ranks`, also where every image's class landed, for `compare`."""
        wrong = confusions(self.guesses, self.classes, self.names)
        return {
            "format": FORMAT,
            "version": _FORMAT_VERSION,
            "diptych": __version__,
            "model": {"name": self.model, "fingerprint": self.model_fingerprint},
            "modality": "zero-shot",
            "source": self.source,
            "split": self.split,
            "languages_asked": None,
            "protocol": {"name": f"zero-shot among {len(self.names)} labels", "relevance": "class"},
            "bootstrap": {"resamples": self.resamples, "level": LEVEL, "unit": "record"} if self.resamples else None,
            "units": {**MEANINGS, "low, high": UNITS["low, high"]},
            "labels": list(self.names),
            "templates": list(self.templates),
            "records": int(self.records.max()) + 1,
            "images": len(self.classes),
            DIRECTION: {"metrics": {name: estimate_json(estimate) for name, estimate in self.metrics.items()}},
            "scored_by": self.scored_by,
            "calibration_error": self.calibration_error,
            "reliability": [asdict(one) for one in self.reliability],
            "fitted_temperature": None if self.fitted is None else asdict(self.fitted),
            "classes": [asdict(one) for one in self.per_class],
            "confusions": [{"class": one, "taken_for": other, "images": count} for one, other, count in wrong],
            "left_out": {"skipped": [one.to_json() for one in self.skipped]},
            "notes": notes_json(self.notes),
            "content": self.content,
            **({"ranks": class_ranks_json(self.ranks, self.classes, self.records, len(self.names))} if ranks else {}),
        }

    def table(self) -> str:
        """A Markdown page: accuracies, calibration, a table of classes, the most frequent confusions."""
        images, records = len(self.classes), int(self.records.max()) + 1
        facts = [
            f"- Model: {cell(self.model)} (fingerprint `{self.model_fingerprint}`)",
            f"- Split: {cell(self.split or 'everything')}",
            f"- {images:,} images of {records:,} records, {len(self.per_class):,} classes among {len(self.names):,} "
            f"labels; templates: {len(self.templates):,}, the first {cell(self.templates[0])!r}",
        ]
        rows = [[f"{name} %", printed(estimate, percent=True)] for name, estimate in self.metrics.items()]
        if self.calibration_error is not None:
            rows.append(["calibration error (ECE) %", f"{100 * self.calibration_error:.1f}"])
        parts = [
            f"# Zero-shot classification: {cell(self.model)} on {cell(self.source)}",
            "\n".join(facts),
            table(["", "value"], rows),
            "top-k is the share of images whose own class is among the first k labels, per-class the mean over the "
            "classes of each one's top-1. Ties count against."
            + (f" In brackets: {LEVEL:.0%} interval, {self.resamples:,} bootstrap resamples of records."
               if self.resamples else "") + _of_calibration(self),
            "## Classes\n\n" + _classes(self),
        ]  # fmt: skip
        if wrong := confusions(self.guesses, self.classes, self.names):
            lines = [f"- {cell(one)} → {cell(other)}: {count:,}" for one, other, count in wrong[:_SHOWN]]
            parts.append("## Taken for\n\n" + "\n".join(lines) + _more(len(wrong), "pairs"))
        if self.skipped:
            named = [f"- {cell(one.name)}: {one.reason.value}" for one in self.skipped[:_SHOWN]]
            parts.append(f"## Left out\n\n{len(self.skipped):,} unusable inputs:\n\n" + "\n".join(named)
                         + _more(len(self.skipped), "inputs"))  # fmt: skip
        if self.notes:
            parts.append("\n".join(map(cell, note_lines(self.notes))))
        return "\n\n".join(parts) + "\n"

    __str__ = table


def measure_zero_shot(
    scorer: LabelScorer,
    source: Source,
    templates: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress = SILENT,
) -> ZeroShotReport:
    """Classify the images of a source whose records have a class. Raises DataError for fewer than two classes."""
    found = embed_labelled(scorer.model, with_labels(source, list(source), scorer.labels), progress=progress)
    source.notes.extend(scorer.model.unfamiliar(found.vectors))
    return zero_shot_report(scorer, found, source, templates, resamples=resamples, seed=seed)


def zero_shot_report(
    scorer: LabelScorer,
    found: LabelledImages,
    source: Source,
    templates: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> ZeroShotReport:
    """The report of images that are embedded already."""
    check_labels(found.classes, len(scorer.labels))
    cosines = scorer.cosines(found.vectors)
    scores = scorer.scores(found.vectors)
    ranks = class_ranks(cosines, found.classes)
    numbers = accuracy_numbers([ranks], found.classes, found.records, len(scorer.names))
    measured = estimates(list(numbers.values()), int(found.records.max()) + 1, resamples, seed)
    stated = scorer.scored_by == "probability"
    right = ranks == 0
    try:
        fitted = calibration_quality(cosines, found.classes, found.records, seed)
    except DataError:  # too few images, or no better than chance
        fitted = None
    return ZeroShotReport(
        names=scorer.names,
        ranks=ranks,
        guesses=predicted(cosines, found.classes),
        classes=found.classes,
        records=found.records,
        metrics=dict(zip(numbers, measured, strict=True)),
        scored_by=scorer.scored_by,
        calibration_error=calibration_error(scores.max(axis=1), right) if stated else None,
        reliability=tuple(reliability(scores.max(axis=1), right)) if stated else (),
        fitted=fitted,
        templates=tuple(templates),
        resamples=resamples,
        seed=seed,
        model=scorer.model.name,
        model_fingerprint=scorer.model.fingerprint,
        source=source.name,
        split=source.options.split,
        content=found.content,
        skipped=(*source.skipped, *found.skipped),
        notes=tuple(source.notes),
    )


def _of_calibration(report: ZeroShotReport) -> str:
    said = ""
    if report.calibration_error is not None:
        said = " Calibration error: how far the first label's probability is from how often it is right, on average."
    elif report.scored_by == "cosine":
        said = " The model keeps no temperature, so its scores are cosines and have no calibration error."
    if report.fitted is None:
        return said
    said += (
        f" A temperature fitted on half of the images gives an error of {100 * report.fitted.error:.1f} % on the other "
        "half."
    )
    if report.fitted.none_auc is None:
        return said
    return (
        f"{said} Images without their own label are told from the others with an AUC of {report.fitted.none_auc:.2f}."
    )


def _classes(report: ZeroShotReport) -> str:
    rows = [
        [cell(one.name), f"{one.images:,}", f"{100 * one.top_1:.1f}", f"{100 * one.top_5:.1f}",
         ", ".join(f"{cell(name)} {count:,}" for name, count in one.taken_for)]
        for one in sorted(report.per_class, key=lambda one: one.top_1)[:_SHOWN]
    ]  # fmt: skip
    made = table(["class, the worst first", "images", "top-1 %", "top-5 %", "taken for"], rows)
    return made + _more(len(report.per_class), "classes")


def _more(count: int, what: str) -> str:
    return f"\n\nand {count - _SHOWN:,} more {what}, all in the JSON report" if count > _SHOWN else ""
