"""The items of a library: what is added, shown, described and listed one by one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.core.checks import whole
from diptych.core.errors import ConfigError, DataError, LimitError, Reason
from diptych.core.notes import Note
from diptych.core.shapes import Float32
from diptych.core.text import plain
from diptych.core.types import Skipped
from diptych.library.store.rows import Row, is_owned, location
from diptych.library.store.trash import deleted_ns, is_of_gone, shown_time

if TYPE_CHECKING:
    from diptych.data.images import Photo

MOST_LISTED = 1000  # items of a page
MOST_META_BYTES = 32_768  # of one image's metadata and texts, as JSON
UPLOAD = "upload"  # the source of what was added by its bytes


@dataclass(frozen=True, slots=True)
class Prepared:
    """What decoding and embedding gave, when the caller did both: in another process, or batched with others."""

    vector: Float32[np.ndarray, d] = field(repr=False)
    thumbnail: bytes = field(repr=False)  # JPEG
    width: int  # pixels, upright
    height: int
    photo: Photo | None = None  # what the image says about itself


@dataclass(frozen=True, slots=True)
class NewItem:
    """An image to be added. `name` is what people call it; its file on disk is named by the library."""

    data: bytes = field(repr=False)  # an encoded image
    name: str | None = None
    texts: Sequence[str] = ()
    split: str | None = None
    group: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    prepared: Prepared | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """An image of the library with all that is known about it; `to_json` makes it JSON-ready."""

    id: str
    name: str
    path: str  # where its file is, in written form
    content: str  # fingerprint of its bytes
    bytes: int
    modified: str  # ISO 8601, UTC: of the file, or when it was added
    width: int  # pixels
    height: int
    texts: tuple[str, ...]
    split: str | None
    group: str | None
    meta: Mapping[str, Any]
    source: str
    owned: bool  # whether the library keeps its file
    photo: Mapping[str, Any]  # what the image says about itself, as `data.images.Photo.said`

    @classmethod
    def of(cls, row: Row, folder: Path) -> Item:
        """The item of a row."""
        return cls(
            id=row.id,
            name=row.name,
            path=location(row.path, folder),
            content=row.content,
            bytes=row.bytes,
            modified=datetime.fromtimestamp(row.modified_ns / 1e9, UTC).isoformat(timespec="seconds"),
            width=row.width,
            height=row.height,
            texts=row.texts,
            split=row.split,
            group=row.group,
            meta=dict(row.meta),
            source=row.source,
            owned=is_owned(row.path),
            photo=dict(row.photo or {}),
        )

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Added:
    """What an `add` did. `items` has one for each image that could be read, in order."""

    items: tuple[Item, ...]
    created: tuple[str, ...]  # ids that are new; the others' bytes were there already
    restored: tuple[str, ...]  # ids that came back from the trash
    skipped: tuple[Skipped, ...]
    notes: tuple[Note, ...] = ()  # on what images say about themselves and what was left out


@dataclass(frozen=True, slots=True)
class Trashed:
    """An image in the trash. `gone` when indexing put it there, because its file or its entry was gone."""

    item: Item
    batch: str
    deleted: str  # ISO 8601, UTC
    gone: bool = False

    @classmethod
    def of(cls, row: Row, folder: Path) -> Trashed:
        """A row of the trash."""
        batch = row.batch or ""
        return cls(Item.of(row, folder), batch, shown_time(deleted_ns(row)), is_of_gone(batch))


@dataclass(frozen=True, slots=True)
class Page:
    """Some items in ascending order of id. `cursor` asks for the next page; None on the last."""

    items: tuple[Item, ...]
    cursor: str | None
    total: int  # of all pages
    undated: int = 0  # of all pages, in order of date: those without one, which come last


def no_item(identifier: str) -> DataError:
    """The error for an id that the library does not have."""
    return DataError(
        f"no image has the id {identifier[:40]!r}; expected one of the ids that search --json prints", Reason.MISSING
    )


class Keep:
    """Means "leave it as it is", where None means "there is none"."""


KEEP = Keep()


def check_limit(limit: int) -> int:
    """How many items a page has, checked. Raises LimitError outside 1..1,000."""
    if not 1 <= whole("limit", limit) <= MOST_LISTED:
        raise LimitError(f"the limit is {limit}; expected a number of items from 1 to {MOST_LISTED:,}")
    return limit


def check_described(
    name: str | None, texts: Collection[str], split: str | None, group: str | None, meta: Mapping[str, Any]
) -> None:
    """Whether a description can be kept. Raises ConfigError for what is no JSON, LimitError for too much of it."""
    import json

    try:
        size = len(json.dumps([name, list(texts), split, group, dict(meta)], allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"the metadata cannot be kept ({error}); expected values that JSON has, no NaN") from error
    if size > MOST_META_BYTES:
        raise LimitError(
            f"the metadata and texts take {size:,} bytes as JSON, the limit is {MOST_META_BYTES:,}; shorten them"
        )


def clean_name(name: str | None) -> str | None:
    """The name an upload came with, as one line without control characters; it never names a file."""
    if name is None:
        return None
    shown = "".join(character if character.isprintable() else " " for character in plain(name))
    return shown.strip()[:255] or None
