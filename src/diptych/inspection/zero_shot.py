"""Classification by words: each label becomes a vector by the texts that stand for it, an image gets the nearest.

A label's vector is the mean of its texts' unit vectors, brought to unit length (Radford et al. 2021, section 3.1.4;
arXiv 2103.00020). Scores are probabilities where the model keeps its temperature or a calibration is given; otherwise
they are cosines.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from diptych.core.batched import batched
from diptych.core.cosine import normalise
from diptych.core.errors import DataError, ModelError, opening
from diptych.core.files import write_json
from diptych.core.notes import Notes
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float, Float32, Float64
from diptych.core.similarity import cosine
from diptych.core.types import Skipped
from diptych.data.image_inputs import ImageInput
from diptych.data.images import name_of, stream
from diptych.data.labels import Label
from diptych.evaluation.class_calibration import CalibrationQuality, ClassCalibration
from diptych.models import DualEncoder, require_cosine

ScoredBy = Literal["probability", "cosine"]
NONE = "none of these"
CUT, ALONE = "cut_text", "one_label"  # kinds of notes
_TEXTS = 1024  # embedded at a time
_FORMAT = "diptych-classes"


def label_vectors(
    model: DualEncoder,
    labels: Sequence[Label],
    templates: Sequence[str],
    *,
    notes: Notes | None = None,
    progress: Progress = SILENT,
) -> Float32[np.ndarray, "c d"]:
    """A unit vector for each label: the mean of its texts' unit vectors, brought to unit length.

    Texts beyond the model's context are cut, which is noted. Raises ConfigError for a model that does not compare by
    the cosine.
    """
    require_cosine(model, "classification by words")
    if notes is not None:
        _note_cut(model, labels, templates, notes)
    sums = np.zeros((len(labels), model.dim), dtype=np.float64)
    texts = ((number, text) for number, label in enumerate(labels) for text in label.texts(templates))
    total = -(-sum(len(label.texts(templates)) for label in labels) // _TEXTS)
    for chunk in progress.track(batched(texts, _TEXTS), "batches of prompts", total):
        np.add.at(sums, [number for number, _ in chunk], model.encode_texts([text for _, text in chunk]))
    return normalise(sums)


def _note_cut(model: DualEncoder, labels: Sequence[Label], templates: Sequence[str], notes: Notes) -> None:
    """Note labels whose longest text is beyond the model's context."""
    most = model.text_tower.max_tokens
    if most is None:
        return
    longest = [max(label.texts(templates), key=len) for label in labels]
    counts = model.text_tower.count_tokens(longest)
    for label, count in zip(labels, counts, strict=True):
        if count > most:
            notes.add(CUT, f"labels of which the model reads no more than {most} tokens", f"{label.name[:40]}...")


@dataclass(frozen=True)
class LabelCalibration:
    """A calibration and what it was fitted with; saved as JSON, so that later calls take it."""

    fitted: ClassCalibration
    quality: CalibrationQuality
    model: str  # fingerprint
    labels: int
    prompts: str  # fingerprint of the labels' texts
    source: str

    def write(self, path: Path) -> None:
        """Keep it in a file."""
        write_json(path, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        about = {"model": self.model, "labels": self.labels, "prompts": self.prompts, "source": self.source}
        return {"format": _FORMAT, "version": 1, **about, **self.fitted.to_json(), "held_out": asdict(self.quality)}

    def to_text(self) -> str:
        """What was fitted, and how right it is, in a line."""
        quality = self.quality
        said = (
            f"temperature {1 / self.fitted.scale:.4f}, fitted on {quality.images:,} images of {self.source}; on images "
            f"that it was not fitted on: calibration error {100 * quality.error:.1f} %"
        )
        if quality.none_auc is None or quality.none_found is None or quality.none_wrong is None:
            return said
        return (
            f"{said}; {NONE}: {100 * quality.none_found:.0f} % of those found, {100 * quality.none_wrong:.0f} % of the "
            f"others called so, AUC {quality.none_auc:.3f}"
        )


def read_calibration(path: Path, model: DualEncoder) -> LabelCalibration:
    """A calibration from its file. Raises DataError for another file, ModelError for one of another model."""
    with opening(path):
        text = path.read_bytes()
    try:
        values = json.loads(text)
        if values["format"] != _FORMAT:
            raise ValueError("another format")
        found = LabelCalibration(
            ClassCalibration.from_json(values),
            CalibrationQuality(**values["held_out"]),
            str(values["model"]),
            int(values["labels"]),
            str(values["prompts"]),
            str(values["source"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no calibration; expected the JSON file that diptych classify --calibrate wrote "
                        "by --calibration") from error  # fmt: skip
    if found.model != model.fingerprint:
        raise ModelError(
            f"the calibration {path} was fitted with the model of fingerprint {found.model[:8]}, {model.name} has "
            f"{model.fingerprint[:8]}; fit it again with --calibrate SOURCE"
        )
    return found


def scored_by(model: object, labels: int) -> ScoredBy:
    """What a model's scores of so many labels are by itself; cosines for a model that is no `DualEncoder`."""
    if not isinstance(model, DualEncoder) or model.config.logit_scale is None:
        return "cosine"
    is_each_own = model.config.logit_bias is not None  # SigLIP: the probability of a pair stands for itself
    return "probability" if labels > 1 or is_each_own else "cosine"


class LabelScorer:
    """A model with labels as vectors: from image vectors to scores.

    `scored_by` says what scores are: a probability by the calibration's temperature or else the model's own, a cosine
    where there is neither, and for one label alone, whose share among all would always be 1.
    """

    def __init__(
        self,
        model: DualEncoder,
        labels: Sequence[Label],
        vectors: Float32[np.ndarray, "c d"],
        calibration: ClassCalibration | None = None,
        prompts: str = "",
    ) -> None:
        """`prompts` is a fingerprint of the texts that the labels' vectors were made of."""
        self.model, self.labels, self.vectors, self.calibration = model, tuple(labels), vectors, calibration
        self.prompts = prompts
        self.names = tuple(label.name for label in labels)
        by_calibration: ScoredBy = "probability" if len(labels) > 1 else "cosine"
        self.scored_by = scored_by(model, len(labels)) if calibration is None else by_calibration

    def calibrated(self, calibration: ClassCalibration) -> LabelScorer:
        """The same with a calibration."""
        return LabelScorer(self.model, self.labels, self.vectors, calibration, self.prompts)

    def cosines(self, images: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n c"]:
        """The cosine of each image with each label."""
        found: Float32[np.ndarray, "n c"] = cosine(normalise(images), normalise(self.vectors))
        return found

    def scores(self, images: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        """What `scored_by` says of each image with each label; higher is nearer."""
        if self.scored_by == "cosine":
            return self.cosines(images)
        if self.calibration is not None:
            return self.calibration.probabilities(self.cosines(images))
        return self.model.probability(images, self.vectors)

    def none(self, images: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"] | None:
        """How likely it is that none of the labels fits; None without a calibration that says so."""
        return None if self.calibration is None else self.calibration.none(self.cosines(images))


@dataclass(frozen=True)
class ImageLabels:
    """The labels of one image, the nearest first, each with its score.

    `none` is how likely it is that none of the labels fits, where a calibration says so; `label` is None where that is
    one half or more or, with a threshold, where the first score is below it.
    """

    image: str
    label: str | None
    scores: tuple[tuple[str, float], ...]
    none: float | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        found: dict[str, Any] = {"image": self.image, "label": self.label}
        found["scores"] = [{"label": label, "score": round(score, 6)} for label, score in self.scores]
        return found if self.none is None else {**found, "none": round(self.none, 6)}

    def to_text(self) -> str:
        """A line, such as "a.jpg: dog 0.912, cat 0.061"."""
        said = ", ".join(f"{label} {score:.3f}" for label, score in self.scores)
        return f"{self.image}: {said}" if self.label is not None else f"{self.image}: {NONE} ({said})"


@dataclass(frozen=True)
class Classification:
    """Images with their labels, and what was left out."""

    images: tuple[ImageLabels, ...]
    labels: tuple[str, ...]
    scored_by: ScoredBy
    model: str
    skipped: tuple[Skipped, ...] = ()
    notes: Notes = field(default_factory=Notes)

    def __iter__(self) -> Iterator[ImageLabels]:
        """The images."""
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "model": self.model,
            "scored_by": self.scored_by,
            "labels": len(self.labels),
            "images": [one.to_json() for one in self.images],
            "skipped": [one.to_json() for one in self.skipped],
        }


def classify_images(
    scorer: LabelScorer,
    images: Iterable[ImageInput],
    *,
    top: int = 5,
    least: float | None = None,
    skipped: list[Skipped],
    total: int | None = None,
    batch_size: int = 32,
    progress: Progress = SILENT,
) -> Iterator[ImageLabels]:
    """The labels of each image that can be read; the others land in `skipped`.

    Args:
        scorer: the model and the labels.
        images: read one batch after the other, so there may be any number.
        top: how many labels of each.
        least: the first score below which an image has none of the labels; by default the calibration says so.
        skipped: where unreadable images are added.
        total: how many images there are, for the progress.
        batch_size: images at a time.
        progress: told about the batches.
    """
    names: list[str] = []

    def named() -> Iterator[ImageInput]:
        for image in images:
            names.append(name_of(image))
            yield image

    batches = stream(named(), scorer.model.preprocess, batch_size=batch_size)
    steps = None if total is None else -(-total // batch_size)
    for batch in progress.track(batches, "batches of images", steps):
        skipped += [problem for _, problem in batch.skipped]
        if batch.indices:
            vectors = scorer.model.encode_pixels(batch.pixels)
            yield from rank_labels(scorer, vectors, [names[place] for place in batch.indices], top=top, least=least)


def rank_labels(
    scorer: LabelScorer,
    vectors: Float32[np.ndarray, "n d"],
    names: Sequence[str],
    *,
    top: int = 5,
    least: float | None = None,
) -> Iterator[ImageLabels]:
    """The `top` labels of each image vector; of equal scores the label that was named first."""
    scores, none = scorer.scores(vectors), scorer.none(vectors)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    for row, name in enumerate(names):
        best = tuple((scorer.names[place], float(scores[row, place])) for place in order[row])
        unlikely = None if none is None else float(none[row])
        is_none = best[0][1] < least if least is not None else unlikely is not None and unlikely >= 0.5
        yield ImageLabels(name, None if is_none else best[0][0], best, unlikely)
