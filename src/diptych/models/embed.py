"""Embed a whole collection of pairs with a dual encoder, leaving out what cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diptych.core import fingerprint
from diptych.core.errors import Reason
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32, Int64, UInt8
from diptych.core.types import ImageRef, Pair, Skipped
from diptych.data import views
from diptych.data.images import PixelBatch, stream

from .dual import DualEncoder
from .shipped import as_model


@dataclass(frozen=True)
class EmbeddedPairs:
    """Vectors of the pairs that could be read: their readable images, and all of their texts.

    Records are numbered from 0: `places` (where each is in the list of pairs), `ids` (labels, which may repeat) and
    `groups` run along them. `image_owner` (the record an image belongs to), `image_refs` and `keys` (of the images'
    bytes) run along the images; `owner` (the record a text belongs to), `languages`, `fields` and `values` along
    the texts. Owners ascend. `skipped` names the unreadable images; a record without a readable one is left out
    with its texts (`skipped_texts`). `without_texts` counts the pairs that had no text to begin with.
    """

    images: Float32[np.ndarray, "n d"]
    texts: Float32[np.ndarray, "m d"]
    image_owner: Int64[np.ndarray, " n"]
    owner: Int64[np.ndarray, " m"]
    places: Int64[np.ndarray, " records"]
    ids: tuple[str, ...]
    groups: tuple[str | None, ...]
    image_refs: tuple[ImageRef, ...]
    keys: tuple[bytes | None, ...]
    languages: tuple[str | None, ...]
    fields: tuple[str, ...]
    values: tuple[str, ...]  # the texts themselves
    skipped: tuple[Skipped, ...]
    skipped_texts: int
    without_texts: int

    @property
    def content(self) -> str:
        """Fingerprint of what was embedded: ids, images, texts and whose they are, whatever the model."""
        owners = fingerprint.of_bytes(self.image_owner.tobytes(), self.owner.tobytes())
        return fingerprint.combined([*self.ids, owners, _hashed(self.keys), *self.values, *_written(self.groups)])


@dataclass(frozen=True)
class EmbeddedImages:
    """Vectors of the images of every pair that could be read, and of views of them.

    `views[v]` holds view v of every image, in the same order; `image_owner`, `ids`, `groups`, `image_refs`, `keys` and
    `skipped` are as in EmbeddedPairs.
    """

    images: Float32[np.ndarray, "n d"]
    views: Float32[np.ndarray, "v n d"]
    image_owner: Int64[np.ndarray, " n"]
    ids: tuple[str, ...]
    groups: tuple[str | None, ...]
    image_refs: tuple[ImageRef, ...]
    keys: tuple[bytes | None, ...]
    skipped: tuple[Skipped, ...]

    @property
    def content(self) -> str:
        """Fingerprint of which images and how many views of each were embedded, whatever the model."""
        owners = fingerprint.of_bytes(self.image_owner.tobytes())
        looks = str(len(self.views))
        return fingerprint.combined([*self.ids, owners, _hashed(self.keys), looks, *_written(self.groups)])


def embed_images(
    model: DualEncoder | str | Path,
    pairs: Sequence[Pair],
    view_names: tuple[str, ...] = (),
    *,
    batch_size: int = 32,
    workers: int = 2,
    progress: Progress = SILENT,
) -> EmbeddedImages:
    """Embed every image of each pair whether it has texts or not, and the named views of it.

    Views are "flip" and "crop-K", as in training (`data.views`). Raises ConfigError for another name.
    """
    model = as_model(model)
    names = (views.FULL, *view_names)
    views.check(names)

    def show(pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "v s s 3"]:
        return np.stack([views.show(pixels, name, model.preprocess) for name in names])

    def encode(batch: PixelBatch) -> Float32[np.ndarray, "b v d"]:
        return model.encode_pixels(np.concatenate(batch.extras)).reshape(len(batch.extras), len(names), -1)

    reading = _Reading(model, batch_size, workers, progress, show)
    read = reading.run(pairs, encode, np.zeros((0, len(names), model.dim), dtype=np.float32))
    missing = [Skipped(pair.id, Reason.NO_IMAGE, "the pair has no image") for pair in pairs if not pair.images]
    found = np.ascontiguousarray(read.vectors.swapaxes(0, 1))
    return EmbeddedImages(
        images=found[0],
        views=found[1:],
        image_owner=read.owner,
        ids=tuple(pairs[place].id for place in read.places),
        groups=tuple(pairs[place].group for place in read.places),
        image_refs=read.refs,
        keys=read.keys,
        skipped=(*missing, *read.skipped),
    )


def embed_pairs(
    model: DualEncoder | str | Path,
    pairs: Sequence[Pair],
    *,
    languages: Collection[str] = (),
    batch_size: int = 32,
    workers: int = 2,
    progress: Progress = SILENT,
) -> EmbeddedPairs:
    """Embed every image of each pair and its texts; with `languages`, only texts in those.

    An image that is missing or unreadable is left out and named in `skipped`; a pair without any other one is
    left out with its texts. Equal texts are encoded once, and so are equal images, so that they are equal vectors
    to the last bit.
    """
    model = as_model(model)
    wanted = [[text for text in pair.texts if not languages or text.lang in languages] for pair in pairs]
    missing = [
        Skipped(pair.id, Reason.NO_IMAGE, "the pair has no image")
        for pair, texts in zip(pairs, wanted, strict=True)
        if texts and not pair.images
    ]
    asked = [pair if texts else replace(pair, images=()) for pair, texts in zip(pairs, wanted, strict=True)]

    def encode(batch: PixelBatch) -> Float32[np.ndarray, "b 1 d"]:
        return model.encode_pixels(batch.pixels)[:, None]

    read = _Reading(model, batch_size, workers, progress).run(
        asked, encode, np.zeros((0, 1, model.dim), dtype=np.float32)
    )
    kept = [wanted[place] for place in read.places]
    texts = [text for own in kept for text in own]
    return EmbeddedPairs(
        images=np.ascontiguousarray(read.vectors[:, 0]),
        texts=_encode_once_each(model, [text.value for text in texts], progress),
        image_owner=read.owner,
        owner=np.repeat(np.arange(len(kept)), [len(own) for own in kept]).astype(np.int64),
        places=read.places,
        ids=tuple(pairs[place].id for place in read.places),
        groups=tuple(pairs[place].group for place in read.places),
        image_refs=read.refs,
        keys=read.keys,
        languages=tuple(text.lang for text in texts),
        fields=tuple(text.field for text in texts),
        values=tuple(text.value for text in texts),
        skipped=(*missing, *read.skipped),
        skipped_texts=sum(map(len, wanted)) - len(texts),
        without_texts=sum(not texts for texts in wanted),
    )


@dataclass(frozen=True)
class _Read:
    """The readable images of some pairs. `places` are the pairs that have one; `owner` counts along them."""

    vectors: Float32[np.ndarray, "n v d"]
    owner: Int64[np.ndarray, " n"]
    places: Int64[np.ndarray, " records"]
    refs: tuple[ImageRef, ...]
    keys: tuple[bytes | None, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class _Reading:
    """How images are read."""

    model: DualEncoder
    batch_size: int
    workers: int
    progress: Progress
    also: Callable[[UInt8[np.ndarray, "h w 3"]], UInt8[np.ndarray, "v s s 3"]] | None = None

    def run(
        self,
        pairs: Sequence[Pair],
        encode: Callable[[PixelBatch], Float32[np.ndarray, "b v d"]],
        nothing: Float32[np.ndarray, "0 v d"],
    ) -> _Read:
        """Decode and encode the images of the pairs, those with the same bytes once."""
        refs = [ref for pair in pairs for ref in pair.images]
        owner = np.repeat(np.arange(len(pairs)), [len(pair.images) for pair in pairs]).astype(np.int64)
        batches = stream(
            refs,
            self.model.preprocess,
            batch_size=self.batch_size,
            workers=self.workers,
            also=self.also,
            once=True,
        )
        rows, row_of = [nothing], dict[bytes, int]()
        keys: dict[int, bytes] = {}
        bad: dict[int, Skipped] = {}
        for batch in self.progress.track(batches, "images", -(-len(refs) // self.batch_size)):
            if batch.indices:
                rows.append(encode(batch))
            keys |= batch.keys
            row_of |= {keys[place]: len(row_of) + row for row, place in enumerate(batch.indices)}
            bad |= dict(batch.skipped)
        undecoded = {keys[place]: problem for place, problem in bad.items() if place in keys}
        for place, key in keys.items():
            if key in undecoded:
                bad[place] = replace(undecoded[key], name=refs[place].name)
        kept = [place for place in range(len(refs)) if place not in bad]
        places, renumbered = np.unique(owner[kept], return_inverse=True)
        return _Read(
            np.concatenate(rows)[[row_of[keys[place]] for place in kept]],
            renumbered.astype(np.int64),
            places.astype(np.int64),
            tuple(refs[place] for place in kept),
            tuple(keys[place] for place in kept),
            tuple(bad[place] for place in sorted(bad)),
        )


def _written(groups: Sequence[str | None]) -> list[str]:
    return [group or "" for group in groups]


def _hashed(keys: Sequence[bytes | None]) -> str:
    return fingerprint.of_bytes(*(key or b"" for key in keys))


def _encode_once_each(model: DualEncoder, texts: Sequence[str], progress: Progress) -> Float32[np.ndarray, "m d"]:
    places: dict[str, int] = {}
    where = [places.setdefault(text, len(places)) for text in texts]
    return model.encode_texts(list(places), progress=progress)[np.array(where, dtype=np.int64)]
