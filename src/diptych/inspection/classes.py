"""Images with a class each: which label a record's class is, and the vectors of all that have one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core import fingerprint
from diptych.core.errors import DataError
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32, Int64
from diptych.core.types import ImageRef, Pair, Skipped
from diptych.data.labels import Label
from diptych.data.readers import Source
from diptych.data.seen import MEASURED
from diptych.evaluation.class_calibration import calibration_quality, fit_classes
from diptych.models import DualEncoder
from diptych.models.embed import embed_images

from .zero_shot import LabelCalibration, LabelScorer

NO_CLASS, NO_LABEL, NO_IMAGES = "without_class", "class_without_label", "label_without_images"  # kinds of notes
_SHOWN = 3


@dataclass(frozen=True)
class LabelledImages:
    """Vectors of images, the number of each one's label, and the record that it is of (numbered from 0).

    `skipped` are the images that could not be read; `content` is the same for the same images and classes, whatever
    the model.
    """

    vectors: Float32[np.ndarray, "n d"]
    classes: Int64[np.ndarray, " n"]
    records: Int64[np.ndarray, " n"]
    images: tuple[ImageRef, ...]
    skipped: tuple[Skipped, ...]
    content: str


def labels_of_classes(source: Source, other: Source | None = None) -> tuple[Label, ...]:
    """A label for each class of a source, and of another one, in order of the names.

    "golden_retriever" is called golden retriever in templates. Raises DataError where there is none.
    """
    pairs = [*source, *(other or ())]
    groups = sorted({pair.group for pair in pairs if pair.group})
    if not groups:
        raise _no_classes(source)
    return tuple(Label(group, (group.replace("_", " ").strip() or group,)) for group in groups)


def with_labels(source: Source, pairs: Sequence[Pair], labels: Sequence[Label]) -> list[tuple[Pair, int]]:
    """The records whose class is one of the labels, each with its number.

    A class is the label of the same name, or of the same name but for case and underscores. Records without a class,
    classes without a label and labels without records are noted. Raises DataError where nothing is left.
    """
    exact = {label.name: number for number, label in enumerate(labels)}
    folded = {_folded(label.name): number for number, label in reversed(list(enumerate(labels)))}
    found, others = [], Counter[str]()
    for pair in pairs:
        if not pair.group:
            continue
        number = exact.get(pair.group, folded.get(_folded(pair.group)))
        if number is None:
            others[pair.group] += 1
        else:
            found.append((pair, number))
    if not found and not others:
        raise _no_classes(source)
    if not found:
        raise DataError(
            f"no class of {source.name} is a label: classes {_listed(list(others))}; labels {_listed(list(exact))}"
        )
    if without := sum(not pair.group for pair in pairs):
        source.notes.add(NO_CLASS, "records without a class, left out", count=without)
    for name, count in others.items():
        source.notes.add(NO_LABEL, "records left out because their class is no label", name, count=count)
    used = {number for _, number in found}
    for number, label in enumerate(labels):
        if number not in used:
            source.notes.add(NO_IMAGES, "labels that no image has, which images can be mistaken for", label.name)
    return found


def embed_labelled(
    model: DualEncoder, pairs: Sequence[tuple[Pair, int]], *, progress: Progress = SILENT
) -> LabelledImages:
    """The vectors of all images of some records, each with its record's label. Raises DataError where none is read."""
    found = embed_images(model, [pair for pair, _ in pairs], progress=progress)
    if not len(found.images):
        raise DataError(f"none of the images could be read; the first: {found.skipped[0].name}")
    numbers = np.array([number for _, number in pairs], dtype=np.int64)[found.places][found.image_owner]
    return LabelledImages(
        found.images,
        numbers,
        found.image_owner,
        found.image_refs,
        found.skipped,
        fingerprint.combined([found.content, *map(str, numbers.tolist())]),
    )


def _no_classes(source: Source) -> DataError:
    return DataError(
        f"{source.name} has no classes; expected a folder of images for each class, or a column named by --group-column"
    )


def calibrate_labels(
    scorer: LabelScorer, source: Source, *, seed: int = 0, progress: Progress = SILENT
) -> LabelCalibration:
    """Probabilities, and what an image of none of the labels looks like, fitted on images with classes.

    Raises DataError for fewer than 20 images or two classes, or where the model tells the labels apart no better than
    chance.
    """
    found = embed_labelled(scorer.model, with_labels(source, list(source), scorer.labels), progress=progress)
    source.skipped = [*source.skipped, *found.skipped]
    scores = scorer.cosines(found.vectors)
    try:
        fitted = fit_classes(scores, found.classes)
        quality = calibration_quality(scores, found.classes, found.records, seed)
    except DataError as error:
        why = "".join(f"; {note.to_text()}" for note in source.notes if note.kind in (MEASURED, NO_CLASS, NO_LABEL))
        raise DataError(f"{error}{why}", error.reason) from error
    model = scorer.model.fingerprint
    return LabelCalibration(fitted, quality, model, len(scorer.labels), scorer.prompts, source.name)


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
