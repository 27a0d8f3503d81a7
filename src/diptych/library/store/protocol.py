"""What a store is: durable rows behind a few methods, in a folder (Lance) or on a server (Milvus)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from diptych.core.batched import batched
from diptych.core.errors import LibraryError
from diptych.core.file_names import escape
from diptych.core.shapes import Float32

from .rows import Row
from .where import Condition, Where

_ASKED = 1000  # values of one request
Part = Literal["live", "trash", "all"]  # which rows: those that are not deleted, those in the trash, or both


@runtime_checkable
class Scannable(Protocol):
    """Rows that can be read through once: all that a snapshot needs."""

    def scan(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """All rows in blocks: column -> list of values, or a float32 array for "vector"."""


@runtime_checkable
class Store(Scannable, Protocol):
    """Durable rows with versions. One writer at a time; every write is one new version, whole or none.

    Rows in the trash are rows of the same table: those whose `deleted_at` is set. They are given only when that
    `part` is asked for. A deletion is a `write` of the same rows with `deleted_at` and `batch`, and so is its undoing.
    """

    @property
    def version(self) -> int:
        """The newest version, as this store sees it now."""

    def count(self, part: Part = "live", where: Where | None = None) -> int:
        """How many rows the newest version holds; with `where`, how many of them pass it."""

    def scan(self, columns: Sequence[str], part: Part = "live", where: Where | None = None) -> Iterator[dict[str, Any]]:
        """Rows, or those that pass `where`, in blocks: column -> list of values, or a float32 array for "vector"."""

    def columns(self) -> Mapping[str, str]:
        """Name -> kind (text, integer, number, boolean, timestamp) of what `where` may ask about."""

    def write(self, rows: Sequence[Row], remove: Collection[str] = ()) -> None:
        """Insert or replace rows by id and remove others for good, as one version; durable on return."""

    def get(self, ids: Collection[str], part: Part = "live", *, vectors: bool = True) -> list[Row]:
        """The rows with these ids, sorted by id; unknown ids are left out. Without `vectors` those are empty."""

    def matching(self, where: Where) -> list[str]:
        """Ids of the live rows for which a filter over `columns` holds, in order."""

    def page(self, after: str, limit: int, where: Where | None = None) -> list[str]:
        """Ids of the next live rows behind `after` ("" is the start), or of those that pass `where`, in order."""

    def search(
        self, vectors: Float32[np.ndarray, "q d"], k: int, where: Where | None = None
    ) -> list[list[tuple[str, float]]]:
        """The store's own search among live rows, for several unit vectors: for each (id, cosine), best first."""

    def check_words(self) -> None:
        """Raise LibraryError where words in images cannot be searched."""

    def worded(self, text: str, k: int, where: Where | None = None) -> list[str]:
        """Ids of live rows whose PHOTO_WORDS hold words of a text, best first by BM25."""

    def compact(self, keep_seconds: float) -> None:
        """Merge small files and drop versions older than `keep_seconds`."""


@runtime_checkable
class Feed(Protocol):
    """The journal of writes, where readers on several machines follow it: a line for each version."""

    def publish(self, after: str, line: bytes) -> None:
        """Add the write that led to a version. Never raises LibraryError."""

    def since(self, version: str) -> Iterator[bytes]:
        """The lines of the writes after a version, in order."""


def earlier_layout(folder: Path | str) -> LibraryError:
    """The error for a library of an earlier development version, which kept its trash in a table of its own."""
    return LibraryError(
        f"the rows in {escape(str(folder))} are in the layout of an earlier development version (the trash in a table "
        f"of its own), which is no longer read; index again into a new library folder"
    )


def cells(store: Store, *columns: str, part: Part = "live") -> Iterator[tuple[Any, ...]]:
    """The values of some columns, but the vector, row by row."""
    for block in store.scan(columns, part):
        yield from zip(*(block[name] for name in columns), strict=True)


def having(store: Store, column: str, wanted: Collection[str], part: Part = "live") -> set[str]:
    """Those of these values that some row has in a column: only the rows that have one are read."""
    found: set[str] = set()
    for some in batched(sorted(wanted), _ASKED):
        for block in store.scan([column], part, Condition(column, "in", tuple(some))):
            found.update(block[column])
    return found


def values(store: Store, column: str, part: Part = "live") -> Iterator[Any]:
    """The values of one column."""
    return (value for block in store.scan([column], part) for value in block[column])
