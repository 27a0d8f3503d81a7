"""Retrieval scores of two heads on cached rows: what decides which epoch is the best."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diptych.core.shapes import Float32, Shaped
from diptych.core.types import Role
from diptych.data.features import FeaturePairs, ImageRows
from diptych.evaluation import Embeddings, evaluate_embeddings
from diptych.evaluation.direction import Direction
from diptych.evaluation.judged import QUERY_TO_DOCUMENT, evaluate_judged
from diptych.evaluation.within import IMAGE_TO_IMAGE, TEXT_TO_TEXT, Items, Views, evaluate_within
from diptych.inspection.measure import judged_texts
from diptych.training.batch_order import CLASS, PairShares

QUERY_VIEWS = ("flip", "crop-0", "crop-1")  # of an image, used as queries in image-image retrieval
_CUTS = (1, 5, 10)
_ROWS = 256  # embedded at once

Embed = Callable[[Shaped[np.ndarray, "b n"]], Float32[np.ndarray, "b d"]]  # a tower's rows to embeddings


def retrieval_scores(
    image: Embed,
    text: Embed,
    pairs: FeaturePairs,
    similarity: str = "cosine",
    shares: PairShares = PairShares(),  # noqa: B008 - frozen
    query: Embed | None = None,
) -> dict[str, float]:
    """R@1, R@5 and R@10 in percent of what is trained for, and their sum as "score".

    Across the modalities both ways (i2t, t2i); among texts by the others of their record (t2t), or documents by
    queries where the texts have roles (q2d); of images by other views of them (i2i). Pairs by class: by the others
    of their class. Every image of a record is used. Queries go through `query`, if it is given.

    Raises DataError when texts are to be found by texts and no record has two.
    """
    every = np.arange(len(pairs.image_owner))
    of_record = pairs.classes if shares.by == CLASS else np.arange(pairs.records)
    relevance = "group" if shares.by == CLASS else "pair"
    result: dict[str, float] = {}
    images = texts = np.zeros((0, 0), dtype=np.float32)
    if shares.across or shares.images:
        images = _embed(image, pairs.images[0], every)
    if shares.across or shares.texts:
        texts = _embed(text, pairs.texts, np.arange(len(pairs.texts)))
    if shares.across:
        collection = Embeddings(images, texts, pairs.text_owner, image_owner=pairs.image_owner)
        found = evaluate_embeddings(collection, resamples=0, cuts=_CUTS, similarity=similarity).scores
        result |= _percent("i2t", found.image_to_text) | _percent("t2i", found.text_to_image)
    if query is not None:
        asks = np.array([row for row, text in enumerate(pairs.written) if text.role is Role.QUERY], dtype=np.int64)
        texts[asks] = _embed(query, pairs.texts, asks)
    if shares.are_texts and pairs.related is not None:
        result |= _judged_scores(texts, pairs, shares.relevant_from)
    elif shares.texts:
        items = Items(texts, of_record[pairs.text_owner], pairs.text_owner, TEXT_TO_TEXT, relevance)
        result |= _percent("t2t", evaluate_within(items, cuts=_CUTS, resamples=0).directions[TEXT_TO_TEXT])
    if shares.images and shares.by == CLASS:
        items = Items(images, of_record[pairs.image_owner], pairs.image_owner, IMAGE_TO_IMAGE, relevance)
        result |= _percent("i2i", evaluate_within(items, cuts=_CUTS, resamples=0).directions[IMAGE_TO_IMAGE])
    elif shares.images:
        queries = np.concatenate([_embed(image, view, every) for view in pairs.images[1:]])
        seen = Views(queries, np.tile(every, len(pairs.images) - 1))
        items = Items(images, every, pairs.image_owner, IMAGE_TO_IMAGE, "view", seen)
        result |= _percent("i2i", evaluate_within(items, cuts=_CUTS, resamples=0).directions[IMAGE_TO_IMAGE])
    return {"score": round(sum(result.values()), 2), **result}


def vector_scores(vectors: Float32[np.ndarray, "r d"], text: Embed, pairs: FeaturePairs) -> dict[str, float]:
    """How texts find the vector of their record (t2o) among those given for all records, as `retrieval_scores` does."""
    texts = _embed(text, pairs.texts, np.arange(len(pairs.texts)))
    found = evaluate_embeddings(Embeddings(vectors, texts, pairs.text_owner), resamples=0, cuts=_CUTS)
    result = _percent("t2o", found.scores.text_to_image)
    return {"score": round(sum(result.values()), 2), **result}


def _judged_scores(texts: Float32[np.ndarray, "m d"], pairs: FeaturePairs, relevant_from: float) -> dict[str, float]:
    """Queries find their related documents among all documents of the records (q2d); Spearman's rho of grades."""
    judged = judged_texts(pairs.written, pairs.text_owner, texts)
    found = evaluate_judged(judged, relevant_from=relevant_from, cuts=_CUTS, resamples=0)
    rho = found.correlations.get("spearman")
    return _percent("q2d", found.directions[QUERY_TO_DOCUMENT]) | ({"spearman": round(rho.value, 2)} if rho else {})


def _percent(name: str, direction: Direction) -> dict[str, float]:
    return {f"{name} R@{cut}": round(100 * direction.metrics[f"R@{cut}"].value, 2) for cut in _CUTS}


def _embed(side: Embed, rows: ImageRows, which: np.ndarray) -> Float32[np.ndarray, "n d"]:
    return np.concatenate([side(rows[which[start : start + _ROWS]]) for start in range(0, len(which), _ROWS)])
