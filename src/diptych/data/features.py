"""From pairs to arrays of cached features: what training on frozen towers reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from diptych.core import fingerprint
from diptych.core.batched import batched
from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.protocols import SILENT, ImageTower, Progress, TextTower, Tower, TowersBeside, WordTower
from diptych.core.shapes import Float32, Int, Shaped, UInt8, UInt64
from diptych.core.types import ImageRef, Pair, Skipped, Text
from diptych.data import views
from diptych.data.cache import FeatureCache, content_key
from diptych.data.images import stream
from diptych.data.related import RelatedTexts, related_texts
from diptych.data.repeats import Contents
from diptych.data.seen import as_marks, image_mark, marks_of, text_mark, value_marks
from diptych.data.spoken import check_spoken, text_key

P = TypeVar("P", bound="CaptionedImages")

_TEXT_CHUNK = 2048
_WORD_CHUNK = 256  # texts whose words are embedded at once
_BATCH = 32  # images, each under every view, that go through the tower at once
_FLUSH = 512  # images between two durable writes to the cache, unless
_FLUSH_NUMBERS = 1 << 26  # so many features wait already
_WIDENED = {"float16": np.float32, "float32": np.float32, "int32": np.int64, "uint8": np.uint8}  # what rows are read as


@dataclass(frozen=True)
class CachedRows:
    """Some rows of a memory-mapped matrix: `rows[i]` is read from disk when it is used.

    Features (float16) come out as float32, token ids (int32) as int64, pixels (uint8) as they are.
    """

    matrix: Shaped[np.ndarray, "n d"]
    index: Int[np.ndarray, " m"]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def dim(self) -> int:
        """Width of a row."""
        return int(self.matrix.shape[1])

    def some(self, which: Int[np.ndarray, " k"]) -> CachedRows:
        """Some of the rows, in this order; nothing is read."""
        return CachedRows(self.matrix, self.index[which])

    def __getitem__(self, which: Int[np.ndarray, " k"]) -> Shaped[np.ndarray, "k d"]:
        return np.asarray(self.matrix[self.index[which]], dtype=_WIDENED[self.matrix.dtype.name])


@dataclass(frozen=True)
class RowsBeside:
    """Rows of several towers of the same texts side by side, each read from its own cache; ids come out as float32."""

    parts: tuple[CachedRows, ...]

    def __len__(self) -> int:
        return len(self.parts[0])

    @property
    def dim(self) -> int:
        """Width of a row."""
        return sum(part.dim for part in self.parts)

    @property
    def index(self) -> Int[np.ndarray, " m"]:
        """The first tower's row of each text: equal texts share one."""
        return self.parts[0].index

    def some(self, which: Int[np.ndarray, " k"]) -> RowsBeside:
        """Some of the rows, in this order; nothing is read."""
        return RowsBeside(tuple(part.some(which) for part in self.parts))

    def __getitem__(self, which: Int[np.ndarray, " k"]) -> Float32[np.ndarray, "k d"]:
        return np.concatenate([part[which] for part in self.parts], axis=1, dtype=np.float32)


TextRows = CachedRows | RowsBeside
_NO_ROWS = CachedRows(np.zeros((0, 1), dtype=np.float16), np.zeros(0, dtype=np.int64))


@runtime_checkable
class ImageRows(Protocol):
    """A tower's rows of images: `rows[i]` with an array of row numbers."""

    @property
    def dim(self) -> int:
        """Width of a row."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, which: Int[np.ndarray, " k"]) -> Shaped[np.ndarray, "k d"]: ...


@dataclass(frozen=True, kw_only=True)
class CaptionedImages:
    """Records whose images went through a frozen tower, with their texts as they were read.

    `images[v]` holds view v of every image; `image_owner` and `text_owner` say which record
    (0 .. records-1) an image or a text belongs to, in ascending order. `ids` are labels, which may repeat;
    `keys` are the records' identities; `image_keys` are the keys of the images' bytes,
    `image_refs` where they are.
    """

    images: tuple[ImageRows, ...]
    written: tuple[Text, ...]
    image_owner: Int[np.ndarray, " n"]
    text_owner: Int[np.ndarray, " m"]
    ids: tuple[str, ...]
    keys: tuple[str, ...]
    image_keys: tuple[bytes, ...]
    image_refs: tuple[ImageRef, ...] = field(default=(), repr=False)
    groups: tuple[str | None, ...]  # the class of each record
    skipped: list[Skipped] = field(default_factory=list)
    marks: UInt64[np.ndarray, " k"] = field(default_factory=lambda: as_marks(()))  # of the records, by `data.seen`

    @property
    def records(self) -> int:
        """How many records there are."""
        return len(self.ids)

    @cached_property
    def related(self) -> RelatedTexts | None:
        """Each query with each document of its record; None where no text has a role."""
        return related_texts(self.written, self.text_owner)

    @cached_property
    def classes(self) -> Int[np.ndarray, " r"]:
        """A number for the class of each record, for records in the order of `by_class`; alone without a class."""
        starts = [
            group is None or place == 0 or group != self.groups[place - 1] for place, group in enumerate(self.groups)
        ]
        return np.cumsum(starts) - 1

    @property
    def cached(self) -> tuple[CachedRows, ...]:
        """Those of `images` that lie in the feature cache: all but images that are decoded anew (`data.online`)."""
        return tuple(rows for rows in self.images if isinstance(rows, CachedRows))

    @cached_property
    def captions(self) -> tuple[str, ...]:
        """The texts without their languages and fields."""
        return tuple(text.value for text in self.written)

    @cached_property
    def content(self) -> str:
        """Fingerprint of the images and texts themselves."""
        return fingerprint.combined([*(key.hex() for key in self.image_keys), *self.captions])

    @property
    def contents(self) -> Contents:
        """What the records hold, to be searched for repetitions."""
        names = [self.keys[owner] for owner in self.image_owner]
        return Contents(self.image_keys, self.image_owner.tolist(), names, self.captions, self.text_owner.tolist())

    @cached_property
    def text_source(self) -> Int[np.ndarray, " m"]:
        """The number of the source of each text, where several sources are learnt from together; else 0."""
        return np.array([text.source for text in self.written], dtype=np.int64)

    def of_source(self: P, number: int) -> P:
        """The texts of one source, and the records and images that have one."""
        texts = np.flatnonzero(self.text_source == number)
        records = np.unique(self.text_owner[texts])
        images = np.flatnonzero(np.isin(self.image_owner, records))
        return dataclasses.replace(self, **self._some(records, images, texts))

    def _some(
        self, records: Int[np.ndarray, " r"], images: Int[np.ndarray, " n"], texts: Int[np.ndarray, " m"]
    ) -> dict[str, Any]:
        """The fields of these records alone, with these images and texts; all ascending. The rows must be cached."""
        return {
            "images": tuple(rows.some(images) for rows in self.cached),
            "written": tuple(self.written[row] for row in texts),
            "image_owner": np.searchsorted(records, self.image_owner[images]),
            "text_owner": np.searchsorted(records, self.text_owner[texts]),
            "image_keys": tuple(self.image_keys[row] for row in images),
            "image_refs": tuple(self.image_refs[row] for row in images),
            **{name: tuple(getattr(self, name)[row] for row in records) for name in ("ids", "keys", "groups")},
        }

    def fingerprint(self) -> str:
        """Stable name of the records, their content and their order (for checkpoints and model cards)."""
        return self._fingerprint()

    def _fingerprint(self, *more: str) -> str:
        if self.text_source.any():
            more += (fingerprint.of_bytes(self.text_source.tobytes()),)
        owners = fingerprint.of_bytes(self.image_owner.tobytes(), self.text_owner.tobytes())
        return fingerprint.combined([*self.ids, *more, owners, self.content])


@dataclass(frozen=True, kw_only=True)
class FeaturePairs(CaptionedImages):
    """Records whose images and texts went through frozen towers; `texts` are the features of the texts."""

    texts: TextRows

    @property
    def text_features(self) -> CachedRows:
        """`texts` of a tower that stands alone. Raises ConfigError where several stand side by side."""
        if isinstance(self.texts, RowsBeside):
            raise ConfigError(
                "features are needed here, found features and token ids side by side; choose another tower"
            )
        return self.texts

    def _some(
        self, records: Int[np.ndarray, " r"], images: Int[np.ndarray, " n"], texts: Int[np.ndarray, " m"]
    ) -> dict[str, Any]:
        return {**super()._some(records, images, texts), "texts": self.texts.some(texts)}

    def fingerprint(self) -> str:
        """Stable name of the records, their classes, their content and their order."""
        return self._fingerprint(*(group or "" for group in self.groups))


@dataclass(frozen=True, slots=True)
class Selection:
    """Which texts of the records are used, and under which views their images go through the tower."""

    view_names: tuple[str, ...] = (views.FULL,)
    langs: tuple[str, ...] = ()  # empty: all
    fields: tuple[str, ...] = ()  # empty: all
    workers: int = 2  # threads that decode
    images: bool = True  # False: images are not read, and a record needs none
    texts: bool = True  # False: texts are not read, and a record needs none

    def __post_init__(self) -> None:
        views.check_views(self.view_names)

    def takes(self, text: Text) -> bool:
        """Whether a text is not empty, and in one of the languages and fields."""
        is_chosen = self.texts and (not self.langs or text.lang in self.langs)
        return bool(text.value.strip()) and is_chosen and (not self.fields or text.field in self.fields)


ANY = Selection()


def collect(
    pairs: Iterable[Pair],
    image_tower: ImageTower,
    text_tower: TextTower,
    root: Path,
    selection: Selection = ANY,
    *,
    progress: Progress = SILENT,
) -> FeaturePairs:
    """Run images and texts that are not cached through their towers, and read the rows: as `collect_captions`."""
    found = collect_captions(pairs, image_tower, root, selection, progress=progress)
    check_spoken(found.written, text_tower)
    rows = text_rows(found.captions, text_tower, root, progress) if selection.texts else _NO_ROWS
    return FeaturePairs(texts=rows, **_fields_of(found))


def _fields_of(found: CaptionedImages) -> dict[str, Any]:
    return {each.name: getattr(found, each.name) for each in dataclasses.fields(found)}


def collect_captions(
    pairs: Iterable[Pair], tower: ImageTower, root: Path, selection: Selection = ANY, *, progress: Progress = SILENT
) -> CaptionedImages:
    """Run the images that are not cached through the tower, and read all rows; texts stay texts.

    A pair whose images are all unreadable, or that has no text of the selection, is left out and listed in
    `skipped`, where the selection asks for them.

    Raises DataError when nothing is left.
    """
    pairs = list(pairs)
    refs = [ref for pair in pairs for ref in pair.images] if selection.images else []
    index, caches, keys, skipped = (
        cached_images(refs, tower, root, selection, progress) if selection.images else ([], [], [], [])
    )
    kept: list[tuple[Pair, list[int], list[Text]]] = []  # with positions in refs, and the wanted texts
    position = 0
    for pair in pairs:
        count = len(pair.images) if selection.images else 0
        readable = [ref for ref in range(position, position + count) if index[0][ref] >= 0]
        position += count
        wanted = [text for text in pair.texts if selection.takes(text)]
        if (readable or not selection.images) and (wanted or not selection.texts):
            kept.append((pair, readable, wanted))
        else:
            skipped.append(Skipped(pair.id, Reason.EMPTY_TEXT if readable or not selection.images else Reason.NO_IMAGE))
    if not kept:
        why = next((f"; the first that was left out: {one.detail}" for one in skipped if one.detail), "")
        raise DataError(_none_usable(pairs, selection) + why, Reason.EMPTY_TEXT)
    rows = [row for _, readable, _ in kept for row in readable]
    return CaptionedImages(
        images=tuple(CachedRows(cache.map(), place[rows]) for cache, place in zip(caches, index, strict=True)),
        written=tuple(text for _, _, wanted in kept for text in wanted),
        image_owner=np.repeat(np.arange(len(kept)), [len(readable) for _, readable, _ in kept]),
        text_owner=np.repeat(np.arange(len(kept)), [len(wanted) for _, _, wanted in kept]),
        ids=tuple(pair.id for pair, _, _ in kept),
        keys=tuple(pair.identity for pair, _, _ in kept),
        image_keys=tuple(keys[row] for row in rows),
        image_refs=tuple(refs[row] for row in rows),
        groups=tuple(pair.group for pair, _, _ in kept),
        skipped=skipped,
        marks=as_marks(
            mark
            for pair, readable, _ in kept
            for mark in (
                _marks(pair, [keys[row] for row in readable])
                if selection.images
                else [*marks_of(pair), *value_marks(pair.texts)]
            )
        ),
    )


def by_class(pairs: Iterable[Pair]) -> list[Pair]:
    """Pairs in the order of their classes, those without one last."""
    return sorted(pairs, key=lambda pair: (pair.group is None, pair.group or ""))


def _none_usable(pairs: Sequence[Pair], selection: Selection) -> str:
    langs = selection.langs
    where = f" in {', '.join(langs)}" if langs else ""
    needed = [
        what for what, is_so in (("a readable image", selection.images), (f"a text{where}", selection.texts)) if is_so
    ]
    message = f"found no usable pair among {len(pairs)}: each needs {' and '.join(needed)}"
    if selection.images and selection.texts and not any(pair.images for pair in pairs):
        message += "; to learn from texts alone, see configs/texts/"
    if langs and any(text.lang is None for pair in pairs for text in pair.texts):
        message += "; some texts have no known language: name it for all of them with --lang"
    return message


def _marks(pair: Pair, keys: Iterable[bytes]) -> list[int]:
    return [text_mark(pair.id, pair.texts), *value_marks(pair.texts), *map(image_mark, keys)]


def cached_images(
    refs: Sequence[ImageRef], tower: ImageTower, root: Path, selection: Selection, progress: Progress
) -> tuple[list[Int[np.ndarray, " n"]], list[FeatureCache], list[bytes], list[Skipped]]:
    """Row numbers of each image under each view (-1 where it cannot be read), and the content keys."""
    caches = [_cache(root, tower, view) for view in selection.view_names]
    skipped: list[Skipped] = []
    keys: list[bytes | None] = []
    for ref in refs:
        try:
            keys.append(content_key(ref.content()))
        except DataError as error:
            keys.append(None)
            skipped.append(Skipped(ref.name, error.reason, str(error)))
    wanted: dict[bytes, int] = {}  # content -> the first image that has it and lacks a view
    for position, key in enumerate(keys):
        if key is not None and key not in wanted and any(key not in cache for cache in caches):
            wanted[key] = position
    bad = _fill([refs[position] for position in wanted.values()], list(wanted), tower, caches, selection, progress)
    for position, key in enumerate(keys):
        if key in bad:
            keys[position] = None
            skipped.append(Skipped(refs[position].name, bad[key].reason, bad[key].detail))
    index = [np.array([cache.rows([key])[0] if key else -1 for key in keys], dtype=np.int64) for cache in caches]
    return index, caches, [key or b"" for key in keys], skipped


def _fill(
    refs: Sequence[ImageRef],
    keys: Sequence[bytes],
    tower: ImageTower,
    caches: list[FeatureCache],
    selection: Selection,
    progress: Progress,
) -> dict[bytes, Skipped]:
    """Embed images under every view; what cannot be read comes back by content key."""
    view_names = selection.view_names
    bad: dict[bytes, Skipped] = {}
    pending: list[tuple[bytes, Shaped[np.ndarray, "v d"]]] = []

    def show_all(pixels: UInt8[np.ndarray, "*f h w 3"]) -> Any:
        return np.stack([views.show_view(pixels, view, tower.preprocess) for view in view_names])

    def flush() -> None:
        for number, cache in enumerate(caches):
            cache.add([key for key, _ in pending], np.stack([rows[number] for _, rows in pending]))
        pending.clear()

    tracked = progress.track(refs, f"image features ({len(view_names)} views)", total=len(refs))
    size = max(1, _BATCH // len(view_names))
    most = max(size, _FLUSH_NUMBERS // (tower.dim * len(view_names)))
    for batch in stream(tracked, tower.preprocess, batch_size=size, workers=selection.workers, also=show_all):
        bad |= {keys[position]: problem for position, problem in batch.skipped}
        if batch.indices:
            shown = np.concatenate(batch.extras)
            rows = tower.embed(shown).reshape(len(batch.indices), len(view_names), -1)
            pending += zip([keys[position] for position in batch.indices], rows, strict=True)
        if len(pending) >= min(_FLUSH, most):
            flush()
    if pending:
        flush()
    return bad


def _cache(root: Path, tower: Tower, view: str) -> FeatureCache:
    return FeatureCache(root, tower.fingerprint, view, tower.dim, getattr(tower, "storage", "float16"))


def word_rows(
    texts: Sequence[str], tower: WordTower, root: Path, most: int, progress: Progress
) -> tuple[CachedRows, Int[np.ndarray, "m w"]]:
    """A tower's states of the first `most` words of texts, each text computed once and then cached.

    Returns the states of all words, and for each text the numbers of its words among them; -1 is padding.
    """
    cache = _cache(root, tower, "words")
    place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    distinct = list(place)
    keys = [
        [content_key(f"{number}\0{text}".encode("utf-8", "surrogatepass")) for number in range(min(most, len(words)))]
        for chunk in batched(distinct, _TEXT_CHUNK)
        for text, words in zip(chunk, tower.split(chunk), strict=True)
    ]
    wanted = [number for number, each in enumerate(keys) if any(key not in cache for key in each)]
    chunks = list(batched(wanted, _WORD_CHUNK))
    for chunk in progress.track(chunks, "features of words in their texts (batches)", total=len(chunks)):
        _, states, mask = tower.embed_words([distinct[number] for number in chunk], most)
        cache.add([key for number in chunk for key in keys[number]], states[mask])
    start = np.cumsum([0, *(len(each) for each in keys)])
    index = np.full((len(texts), max((len(each) for each in keys), default=0)), -1, dtype=np.int64)
    for row, text in enumerate(texts):
        here = place[text]
        index[row, : len(keys[here])] = np.arange(start[here], start[here + 1])
    return CachedRows(cache.map(), cache.rows([key for each in keys for key in each])), index


def text_rows(texts: Sequence[str], tower: TextTower, root: Path, progress: Progress) -> TextRows:
    """Features of texts, each computed once and then cached; equal texts share a row.

    Towers that stand side by side in one, its `parts`, have caches of their own.
    """
    if isinstance(tower, TowersBeside):
        return RowsBeside(tuple(rows_of_tower(texts, part, root, progress) for part in tower.parts))
    return rows_of_tower(texts, tower, root, progress)


def rows_of_tower(texts: Sequence[str], tower: TextTower, root: Path, progress: Progress) -> CachedRows:
    """As `text_rows`, of a tower that stands alone."""
    cache = _cache(root, tower, "text")
    keys = [text_key(text, tower) for text in texts]
    chunks = list(batched(cache.missing(keys), _TEXT_CHUNK))
    for chunk in progress.track(chunks, "text features (batches)", total=len(chunks)):
        cache.add([keys[i] for i in chunk], tower.embed([texts[i] for i in chunk]))
    return CachedRows(cache.map(), cache.rows(keys))
