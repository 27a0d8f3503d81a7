"""From pairs to arrays of cached features: what training on frozen towers reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import fingerprint
from diptych.core.errors import DataError, Reason
from diptych.core.protocols import SILENT, ImageTower, Progress, TextTower
from diptych.core.shapes import Int, Shaped, UInt8, UInt64
from diptych.core.types import ImageRef, Pair, Skipped, Text
from diptych.data import views
from diptych.data.cache import FeatureCache, content_key
from diptych.data.images import stream
from diptych.data.repeats import Contents
from diptych.data.seen import as_marks, image_mark, text_mark, value_marks

_TEXT_CHUNK = 2048
_FLUSH = 512  # pictures between two durable writes to the cache, unless
_FLUSH_NUMBERS = 1 << 26  # so many features wait already
_WIDENED = {"float16": np.float32, "int32": np.int64, "uint8": np.uint8}  # what rows are read as


@dataclass(frozen=True)
class Rows:
    """Some rows of a memory-mapped matrix: `rows[i]` is read when it is asked for.

    Features (float16) come out as float32, token ids (int32) as int64, pixels (uint8) as they are.
    """

    matrix: Shaped[np.ndarray, "n d"]
    index: Int[np.ndarray, " m"]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, which: Int[np.ndarray, " k"]) -> Shaped[np.ndarray, "k d"]:
        return np.asarray(self.matrix[self.index[which]], dtype=_WIDENED[self.matrix.dtype.name])


@dataclass(frozen=True)
class FeaturePairs:
    """Pairs whose pictures and texts went through frozen towers.

    `images[v]` holds view v of every picture; `image_owner` and `text_owner` say which record
    (0 .. records-1) a picture or a text belongs to, in ascending order. `ids` are labels, which may repeat;
    `keys` are the records' identities; `image_keys` tell pictures by their bytes.
    """

    images: tuple[Rows, ...]
    texts: Rows
    image_owner: Int[np.ndarray, " n"]
    text_owner: Int[np.ndarray, " m"]
    ids: tuple[str, ...]
    keys: tuple[str, ...]
    image_keys: tuple[bytes, ...]
    groups: tuple[str | None, ...]  # the class of each record
    written: tuple[Text, ...]  # the texts as they were read
    content: str  # fingerprint of the pictures and texts themselves
    skipped: list[Skipped] = field(default_factory=list)
    marks: UInt64[np.ndarray, " k"] = field(default_factory=lambda: as_marks(()))  # of the records, by `data.seen`

    @property
    def records(self) -> int:
        """How many records there are."""
        return len(self.ids)

    @property
    def contents(self) -> Contents:
        """What the records hold, to be looked through for repetitions."""
        names = [self.keys[owner] for owner in self.image_owner]
        texts = [text.value for text in self.written]
        return Contents(self.image_keys, self.image_owner.tolist(), names, texts, self.text_owner.tolist())

    def fingerprint(self) -> str:
        """Stable name of the records, their content and their order (for checkpoints and model cards)."""
        owners = fingerprint.of_bytes(self.image_owner.tobytes(), self.text_owner.tobytes())
        return fingerprint.combined([*self.ids, *(group or "" for group in self.groups), owners, self.content])


def collect(
    pairs: Iterable[Pair],
    image_tower: ImageTower,
    text_tower: TextTower,
    root: Path,
    *,
    view_names: tuple[str, ...] = (views.FULL,),
    langs: tuple[str, ...] = (),
    fields: tuple[str, ...] = (),
    workers: int = 2,
    progress: Progress = SILENT,
) -> FeaturePairs:
    """Run every picture and text through its tower, once ever, and gather the cached rows.

    A pair whose pictures are all unreadable, or that has no text in `langs` and `fields` (empty:
    all), is left out and listed in `skipped`.

    Raises DataError when nothing is left.
    """
    views.check(view_names)
    pairs = list(pairs)
    refs = [ref for pair in pairs for ref in pair.images]
    index_of_ref, caches, keys, skipped = cached_images(refs, image_tower, root, view_names, workers, progress)

    image_rows: list[int] = []  # positions in refs
    image_owner: list[int] = []
    texts: list[Text] = []
    text_owner: list[int] = []
    kept: list[Pair] = []
    marks: list[int] = []
    groups: list[str | None] = []
    position = 0
    for pair in pairs:
        here = range(position, position + len(pair.images))
        position += len(pair.images)
        readable = [ref for ref in here if index_of_ref[0][ref] >= 0]
        chosen = [text for text in pair.texts if is_wanted(text, langs, fields)]
        if not readable or not chosen:
            missing = Reason.NO_IMAGE if not readable else Reason.EMPTY_TEXT
            skipped.append(Skipped(pair.id, missing))
            continue
        image_rows += readable
        image_owner += [len(kept)] * len(readable)
        texts += chosen
        text_owner += [len(kept)] * len(chosen)
        kept.append(pair)
        marks += [
            text_mark(pair.id, pair.texts),
            *value_marks(pair.texts),
            *(image_mark(keys[ref]) for ref in readable),
        ]
        groups.append(pair.group)
    if not kept:
        unsaid = langs and any(text.lang is None for pair in pairs for text in pair.texts)
        raise DataError(
            f"found no usable pair among {len(pairs)}: each needs a readable picture and a text"
            + (f" in {', '.join(langs)}" if langs else "")
            + (
                "; there are texts that do not say their language: say it for all of them with --lang" if unsaid else ""
            ),
            Reason.EMPTY_TEXT,
        )
    return FeaturePairs(
        images=tuple(Rows(cache.map(), index[image_rows]) for cache, index in zip(caches, index_of_ref, strict=True)),
        texts=text_rows([text.value for text in texts], text_tower, root, progress),
        image_owner=np.array(image_owner),
        text_owner=np.array(text_owner),
        ids=tuple(pair.id for pair in kept),
        keys=tuple(pair.identity for pair in kept),
        image_keys=tuple(keys[row] for row in image_rows),
        groups=tuple(groups),
        written=tuple(texts),
        content=fingerprint.combined([*(keys[row].hex() for row in image_rows), *(text.value for text in texts)]),
        skipped=skipped,
        marks=as_marks(marks),
    )


def is_wanted(text: Text, langs: Collection[str], fields: Collection[str]) -> bool:
    """Whether a text is not empty, and in one of the languages and fields asked for (none: all)."""
    return bool(text.value.strip()) and (not langs or text.lang in langs) and (not fields or text.field in fields)


def cached_images(
    refs: Sequence[ImageRef],
    tower: ImageTower,
    root: Path,
    view_names: tuple[str, ...],
    workers: int,
    progress: Progress,
) -> tuple[list[Int[np.ndarray, " n"]], list[FeatureCache], list[bytes], list[Skipped]]:
    """Row numbers of each picture under each view (-1 where it cannot be read), and the content keys."""
    caches = [_cache(root, tower, view) for view in view_names]
    skipped: list[Skipped] = []
    keys: list[bytes | None] = []
    for ref in refs:
        try:
            with ref.open() as source:
                keys.append(content_key(source.read()))
        except DataError as error:
            keys.append(None)
            skipped.append(Skipped(ref.name, error.reason, str(error)))
    wanted: dict[bytes, int] = {}  # content -> the first picture that has it and lacks a view
    for position, key in enumerate(keys):
        if key is not None and key not in wanted and any(key not in cache for cache in caches):
            wanted[key] = position
    bad = _fill(refs, wanted, tower, caches, view_names, workers, progress)
    for position, key in enumerate(keys):
        if key in bad:
            keys[position] = None
            skipped.append(Skipped(refs[position].name, bad[key].reason, bad[key].detail))
    index = [np.array([cache.rows([key])[0] if key else -1 for key in keys], dtype=np.int64) for cache in caches]
    return index, caches, [key or b"" for key in keys], skipped


def _fill(
    refs: Sequence[ImageRef],
    wanted: dict[bytes, int],
    tower: ImageTower,
    caches: list[FeatureCache],
    view_names: tuple[str, ...],
    workers: int,
    progress: Progress,
) -> dict[bytes, Skipped]:
    """Embed the wanted pictures under every view; what cannot be read comes back by content key."""
    keys = list(wanted)
    bad: dict[bytes, Skipped] = {}
    pending: list[tuple[bytes, Shaped[np.ndarray, "v d"]]] = []

    def show_all(pixels: UInt8[np.ndarray, "h w 3"]) -> Any:
        return np.stack([views.show(pixels, view, tower.preprocess) for view in view_names])

    def flush() -> None:
        for number, cache in enumerate(caches):
            cache.add([key for key, _ in pending], np.stack([rows[number] for _, rows in pending]))
        pending.clear()

    batches = stream([refs[wanted[key]] for key in keys], tower.preprocess, workers=workers, also=show_all)
    with_progress = progress.track(_one_by_one(batches), f"image features ({len(view_names)} views)", total=len(keys))
    batch_keys: list[bytes] = []
    batch_pixels: list[UInt8[np.ndarray, "v s s 3"]] = []

    def embed() -> None:
        if not batch_keys:
            return
        stacked = np.stack(batch_pixels)
        rows = tower.embed(stacked.reshape(-1, *stacked.shape[2:])).reshape(len(batch_keys), len(caches), -1)
        pending.extend(zip(batch_keys, rows, strict=True))
        batch_keys.clear()
        batch_pixels.clear()

    size = max(1, 32 // len(view_names))
    most = max(size, _FLUSH_NUMBERS // (tower.dim * len(view_names)))
    for position, shown, problem in with_progress:
        if problem is not None:
            bad[keys[position]] = problem
            continue
        batch_keys.append(keys[position])
        batch_pixels.append(shown)
        if len(batch_keys) == size:
            embed()
        if len(pending) >= min(_FLUSH, most):
            flush()
    embed()
    if pending:
        flush()
    return bad


def _cache(root: Path, tower: ImageTower | TextTower, view: str) -> FeatureCache:
    return FeatureCache(root, tower.fingerprint, view, tower.dim, getattr(tower, "storage", "float16"))


def _one_by_one(batches: Iterable[Any]) -> Iterable[tuple[int, Any, Skipped | None]]:
    for batch in batches:
        for position, problem in batch.skipped:
            yield position, None, problem
        for position, shown in zip(batch.indices, batch.extras, strict=True):
            yield position, shown, None


def text_rows(texts: Sequence[str], tower: TextTower, root: Path, progress: Progress) -> Rows:
    """Features of texts, each run through the tower once ever; equal texts share a row."""
    cache = _cache(root, tower, "text")
    keys = [content_key(text.encode("utf-8", "surrogatepass")) for text in texts]
    missing = cache.missing(keys)
    chunks = [missing[start : start + _TEXT_CHUNK] for start in range(0, len(missing), _TEXT_CHUNK)]
    for chunk in progress.track(chunks, "text features", total=len(chunks)):
        cache.add([keys[i] for i in chunk], tower.embed([texts[i] for i in chunk]))
    return Rows(cache.map(), cache.rows(keys))
