"""Pictures as cached features beside their captions as texts: what the cross-attention matcher learns from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from diptych.core import fingerprint
from diptych.core.errors import DataError, Reason
from diptych.core.protocols import SILENT, ImageTower, Progress
from diptych.core.shapes import Int, UInt64
from diptych.core.types import Pair, Skipped
from diptych.data import views
from diptych.data.features import Rows, cached_images, is_wanted
from diptych.data.repeats import Contents
from diptych.data.seen import as_marks, image_mark, text_mark, value_marks


@dataclass(frozen=True)
class CaptionedImages:
    """Records whose pictures went through a frozen tower, with their texts.

    `images[v]` holds view v of every picture; owners are records (0 .. records-1), ascending.
    """

    images: tuple[Rows, ...]
    texts: tuple[str, ...]
    image_owner: Int[np.ndarray, " n"]
    text_owner: Int[np.ndarray, " m"]
    ids: tuple[str, ...]
    keys: tuple[str, ...]  # identities of the records
    image_keys: tuple[bytes, ...]  # tell pictures by their bytes
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
        return Contents(self.image_keys, self.image_owner.tolist(), names, self.texts, self.text_owner.tolist())

    def fingerprint(self) -> str:
        """Stable name of the records, their content and their order."""
        owners = fingerprint.of_bytes(self.image_owner.tobytes(), self.text_owner.tobytes())
        return fingerprint.combined([*self.ids, owners, self.content])


def collect_captions(
    pairs: Iterable[Pair],
    tower: ImageTower,
    root: Path,
    *,
    view_names: tuple[str, ...] = (views.FULL,),
    langs: tuple[str, ...] = (),
    fields: tuple[str, ...] = (),
    workers: int = 2,
    progress: Progress = SILENT,
) -> CaptionedImages:
    """Run every picture through the tower, once ever, and gather its cached rows and its texts.

    A pair whose pictures are all unreadable, or that has no text in `langs` and `fields` (empty: all), is
    left out and listed in `skipped`. Raises DataError when nothing is left.
    """
    views.check(view_names)
    pairs = list(pairs)
    refs = [ref for pair in pairs for ref in pair.images]
    index, caches, keys, skipped = cached_images(refs, tower, root, view_names, workers, progress)
    chosen: list[int] = []  # positions in refs
    texts: list[str] = []
    image_owner: list[int] = []
    text_owner: list[int] = []
    kept: list[Pair] = []
    marks: list[int] = []
    position = 0
    for pair in pairs:
        readable = [ref for ref in range(position, position + len(pair.images)) if index[0][ref] >= 0]
        position += len(pair.images)
        wanted = [text.value for text in pair.texts if is_wanted(text, langs, fields)]
        if not readable or not wanted:
            skipped.append(Skipped(pair.id, Reason.NO_IMAGE if not readable else Reason.EMPTY_TEXT))
            continue
        chosen += readable
        texts += wanted
        image_owner += [len(kept)] * len(readable)
        text_owner += [len(kept)] * len(wanted)
        kept.append(pair)
        marks += [
            text_mark(pair.id, pair.texts),
            *value_marks(pair.texts),
            *(image_mark(keys[ref]) for ref in readable),
        ]
    if not kept:
        raise DataError(
            f"found no usable pair among {len(pairs)}: each needs a readable picture and a text", Reason.EMPTY_TEXT
        )
    return CaptionedImages(
        images=tuple(Rows(cache.map(), rows[chosen]) for cache, rows in zip(caches, index, strict=True)),
        texts=tuple(texts),
        image_owner=np.array(image_owner),
        text_owner=np.array(text_owner),
        ids=tuple(pair.id for pair in kept),
        keys=tuple(pair.identity for pair in kept),
        image_keys=tuple(keys[row] for row in chosen),
        content=fingerprint.combined([*(keys[row].hex() for row in chosen), *texts]),
        skipped=skipped,
        marks=as_marks(marks),
    )
