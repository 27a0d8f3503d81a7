"""Embed a whole collection of pairs with a dual encoder, leaving out what cannot be read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diptych.core import fingerprint
from diptych.core.errors import Reason
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32, Int64, UInt8
from diptych.core.types import Pair, Skipped
from diptych.data import views
from diptych.data.images import stream

from .dual import DualEncoder
from .shipped import as_model


@dataclass(frozen=True)
class EmbeddedPairs:
    """Vectors of the pairs that could be read: one image each, and all of their texts.

    `ids` and `groups` run along the images; `owner` (the image a text belongs to), `languages`,
    `fields` and `values` along the texts. `skipped` names the unreadable images, whose texts (`skipped_texts`) are
    left out with them; `without_texts` counts the pairs that had no text to begin with.
    """

    images: Float32[np.ndarray, "n d"]
    texts: Float32[np.ndarray, "m d"]
    owner: Int64[np.ndarray, " m"]
    ids: tuple[str, ...]
    groups: tuple[str | None, ...]
    languages: tuple[str | None, ...]
    fields: tuple[str, ...]
    values: tuple[str, ...]  # the texts themselves
    skipped: tuple[Skipped, ...]
    skipped_texts: int
    without_texts: int

    @property
    def content(self) -> str:
        """Fingerprint of what was embedded: ids, texts and whose they are, whatever the model."""
        owners = fingerprint.of_bytes(self.owner.tobytes())
        return fingerprint.combined([*self.ids, owners, *self.values, *(group or "" for group in self.groups)])


@dataclass(frozen=True)
class EmbeddedImages:
    """Vectors of the first picture of every pair that could be read, and of views of it.

    `views[v]` holds view v of every picture, in the same order. `skipped` names what could not be read.
    """

    images: Float32[np.ndarray, "n d"]
    views: Float32[np.ndarray, "v n d"]
    ids: tuple[str, ...]
    groups: tuple[str | None, ...]
    skipped: tuple[Skipped, ...]

    @property
    def content(self) -> str:
        """Fingerprint of which pictures and how many views of each were embedded, whatever the model."""
        return fingerprint.combined([*self.ids, str(len(self.views)), *(group or "" for group in self.groups)])


def embed_images(
    model: DualEncoder | str | Path,
    pairs: Sequence[Pair],
    view_names: tuple[str, ...] = (),
    *,
    batch_size: int = 32,
    workers: int = 2,
    progress: Progress = SILENT,
) -> EmbeddedImages:
    """Embed the first picture of each pair whether it has texts or not, and the named views of it.

    Views are "flip" and "crop-K", as in training (`data.views`). Raises ConfigError for another name.
    """
    model = as_model(model)
    views.check((views.FULL, *view_names))
    pictured = [pair for pair in pairs if pair.images]
    skipped = [Skipped(pair.id, Reason.NO_IMAGE, "the pair has no image") for pair in pairs if not pair.images]
    rows = [np.zeros((0, 1 + len(view_names), model.dim), dtype=np.float32)]
    kept: list[Pair] = []

    def show(pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "v s s 3"]:
        return np.stack([views.show(pixels, name, model.preprocess) for name in (views.FULL, *view_names)])

    batches = stream(
        [pair.images[0] for pair in pictured], model.preprocess, batch_size=batch_size, workers=workers, also=show
    )
    for batch in progress.track(batches, "images", -(-len(pictured) // batch_size)):
        kept += [pictured[index] for index in batch.indices]
        skipped += [problem for _, problem in batch.skipped]
        if batch.extras:
            shown = np.concatenate(batch.extras)
            rows.append(model.encode_pixels(shown).reshape(len(batch.extras), 1 + len(view_names), -1))
    found = np.ascontiguousarray(np.concatenate(rows).swapaxes(0, 1))
    ids, groups = tuple(pair.id for pair in kept), tuple(pair.group for pair in kept)
    return EmbeddedImages(found[0], found[1:], ids, groups, tuple(skipped))


def embed_pairs(
    model: DualEncoder | str | Path,
    pairs: Sequence[Pair],
    *,
    languages: Collection[str] = (),
    batch_size: int = 32,
    workers: int = 2,
    progress: Progress = SILENT,
) -> EmbeddedPairs:
    """Embed the first image of each pair and its texts; with `languages`, only texts in those.

    A pair whose image is missing or unreadable is left out with its texts, and named in `skipped`.
    Equal texts are encoded once, so that they are equal vectors to the last bit.
    """
    model = as_model(model)
    wanted = [_only(pair, languages) for pair in pairs]
    with_texts = [pair for pair in wanted if pair.texts]
    pictured = [pair for pair in with_texts if pair.images]
    imageless = [pair for pair in with_texts if not pair.images]
    rows = [np.zeros((0, model.dim), dtype=np.float32)]
    kept: list[Pair] = []
    skipped = [Skipped(pair.id, Reason.NO_IMAGE, "the pair has no image") for pair in imageless]
    batches = stream([pair.images[0] for pair in pictured], model.preprocess, batch_size=batch_size, workers=workers)
    for batch in progress.track(batches, "images", -(-len(pictured) // batch_size)):
        rows.append(model.encode_pixels(batch.pixels))
        kept += [pictured[index] for index in batch.indices]
        skipped += [problem for _, problem in batch.skipped]
    texts = [text for pair in kept for text in pair.texts]
    return EmbeddedPairs(
        images=np.concatenate(rows),
        texts=_encode_once_each(model, [text.value for text in texts], progress),
        owner=np.repeat(np.arange(len(kept)), [len(pair.texts) for pair in kept]).astype(np.int64),
        ids=tuple(pair.id for pair in kept),
        groups=tuple(pair.group for pair in kept),
        languages=tuple(text.lang for text in texts),
        fields=tuple(text.field for text in texts),
        values=tuple(text.value for text in texts),
        skipped=tuple(skipped),
        skipped_texts=sum(len(pair.texts) for pair in with_texts) - len(texts),
        without_texts=len(wanted) - len(with_texts),
    )


def _only(pair: Pair, languages: Collection[str]) -> Pair:
    if not languages:
        return pair
    return replace(pair, texts=tuple(text for text in pair.texts if text.lang in languages))


def _encode_once_each(model: DualEncoder, texts: Sequence[str], progress: Progress) -> Float32[np.ndarray, "m d"]:
    places: dict[str, int] = {}
    where = [places.setdefault(text, len(places)) for text in texts]
    return model.encode_texts(list(places), progress=progress)[np.array(where, dtype=np.int64)]
