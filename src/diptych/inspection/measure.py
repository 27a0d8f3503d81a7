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
from diptych.core.types import ImageRef, Pair, Role, Text
from diptych.data.readers import Source
from diptych.data.repeats import Contents, note_shared
from diptych.models import DualEncoder, as_model, require_cosine
from diptych.models.embed import EmbeddedImages, EmbeddedPairs, EmbeddedTexts, embed_images, embed_pairs, embed_texts

from .text_reranking import TextReranker

FITTED, FEW = "reranker_fitted_on", "few_records"  # kinds of notes
FEWEST = 20  # records: of fewer, guessing alone finds more than half among the first ten
Modality = Literal["image-text", "text-text", "image-image"]
Relevance = Literal["pair", "group"]


@dataclass(frozen=True)
class Task:
    """What is measured. `views` are the queries of image-image retrieval by pair.

    Sources of texts only are measured by text-text, whatever the modality.
    """

    modality: Modality = "image-text"
    protocol: str = "full"
    relevance: Relevance = "pair"
    languages: tuple[str, ...] = ()
    views: tuple[str, ...] = ("flip", "crop-0", "crop-1")
    cuts: tuple[int, ...] = evaluation.CUTS
    resamples: int = 1000
    seed: int = 0
    relevant_from: float = 0.0  # the smallest label of a document that counts as relevant; 0: all above 0

    def __post_init__(self) -> None:
        evaluation.parse_protocol(self.protocol)
        if self.modality == "image-image" and self.languages:
            raise ConfigError("image-image retrieval has no texts, so languages cannot be chosen; leave them out")
        if self.modality == "image-image" and self.relevance == "pair" and not self.views:
            raise ConfigError("image-image retrieval by pair needs views to ask with, such as flip and crop-0")
        if not (self.relevant_from >= 0 and np.isfinite(self.relevant_from)):
            raise ConfigError(f"relevant_from is a label of 0 or more, found {self.relevant_from}")

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


def measure(
    encoder: DualEncoder | str | Path,
    source: Source,
    task: Task,
    *,
    reranker: TextReranker | None = None,
    progress: Progress = SILENT,
) -> Measured:
    """Embed the source with a model, or the one that a name or folder stands for, and evaluate.

    With a `reranker`, texts that are found by texts are put in its order. Raises DataError where there is nothing to
    measure, ConfigError for a re-ranker where images are ranked."""
    encoder = as_model(encoder)
    pairs = list(source)
    if task.modality != "image-image" and not any(pair.texts for pair in pairs):
        raise DataError(source.no_texts(), Reason.EMPTY_TEXT)
    has_images, has_sides = (any(having) for having in (map(_images_of, pairs), map(_documents_of, pairs)))
    if not has_images and pairs and task.modality == "image-image":
        raise DataError(f"{source.name} has no images: measure retrieval among its texts", Reason.NO_IMAGE)
    if task.relevant_from and (has_images or not has_sides):
        raise ConfigError(f"{source.name} has no documents with labels, so relevance cannot go by them")
    if reranker is not None and (fitted := reranker.fitted(pairs)):
        source.notes.add(FITTED, "records that the re-ranker was fitted on", count=fitted)
    if not has_images or task.modality == "text-text":
        judged = has_sides and not has_images
        return (_judged if judged else _texts)(encoder, source, pairs, task, reranker, progress)
    if reranker is not None:
        raise ConfigError(
            f"{reranker.cross_encoder.name} re-ranks texts that are found by texts; set --modality text-text, or leave "
            "it out"
        )
    return (_across if task.modality == "image-text" else _images)(encoder, source, pairs, task, progress)


def _cut(encoder: DualEncoder, texts: Sequence[str], source: Source) -> list[Note]:
    """A note on texts that this model reads in part; only one where several models have the same name."""
    known = {note.detail for note in source.notes}
    return [note for note in encoder.cut_texts(texts, f"texts for {encoder.name}") if note.detail not in known]


def _across(encoder: DualEncoder, source: Source, pairs: Sequence[Pair], task: Task, progress: Progress) -> Measured:
    vectors = embed_pairs(encoder, pairs, languages=task.languages, progress=progress)
    if not len(vectors.texts) and vectors.skipped:
        raise DataError(
            f"{source.name} has no text of an image that {encoder.name} can read; the first that was left out: "
            f"{vectors.skipped[0].detail or vectors.skipped[0].name}",
            vectors.skipped[0].reason,
        )
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


def _texts(
    encoder: DualEncoder,
    source: Source,
    pairs: Sequence[Pair],
    task: Task,
    reranker: TextReranker | None,
    progress: Progress,
) -> Measured:
    require_cosine(encoder, "retrieval among texts")
    embed = embed_pairs if encoder.has_images and any(pair.images for pair in pairs) else embed_texts
    vectors: EmbeddedPairs | EmbeddedTexts = embed(encoder, pairs, languages=task.languages, progress=progress)
    source.notes.extend(_cut(encoder, vectors.values, source))
    labels = vectors.owner
    if task.relevance == "group":
        labels = evaluation.group_labels(vectors.groups)[vectors.owner]
    note_shared(source.notes, Contents((), (), (), vectors.values, labels.tolist()))
    items = evaluation.Items(vectors.texts, labels, vectors.owner, evaluation.TEXT_TO_TEXT, task.relevance)
    rescoring = reranker.rescoring(vectors.values, vectors.values, progress) if reranker else None
    found = evaluation.evaluate_within(items, **task.rules, rescoring=rescoring, progress=progress)
    report = _report(found, encoder, source, task, vectors, reranker)
    every = np.arange(len(vectors.texts))
    side = DirectionVectors("text", "text", vectors.texts, vectors.texts, every, labels, labels)
    images = vectors.image_refs if isinstance(vectors, EmbeddedPairs) else ()
    return Measured(report, {evaluation.TEXT_TO_TEXT: side}, images, vectors.values)


def _judged(
    encoder: DualEncoder,
    source: Source,
    pairs: Sequence[Pair],
    task: Task,
    reranker: TextReranker | None,
    progress: Progress,
) -> Measured:
    if task.relevance == "group":
        raise ConfigError(f"{source.name} says by itself which documents are relevant; leave out relevance by group")
    require_cosine(encoder, "retrieval among texts")
    vectors = embed_texts(encoder, pairs, languages=task.languages, progress=progress)
    source.notes.extend(_cut(encoder, tuple(dict.fromkeys(vectors.values)), source))
    judged, values = judged_texts(vectors.written, vectors.owner, vectors.texts), vectors.values
    queries, documents = (
        [values[place] for place in places] for places in (judged.query_places, judged.document_places)
    )
    found = evaluation.evaluate_judged(
        judged,
        **task.rules,
        relevant_from=task.relevant_from,
        rescoring=reranker.rescoring(queries, documents, progress) if reranker else None,
        progress=progress,
    )
    return Measured(_report(found, encoder, source, task, vectors, reranker), {}, (), values)


def judged_texts(
    written: Sequence[Text], owner: Int64[np.ndarray, " m"], vectors: Float32[np.ndarray, "m d"]
) -> evaluation.JudgedTexts:
    """Queries, different documents, and the judgements of each record: every query of it with every document."""
    queries: list[int] = []  # places of the texts
    documents: list[int] = []
    number_of: dict[tuple[bool, str], int] = {}
    of_record: dict[int, tuple[list[int], dict[int, Text]]] = {}
    for place, (text, record) in enumerate(zip(written, owner.tolist(), strict=True)):
        asked, judged = of_record.setdefault(record, ([], {}))
        if text.role is Role.QUERY:
            asked.append(len(queries))
            queries.append(place)
        elif text.role is Role.DOCUMENT:
            number = number_of.setdefault(text.item_key, len(documents))
            if number == len(documents):
                documents.append(place)
            judged[number] = text
    judgements = [
        (query, number, text.relevance, text.label is not None)
        for asked, judged in of_record.values()
        for query in asked
        for number, text in judged.items()
    ]
    columns = list(zip(*judgements, strict=True)) if judgements else [(), (), (), ()]
    return evaluation.JudgedTexts(
        queries=vectors[queries],
        documents=vectors[documents],
        units=owner[queries],
        query_of=np.array(columns[0], dtype=np.int64),
        document_of=np.array(columns[1], dtype=np.int64),
        labels=np.array(columns[2], dtype=np.float64),
        is_labelled=np.array(columns[3], dtype=np.bool_),
        query_places=np.array(queries, dtype=np.int64),
        document_places=np.array(documents, dtype=np.int64),
    )


def _images_of(pair: Pair) -> bool:
    return bool(pair.images)


def _documents_of(pair: Pair) -> bool:
    return bool(pair.documents)


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
    found: evaluation.Evaluation | evaluation.WithinEvaluation | evaluation.JudgedEvaluation,
    encoder: DualEncoder,
    source: Source,
    task: Task,
    vectors: EmbeddedPairs | EmbeddedTexts | EmbeddedImages,
    reranker: TextReranker | None = None,
) -> evaluation.Report:
    _note_few(found, source)
    return evaluation.Report(
        found,
        model=encoder.name if reranker is None else f"{encoder.name}, {reranker.to_text()}",
        model_fingerprint=encoder.fingerprint if reranker is None else reranker.fingerprint(encoder.fingerprint),
        source=source.name,
        split=source.options.split,
        languages_asked=task.languages,
        skipped=(*source.skipped, *vectors.skipped),
        skipped_texts=vectors.skipped_texts if isinstance(vectors, EmbeddedPairs | EmbeddedTexts) else 0,
        pairs_without_texts=vectors.without_texts if isinstance(vectors, EmbeddedPairs | EmbeddedTexts) else 0,
        content=vectors.content,
        notes=tuple(source.notes),
    )


def _note_few(
    found: evaluation.Evaluation | evaluation.WithinEvaluation | evaluation.JudgedEvaluation, source: Source
) -> None:
    """Note, once a source, that so few records say little of a model."""
    is_judged = isinstance(found, evaluation.JudgedEvaluation)  # whose gallery holds the documents of other splits too
    if is_judged or found.records >= FEWEST or any(note.kind == FEW for note in source.notes):
        return
    chance = min(1.0, 10 / max(1, found.records))
    detail = f"too few records to judge by, guessing alone gives an R@10 of {chance:.0%} (take hundreds); measured"
    source.notes.add(FEW, detail, count=found.records)
