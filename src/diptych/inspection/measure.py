"""From a model and a source of pairs to an evaluation report, for every modality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from diptych import evaluation
from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.notes import Note
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32, Int64
from diptych.core.types import ImageRef, Pair
from diptych.data.readers import Source
from diptych.data.repeats import Contents, note_shared
from diptych.models import DualEncoder, as_model, require_cosine
from diptych.models.embed import EmbeddedImages, EmbeddedPairs, embed_images, embed_pairs

Modality = Literal["image-text", "text-text", "image-image"]
Relevance = Literal["pair", "group"]


@dataclass(frozen=True)
class Task:
    """What is measured. `views` are the queries of image-image retrieval by pair."""

    modality: Modality = "image-text"
    protocol: str = "full"
    relevance: Relevance = "pair"
    languages: tuple[str, ...] = ()
    views: tuple[str, ...] = ("flip", "crop-0", "crop-1")
    cuts: tuple[int, ...] = evaluation.CUTS
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        evaluation.parse_protocol(self.protocol)
        if self.modality == "image-image" and self.languages:
            raise ConfigError("image-image retrieval has no texts, so languages cannot be chosen; leave them out")
        if self.modality == "image-image" and self.relevance == "pair" and not self.views:
            raise ConfigError("image-image retrieval by pair needs views to ask with, such as flip and crop-0")

    @property
    def rules(self) -> dict[str, Any]:
        """How retrieval is measured, as `evaluate_embeddings` and `evaluate_within` take it."""
        protocol = evaluation.parse_protocol(self.protocol)
        return {"protocol": protocol, "cuts": self.cuts, "resamples": self.resamples, "seed": self.seed}


@dataclass(frozen=True)
class DirectionVectors:
    """One direction as vectors, for whoever wants to show what is found.

    Query i is item `query_item[i]` of the `query_kind` ("image" or "text"), and `query_view[i]` of it;
    where query and gallery are of one kind, a query is left out of its own ranking unless it is a view.
    """

    query_kind: str
    gallery_kind: str
    queries: Float32[np.ndarray, "q d"]
    gallery: Float32[np.ndarray, "m d"]
    query_item: Int64[np.ndarray, " q"]
    query_labels: Int64[np.ndarray, " q"]
    gallery_labels: Int64[np.ndarray, " m"]
    view_names: tuple[str, ...] = ()  # views of one query after the other, each of every image in turn


@dataclass(frozen=True)
class Measured:
    """The report, the directions' vectors by name, and the images and texts that they are of."""

    report: evaluation.Report
    sides: dict[str, DirectionVectors]
    images: tuple[ImageRef, ...]
    texts: tuple[str, ...]


def measure(encoder: DualEncoder | str | Path, source: Source, task: Task, *, progress: Progress = SILENT) -> Measured:
    """Embed the source with a model, or the one that a name or folder stands for, and evaluate.

    Raises DataError where there is nothing to measure."""
    encoder = as_model(encoder)
    pairs = list(source)
    if task.modality != "image-image" and not any(pair.texts for pair in pairs):
        raise DataError(source.no_texts(), Reason.EMPTY_TEXT)
    ways = {"image-text": _across, "text-text": _texts, "image-image": _images}
    return ways[task.modality](encoder, source, pairs, task, progress)


def _cut(encoder: DualEncoder, texts: Sequence[str], source: Source) -> list[Note]:
    """A note on texts that this model reads in part; only one where several models have the same name."""
    known = {note.detail for note in source.notes}
    return [note for note in encoder.cut_texts(texts, f"texts for {encoder.name}") if note.detail not in known]


def _across(encoder: DualEncoder, source: Source, pairs: Sequence[Pair], task: Task, progress: Progress) -> Measured:
    vectors = embed_pairs(encoder, pairs, languages=task.languages, progress=progress)
    groups = evaluation.group_labels(vectors.groups) if task.relevance == "group" else None
    collection = evaluation.Embeddings(
        vectors.images, vectors.texts, vectors.owner, vectors.languages, groups, vectors.image_owner
    )
    source.notes.extend([*encoder.unfamiliar(vectors.images), *_cut(encoder, vectors.values, source)])
    labels = collection.labels
    of_image, of_text = labels[vectors.image_owner], labels[vectors.owner]
    names = [image.name for image in vectors.image_refs]
    note_shared(source.notes, Contents(vectors.keys, of_image.tolist(), names, vectors.values, of_text.tolist()))
    found = evaluation.evaluate_embeddings(
        collection,
        **task.rules,
        made_for=encoder.languages,
        similarity=encoder.compares_by,
        progress=progress,
    )
    report = _report(found, encoder, source, task, vectors)
    images, texts = np.arange(len(vectors.images)), np.arange(len(vectors.texts))
    sides = {
        "image_to_text": DirectionVectors("image", "text", vectors.images, vectors.texts, images, of_image, of_text),
        "text_to_image": DirectionVectors("text", "image", vectors.texts, vectors.images, texts, of_text, of_image),
    }
    return Measured(report, sides, vectors.image_refs, vectors.values)


def _texts(encoder: DualEncoder, source: Source, pairs: Sequence[Pair], task: Task, progress: Progress) -> Measured:
    require_cosine(encoder, "retrieval among texts")
    vectors = embed_pairs(encoder, pairs, languages=task.languages, progress=progress)
    source.notes.extend(_cut(encoder, vectors.values, source))
    labels = vectors.owner
    if task.relevance == "group":
        labels = evaluation.group_labels(vectors.groups)[vectors.owner]
    note_shared(source.notes, Contents((), (), (), vectors.values, labels.tolist()))
    items = evaluation.Items(vectors.texts, labels, vectors.owner, evaluation.TEXT_TO_TEXT, task.relevance)
    found = evaluation.evaluate_within(items, **task.rules, progress=progress)
    report = _report(found, encoder, source, task, vectors)
    every = np.arange(len(vectors.texts))
    side = DirectionVectors("text", "text", vectors.texts, vectors.texts, every, labels, labels)
    return Measured(report, {evaluation.TEXT_TO_TEXT: side}, vectors.image_refs, vectors.values)


def _images(encoder: DualEncoder, source: Source, pairs: Sequence[Pair], task: Task, progress: Progress) -> Measured:
    require_cosine(encoder, "retrieval among images")
    by_view = task.relevance == "pair"
    found = embed_images(encoder, pairs, task.views if by_view else (), progress=progress)
    source.notes.extend(encoder.unfamiliar(found.images))
    every = np.arange(len(found.images))
    labels = every if by_view else evaluation.group_labels(found.groups)[found.image_owner]
    note_shared(source.notes, Contents(found.keys, labels.tolist(), [one.name for one in found.image_refs], (), ()))
    of = np.tile(every, len(found.views))
    queries = found.views.reshape(-1, encoder.dim) if by_view else found.images
    views = evaluation.Views(queries, of) if by_view else None
    items = evaluation.Items(
        found.images, labels, found.image_owner, evaluation.IMAGE_TO_IMAGE, "view" if by_view else "group", views
    )
    measured = evaluation.evaluate_within(items, **task.rules, progress=progress)
    report = _report(measured, encoder, source, task, found)
    item = of if by_view else every
    side = DirectionVectors(
        "image", "image", queries, found.images, item, labels[item], labels, task.views if by_view else ()
    )
    return Measured(report, {evaluation.IMAGE_TO_IMAGE: side}, found.image_refs, ())


def _report(
    found: evaluation.Evaluation | evaluation.WithinEvaluation,
    encoder: DualEncoder,
    source: Source,
    task: Task,
    vectors: EmbeddedPairs | EmbeddedImages,
) -> evaluation.Report:
    return evaluation.Report(
        found,
        model=encoder.name,
        model_fingerprint=encoder.fingerprint,
        source=source.name,
        split=source.options.split,
        languages_asked=task.languages,
        skipped=(*source.skipped, *vectors.skipped),
        skipped_texts=vectors.skipped_texts if isinstance(vectors, EmbeddedPairs) else 0,
        pairs_without_texts=vectors.without_texts if isinstance(vectors, EmbeddedPairs) else 0,
        content=vectors.content,
        notes=tuple(source.notes),
    )
