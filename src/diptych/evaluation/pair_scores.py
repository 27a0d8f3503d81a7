"""How well given pairs match: their cosine, set against what else the image and the text are close to.

Some images and some texts are near to everything (hubs), so a plain cosine means more for one
pair than for another. The correction is cross-domain similarity local scaling, CSLS (Conneau et al.,
"Word translation without parallel data", 2018): 2 cos(i, t) - r(i) - r(t), where r is the mean
cosine to the k nearest items of the other modality in a gallery, those of the own record left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.shapes import Float32, Int64

from .embeddings import Embeddings

NEIGHBOURS = 5  # by AUC on a part of the training split (docs/inspect.md)
GALLERY = 2000  # items of either modality, drawn at random
_BLOCK_SCORES = 1 << 22  # scores held at a time


@dataclass(frozen=True)
class Gallery:
    """What pairs are set against: some images and texts, each with the record it belongs to."""

    images: Float32[np.ndarray, "a d"]
    image_records: Int64[np.ndarray, " a"]
    texts: Float32[np.ndarray, "b d"]
    text_records: Int64[np.ndarray, " b"]

    @classmethod
    def drawn(cls, vectors: Embeddings, most: int = GALLERY, seed: int = 0) -> Gallery:
        """At most `most` images and texts of a collection, drawn at random."""
        draw = np.random.default_rng(seed)
        images = np.sort(draw.permutation(len(vectors.images))[:most])
        texts = np.sort(draw.permutation(len(vectors.texts))[:most])
        return cls(vectors.images[images], vectors.record_of_image[images], vectors.texts[texts], vectors.owner[texts])


def pair_scores(
    vectors: Embeddings, gallery: Gallery | None, *, k: int = NEIGHBOURS, foreign: bool = False
) -> Float32[np.ndarray, " m"]:
    """A score for each text with its image: CSLS, or the cosine when `gallery` is None.

    Where its record has several images it is the mean over these.
    With `foreign` the gallery is of another collection, so no item of it is a pair's own.
    """
    if k < 1:
        raise ConfigError(f"the number of neighbours must be at least 1, found {k}")
    record = vectors.record_of_image
    first, counts = np.unique(record, return_index=True, return_counts=True)[1:]
    images_of = counts[vectors.owner]
    text = np.repeat(np.arange(len(vectors.owner)), images_of)
    starts = np.cumsum(images_of) - images_of
    image = np.repeat(first[vectors.owner] - starts, images_of) + np.arange(len(text))
    scores: Float32[np.ndarray, " p"] = np.einsum("pd,pd->p", vectors.images[image], vectors.texts[text])
    if gallery is not None:
        nowhere = np.int64(-1)
        image_records = np.full(len(vectors.images), nowhere) if foreign else record
        text_records = np.full(len(vectors.texts), nowhere) if foreign else vectors.owner
        around_image = nearness(vectors.images, image_records, gallery.texts, gallery.text_records, k)
        around_text = nearness(vectors.texts, text_records, gallery.images, gallery.image_records, k)
        scores = 2 * scores - around_image[image] - around_text[text]
    return np.asarray(np.add.reduceat(scores, starts) / images_of, dtype=np.float32)


def nearness(
    vectors: Float32[np.ndarray, "q d"],
    records: Int64[np.ndarray, " q"],
    gallery: Float32[np.ndarray, "m d"],
    gallery_records: Int64[np.ndarray, " m"],
    k: int,
) -> Float32[np.ndarray, " q"]:
    """Mean cosine to the k nearest gallery items of other records; to all there are, if fewer; 0 if none."""
    found = np.zeros(len(vectors), dtype=np.float32)
    rows = max(1, _BLOCK_SCORES // max(1, len(gallery)))
    for start in range(0, len(vectors) if len(gallery) else 0, rows):
        scores = vectors[start : start + rows] @ gallery.T
        scores[records[start : start + rows, None] == gallery_records] = -np.inf
        top = scores if scores.shape[1] <= k else np.partition(scores, -k, axis=1)[:, -k:]
        there = np.isfinite(top)
        total = np.where(there, top, 0).sum(axis=1)
        found[start : start + rows] = total / np.maximum(1, there.sum(axis=1))
    return found


def with_shuffled_texts(vectors: Embeddings, seed: int = 0) -> Embeddings:
    """The same collection with every text given to another record, drawn at random: pairs known to be wrong."""
    count = vectors.records
    if count < 2:
        raise ConfigError(f"wrong pairs are made from two records with images or more, found {count}")
    moved = np.random.default_rng(seed).integers(1, count, size=len(vectors.owner))
    return replace(vectors, owner=(vectors.owner + moved) % count)
