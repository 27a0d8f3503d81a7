"""Embed a whole collection of pairs with a dual encoder, leaving out what cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from diptych.core import fingerprint
from diptych.core.batched import batched
from diptych.core.errors import Reason
from diptych.core.notes import Notes
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32, Int64, UInt8
from diptych.core.types import ImageRef, Pair, Role, Skipped, Text
from diptych.core.workers import Engine, SentModel
from diptych.data import views
from diptych.data.images import is_video, stream
from diptych.data.spoken import check_spoken, text_key

from .dual import DualEncoder, reading
from .embedding_cache import EmbeddingCache
from .shipped import as_model, lasting_name, load

_TEXTS_AT_ONCE = 4096  # between two writes to the cache


@dataclass(frozen=True, kw_only=True)
class EmbeddedImages:
    """Vectors of the images of every pair that could be read, and of views of them.

    Records are numbered from 0: `places` (where each is in the list of pairs), `ids` (labels, which may repeat) and
    `groups` run along them. `image_owner` (the record an image belongs to, ascending), `image_refs` and `keys` (of the
    images' bytes) run along the images; `views[v]` holds view v of every image. `skipped` names the unreadable images;
    a record without a readable one is left out.
    """

    images: Float32[np.ndarray, "n d"]
    views: Float32[np.ndarray, "v n d"]
    image_owner: Int64[np.ndarray, " n"]
    places: Int64[np.ndarray, " records"]
    ids: tuple[str, ...]
    groups: tuple[str | None, ...]
    image_refs: tuple[ImageRef, ...]
    keys: tuple[bytes, ...]
    skipped: tuple[Skipped, ...]

    @property
    def content(self) -> str:
        """Fingerprint of which images and how many views of each were embedded, whatever the model."""
        return self._content([self.image_owner], [str(len(self.views))])

    def _content(self, owners: Sequence[Int64[np.ndarray, " _"]], values: Sequence[str]) -> str:
        owned = fingerprint.of_bytes(*(owner.tobytes() for owner in owners))
        groups = [group or "" for group in self.groups]
        return fingerprint.combined([*self.ids, owned, fingerprint.of_bytes(*self.keys), *values, *groups])


@dataclass(frozen=True, kw_only=True)
class EmbeddedPairs(EmbeddedImages):
    """Vectors of the pairs that could be read: their readable images, and all of their texts.

    `owner` (the record a text belongs to, ascending), `languages`, `fields` and `values` run along the texts. The texts
    of records that were left out are counted (`skipped_texts`), and so are the pairs that had no text to begin with.
    """

    texts: Float32[np.ndarray, "m d"]
    owner: Int64[np.ndarray, " m"]
    languages: tuple[str | None, ...]
    fields: tuple[str, ...]
    values: tuple[str, ...]  # the texts themselves
    skipped_texts: int
    without_texts: int

    @property
    def content(self) -> str:
        """Fingerprint of what was embedded: ids, images, texts and whose they are, whatever the model."""
        return self._content([self.image_owner, self.owner], self.values)


@dataclass(frozen=True, kw_only=True)
class EmbeddedTexts:
    """Vectors of the texts of records, without their images.

    `owner` (the record a text belongs to, ascending) and `written` run along the texts; `ids` and `groups` along the
    records, which are numbered from 0: those that have a text, of `places` in the list of pairs.
    """

    texts: Float32[np.ndarray, "m d"]
    owner: Int64[np.ndarray, " m"]
    written: tuple[Text, ...]
    places: Int64[np.ndarray, " records"]
    ids: tuple[str, ...]
    groups: tuple[str | None, ...]
    without_texts: int
    skipped_texts: int = 0
    skipped: tuple[Skipped, ...] = ()

    @property
    def values(self) -> tuple[str, ...]:
        """The texts themselves."""
        return tuple(text.value for text in self.written)

    @property
    def content(self) -> str:
        """Fingerprint of what was embedded: ids, texts, whose they are and how they are judged, whatever the model."""
        told = [f"{text.role or ''} {text.label} {text.item}" for text in self.written]
        groups = [group or "" for group in self.groups]
        return fingerprint.combined(
            [*self.ids, fingerprint.of_bytes(self.owner.tobytes()), *self.values, *told, *groups]
        )


def embed_images(
    model: DualEncoder | str | Path,
    pairs: Sequence[Pair],
    view_names: tuple[str, ...] = (),
    *,
    batch_size: int = 32,
    workers: int = 2,
    progress: Progress = SILENT,
    engine: Engine | None = None,
) -> EmbeddedImages:
    """Embed every image of each pair whether it has texts or not, and the named views of it.

    By the workers of an `engine`, where one is given.

    Of a video the vector is that of `DualEncoder.reading`. Views are "flip" and "crop-K", as in training
    (`data.views`). Equal images are encoded once, so that they are equal vectors to the last bit; what was embedded
    before is read (`embedding_cache`). Raises ConfigError for another name.
    """
    model = as_model(model)
    names = (views.FULL, *view_names)
    views.check_views(names)

    refs = [ref for pair in pairs for ref in pair.images]
    has_videos = any(map(is_video, refs))
    preprocess, _ = reading(model, has_videos=has_videos)
    owner = np.repeat(np.arange(len(pairs)), [len(pair.images) for pair in pairs]).astype(np.int64)
    keys: dict[int, bytes] = {}
    bad: dict[int, Skipped] = {}
    frames = [] if preprocess == model.preprocess else [f"frames {preprocess.frames}"]
    kind = " ".join(("image", *view_names, *frames))
    with EmbeddingCache(model, kind, len(names) * model.dim, progress) as cache:
        sent = SentModel(_load, lasting_name(model), model.fingerprint, model)
        task = EmbedViews(sent, names, has_videos, batch_size, workers, frozenset(cache.known))
        if engine is None:
            found = progress.track(task.batches(refs, model), "batches of images", -(-len(refs) // batch_size))
        else:
            found = _by_engine(engine, task, progress.track(map(_Unread, refs), "images", len(refs)), progress)
        for batch in found:
            keys |= batch.keys
            if batch.rows:
                cache.add([keys[place] for place in batch.rows], np.stack(list(batch.rows.values())))
            bad |= batch.bad
    undecoded = {keys[place]: problem for place, problem in bad.items() if place in keys}
    for place, key in keys.items():
        if key in undecoded:
            bad[place] = replace(undecoded[key], name=refs[place].name)
    kept = [place for place in range(len(refs)) if place not in bad]
    places, renumbered = np.unique(owner[kept], return_inverse=True)
    vectors = cache.rows([keys[place] for place in kept]).reshape(len(kept), len(names), model.dim).swapaxes(0, 1)
    cache.say([keys[place] for place in kept], "images")
    missing = [Skipped(pair.id, Reason.NO_IMAGE, "the pair has no image") for pair in pairs if not pair.images]
    return EmbeddedImages(
        images=np.ascontiguousarray(vectors[0]),
        views=np.ascontiguousarray(vectors[1:]),
        image_owner=renumbered.astype(np.int64),
        places=places.astype(np.int64),
        ids=tuple(pairs[place].id for place in places),
        groups=tuple(pairs[place].group for place in places),
        image_refs=tuple(refs[place] for place in kept),
        keys=tuple(keys[place] for place in kept),
        skipped=(*missing, *(bad[place] for place in sorted(bad))),
    )


@dataclass(frozen=True, slots=True)
class _Batch:
    """What became of some images, by their places: the key of each that was read, new rows, and what is bad."""

    keys: dict[int, bytes]
    rows: dict[int, Float32[np.ndarray, w]]
    bad: dict[int, Skipped]


@dataclass(frozen=True, slots=True)
class _Unread:
    """An image that has not been read."""

    ref: ImageRef

    @property
    def path(self) -> str:
        """What a person would call it."""
        return self.ref.name


_Found: TypeAlias = tuple[bytes, Float32[np.ndarray, " w"] | Skipped | None] | Skipped


@dataclass(frozen=True)
class EmbedViews:
    """The task of embedding images and views of them (`core.workers.Task`).

    For each image the key of its bytes with its row, with None where that is known or came before, or with what is bad
    about it; a `Skipped` alone for one that cannot be read.
    """

    model: SentModel[DualEncoder]
    names: tuple[str, ...]  # of views
    has_videos: bool  # whether there are videos among all images
    batch_size: int
    threads: int
    known: frozenset[bytes]  # keys

    def start(self, threads: int, device: str) -> Callable[[Sequence[_Unread]], list[_Found]]:
        """Embed a chunk by the model that is loaded now."""
        model = self.model.get(threads, device)
        return lambda images: self._embed([image.ref for image in images], model)

    def _embed(self, refs: Sequence[ImageRef], model: DualEncoder) -> list[_Found]:
        found: dict[int, _Found] = {}
        for batch in self.batches(refs, model):
            found |= batch.bad
            found |= {place: (key, batch.rows.get(place, batch.bad.get(place))) for place, key in batch.keys.items()}
        return [found[place] for place in range(len(refs))]

    def batches(self, refs: Sequence[ImageRef], model: DualEncoder) -> Iterator[_Batch]:
        """The images in batches; equal ones are encoded once, those whose key is known are not."""
        preprocess, encoder = reading(model, has_videos=self.has_videos)

        def show(pixels: UInt8[np.ndarray, "*f h w 3"]) -> UInt8[np.ndarray, "v hh ww 3"]:
            return np.stack([views.show_view(pixels, name, preprocess) for name in self.names])

        has_views = len(self.names) > 1
        also = show if has_views else None
        for batch in stream(
            refs, preprocess, batch_size=self.batch_size, workers=self.threads, also=also, once=True, known=self.known
        ):
            rows: Any = ()
            if batch.indices:
                rows = encoder(np.concatenate(batch.extras) if has_views else batch.pixels)
                rows = rows.reshape(len(batch.indices), -1)
            yield _Batch(batch.keys, dict(zip(batch.indices, rows, strict=True)), dict(batch.skipped))


def _load(name: str, *, threads: int | None, device: str) -> DualEncoder:
    return load(name, threads=threads, device=device)


def _by_engine(engine: Engine, task: EmbedViews, images: Iterable[_Unread], progress: Progress) -> Iterator[_Batch]:
    """The same by the workers of an engine, an image at a time. Of equal images the first one is taken."""
    notes, seen = Notes(), set[bytes]()
    for place, (_, found) in enumerate(engine.run(task, images, notes)):
        if isinstance(found, Skipped):
            yield _Batch({}, {}, {place: found})
            continue
        key, row = found
        if key in seen or row is None:
            yield _Batch({place: key}, {}, {})
        elif isinstance(row, Skipped):
            yield _Batch({place: key}, {}, {place: row})
        else:
            yield _Batch({place: key}, {place: row}, {})
        seen.add(key)
    for note in notes:
        progress.say(f"note: {note.to_text()}")


def embed_pairs(
    model: DualEncoder | str | Path,
    pairs: Sequence[Pair],
    *,
    languages: Collection[str] = (),
    batch_size: int = 32,
    workers: int = 2,
    progress: Progress = SILENT,
    engine: Engine | None = None,
) -> EmbeddedPairs:
    """Embed every image of each pair and its texts; with `languages`, only texts in those.

    An image that is missing or unreadable is left out and named in `skipped`; a pair without any other one is
    left out with its texts. Equal texts are encoded once, and so are equal images, so that they are equal vectors
    to the last bit; what was embedded before is read (`embedding_cache`). An `engine`, where one is given, embeds the
    images by its workers.
    """
    model = as_model(model)
    wanted = [[text for text in pair.texts if not languages or text.lang in languages] for pair in pairs]
    asked = np.array([place for place, texts in enumerate(wanted) if texts], dtype=np.int64)
    read = embed_images(
        model,
        [pairs[place] for place in asked],
        batch_size=batch_size,
        workers=workers,
        progress=progress,
        engine=engine,
    )
    places = asked[read.places]
    kept = [wanted[place] for place in places]
    texts = [text for own in kept for text in own]
    _check_spoken(model, texts)
    return EmbeddedPairs(
        **vars(read) | {"places": places},
        texts=_encode_once_each(model, [text.value for text in texts], progress),
        owner=np.repeat(np.arange(len(kept)), [len(own) for own in kept]).astype(np.int64),
        languages=tuple(text.lang for text in texts),
        fields=tuple(text.field for text in texts),
        values=tuple(text.value for text in texts),
        skipped_texts=sum(map(len, wanted)) - len(texts),
        without_texts=sum(not texts for texts in wanted),
    )


def embed_texts(
    model: DualEncoder | str | Path,
    pairs: Sequence[Pair],
    *,
    languages: Collection[str] = (),
    progress: Progress = SILENT,
) -> EmbeddedTexts:
    """Embed the texts of each pair, whatever its images; with `languages`, only texts in those.

    Equal texts are encoded once, and what was embedded before is read, as in `embed_pairs`.
    """
    model = as_model(model)
    wanted = [[text for text in pair.texts if not languages or text.lang in languages] for pair in pairs]
    places = np.array([place for place, texts in enumerate(wanted) if texts], dtype=np.int64)
    kept = [wanted[place] for place in places]
    texts = tuple(text for own in kept for text in own)
    _check_spoken(model, texts)
    return EmbeddedTexts(
        texts=_encode_texts(model, texts, progress),
        owner=np.repeat(np.arange(len(kept)), [len(own) for own in kept]).astype(np.int64),
        written=texts,
        places=places,
        ids=tuple(pairs[place].id for place in places),
        groups=tuple(pairs[place].group for place in places),
        without_texts=len(wanted) - len(kept),
    )


def _check_spoken(model: DualEncoder, texts: Sequence[Text]) -> None:
    """Raise ConfigError unless the texts are of the kind that the model reads."""
    if model.hears_texts or any(text.is_sound for text in texts):
        check_spoken(texts, model.text_tower)


def _encode_texts(model: DualEncoder, texts: Sequence[Text], progress: Progress) -> Float32[np.ndarray, "m d"]:
    """Queries by their own side, where the model has one."""
    values = [text.value for text in texts]
    asks = np.array([text.role is Role.QUERY for text in texts], dtype=np.bool_)
    if model.config.query is None or not asks.any():
        return _encode_once_each(model, values, progress)
    found = np.empty((len(texts), model.dim), dtype=np.float32)
    for which, as_queries in ((asks, True), (~asks, False)):
        some = [values[place] for place in np.flatnonzero(which)]
        found[which] = _encode_once_each(model, some, progress, as_queries=as_queries)
    return found


def _encode_once_each(
    model: DualEncoder, texts: Sequence[str], progress: Progress, *, as_queries: bool = False
) -> Float32[np.ndarray, "m d"]:
    keys = {text: text_key(text, model.text_tower if model.hears_texts else None) for text in texts}
    encode = model.encode_queries if as_queries else model.encode_texts
    with EmbeddingCache(model, "query" if as_queries else "text", model.dim, progress) as cache:
        for some in batched([text for text, key in keys.items() if key not in cache.known], _TEXTS_AT_ONCE):
            cache.add([keys[text] for text in some], encode(some, progress=progress))
    cache.say([keys[text] for text in texts], "texts")
    return cache.rows([keys[text] for text in texts])
