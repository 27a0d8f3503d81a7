"""Classification by words: `classify` images, fit a calibration, measure on labelled images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diptych.core import fingerprint
from diptych.core.checks import PATH, of_type, whole
from diptych.core.errors import ConfigError, DataError
from diptych.core.notes import Notes
from diptych.core.protocols import SILENT, Progress
from diptych.core.types import Skipped
from diptych.data.image_inputs import ImageInput
from diptych.data.labels import Label, LabelInput, labels_of, read_labels
from diptych.data.readers import SourceOptions
from diptych.data.templates import DEFAULT, templates_of
from diptych.inspection.classes import labels_of_classes
from diptych.inspection.zero_shot import (
    ALONE,
    Classification,
    LabelCalibration,
    LabelScorer,
    classify_images,
    label_vectors,
    read_calibration,
)
from diptych.inspection.zero_shot_report import ZeroShotReport, measure_zero_shot
from diptych.models import DualEncoder

from .measuring import as_encoder, open_untrained
from .reading import ANY_SOURCE, AnySource

FITTED, OTHERS = "calibrated_here", "calibrated_for_others"  # kinds of notes


def classify(
    model: DualEncoder | str | Path,
    images: ImageInput | Sequence[ImageInput],
    labels: LabelInput | str | Path,
    *,
    templates: str | Path | Sequence[str] = DEFAULT,
    top: int = 5,
    least: float | None = None,
    calibration: LabelCalibration | str | Path | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Classification:
    """Give each image the nearest of some labels, by words alone.

        for found in diptych.classify("base", ["a.jpg", "b.jpg"], ["dog", "cat", "bicycle"]):
            print(found.image, found.label, found.scores)

    Args:
        model: a model, its name, folder or address.
        images: paths, PIL images, encoded bytes, arrays or image references.
        labels: words, a mapping of labels to their names, or a file of them (`diptych.data.labels`).
        templates: "plain", "photo" or "clip", a file of sentences with {}, or a list of them.
        top: labels of each image in the result.
        least: the first score below which an image has none of the labels.
        calibration: that `diptych classify --calibrate` wrote for this model, or its file.
        device: where a model that is given by name or folder runs, as in `diptych.load`.
        progress: told about prompts and images.

    Images that cannot be read are named in the result's `skipped`. Scores are cosines for a model that keeps no
    temperature, unless a calibration is given. Raises DataError for no labels, or where no image can be read.
    """
    several: list[Any] = list(images) if isinstance(images, list | tuple) else [images]
    notes, skipped = Notes(), list[Skipped]()
    scorer = label_scorer(
        model, labels, templates, calibration=calibration, device=device, notes=notes, progress=progress
    )
    if whole("top", top) < 1:
        raise ConfigError(f"top must be at least 1, found {top}")
    if least is not None and not math.isfinite(least):
        raise ConfigError(f"least must be a number, found {least}")
    rows = classify_images(
        scorer, several, top=top, least=least, skipped=skipped, total=len(several), progress=progress
    )
    found = tuple(rows)
    if several and not found:
        raise skipped[0].error()
    return Classification(found, scorer.names, scorer.scored_by, scorer.model.name, tuple(skipped), notes)


def evaluate_zero_shot(
    model: DualEncoder | str | Path,
    source: AnySource,
    labels: LabelInput | str | Path | None = None,
    *,
    templates: str | Path | Sequence[str] = DEFAULT,
    calibration: LabelCalibration | str | Path | None = None,
    split: str | None = None,
    options: SourceOptions = ANY_SOURCE,
    resamples: int = 1000,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = SILENT,
) -> ZeroShotReport:
    """Measure classification by words on images whose classes are known.

        report = diptych.evaluate_zero_shot("base", "classes/")  # a folder for each class
        report.metrics["top-1"].value, report.per_class, print(report)

    Args:
        model: a model, its name, folder or address.
        source: records with a class (`Pair.group`).
        labels: as of `classify`, called like the classes; by default the classes themselves.
        templates: as of `classify`.
        calibration: as of `classify`.
        split: of the source. Without one, the records that the model's training held out, where it names them.
        options: how to read a source that is a path.
        resamples: of the bootstrap behind the intervals; 0 for none.
        seed: of the bootstrap.
        device: where a model that is given by name or folder runs.
        progress: told about prompts and images.

    Raises DataError for a source without classes, or with images of one alone.
    """
    encoder = as_encoder(model, device)
    opened = open_untrained([encoder], source, split=split, options=options, progress=progress)
    kept = _calibration(calibration, encoder)
    if kept is not None and kept.source == opened.name:
        opened.notes.add(FITTED, "calibration fitted on a source of this name, so its error here may be too small")
    scorer = label_scorer(
        encoder,
        labels_of_classes(opened) if labels is None else labels,
        templates,
        calibration=kept,
        encoding=options.encoding,
        notes=opened.notes,
        progress=progress,
    )
    sentences = templates_of(templates, options.encoding)
    return measure_zero_shot(scorer, opened, sentences, resamples=resamples, seed=seed, progress=progress)


def label_scorer(
    model: DualEncoder | str | Path,
    labels: LabelInput | Sequence[Label] | str | Path,
    templates: str | Path | Sequence[str] = DEFAULT,
    *,
    calibration: LabelCalibration | str | Path | None = None,
    encoding: str | None = None,
    device: str = "auto",
    notes: Notes,
    progress: Progress = SILENT,
) -> LabelScorer:
    """A model with labels as vectors; what was cut, joined or cannot be told apart is noted."""
    encoder, sentences = as_encoder(model, device), templates_of(templates, encoding)
    chosen = as_labels(labels, notes, encoding)
    kept = _calibration(calibration, encoder)
    vectors = label_vectors(encoder, chosen, sentences, notes=notes, progress=progress)
    prompts = fingerprint.of_json([label.texts(sentences) for label in chosen])
    scorer = LabelScorer(encoder, chosen, vectors, None if kept is None else kept.fitted, prompts)
    if kept is not None and kept.prompts != prompts:
        notes.add(OTHERS, "calibration fitted with other labels or templates; what it says of none of these may be off")
    if (
        len(chosen) == 1
        and scorer.scored_by == "cosine"
        and (kept is not None or encoder.config.logit_scale is not None)
    ):
        notes.add(ALONE, "a label alone would always have the probability 1, so scores are cosines")
    return scorer


def _calibration(calibration: LabelCalibration | str | Path | None, encoder: DualEncoder) -> LabelCalibration | None:
    """A calibration as it is, or the one in a file. Raises as `read_calibration`."""
    if isinstance(calibration, str | Path):
        return read_calibration(Path(calibration).expanduser(), encoder)
    return calibration


def as_labels(
    labels: LabelInput | Sequence[Label] | str | Path, notes: Notes, encoding: str | None = None
) -> tuple[Label, ...]:
    """Labels from a file, words with commas between them, a list, or a mapping."""
    if not isinstance(labels, PATH):
        return labels_of(labels, notes)
    text = str(of_type(labels, PATH, "labels, or a file of them"))
    path = Path(labels).expanduser()
    if "," in text and not path.exists():
        return labels_of([word.strip() for word in text.split(",") if word.strip()], notes)
    if not path.is_file():
        raise DataError(
            f"no file of labels {text!r}; expected a text, JSON or CSV file, or words such as dog,cat,horse"
        )
    return read_labels(path, notes, encoding)
