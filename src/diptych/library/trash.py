"""What was deleted and can still be brought back: rows of a second table, each with when and in which batch it went.

A row is in the trash before it leaves the pictures, and back among the pictures before it leaves the trash. A
process that is killed in between leaves it in both; then it counts as not deleted.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from .items import Item
from .rows import Row
from .store import Store

BATCH_LENGTH = 16  # hex digits


@dataclass(frozen=True, slots=True)
class Deletion:
    """The handle of one `delete`: give it, or its `batch`, to `undo`."""

    batch: str
    ids: tuple[str, ...]
    deleted: str  # ISO 8601, UTC


@dataclass(frozen=True, slots=True)
class Undone:
    """What an `undo` brought back, and what stays in the trash because another picture has its path now."""

    restored: tuple[str, ...]
    kept: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trashed:
    """A picture in the trash."""

    item: Item
    batch: str
    deleted: str  # ISO 8601, UTC


def new_batch() -> str:
    """A handle that no other deletion has."""
    return uuid.uuid4().hex[:BATCH_LENGTH]


def wrap(row: Row, batch: str, at_ns: int) -> Row:
    """A row as the trash keeps it. `batch` and `deleted_s` become columns of the trash."""
    return replace(row, meta={"batch": batch, "deleted_ns": str(at_ns), "row": dict(row.meta)})


def unwrap(row: Row) -> Row:
    """The row as it was."""
    return replace(row, meta=row.meta["row"])


def batch_of(row: Row) -> str:
    """In which deletion a row of the trash went."""
    return str(row.meta["batch"])


def deleted_ns(row: Row) -> int:
    """When a row of the trash was deleted: nanoseconds since 1970, UTC."""
    return int(row.meta["deleted_ns"])


def shown_time(at_ns: int) -> str:
    """ISO 8601, UTC."""
    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="milliseconds")


def contents(trash: Store | None) -> Iterator[tuple[str, str, str]]:
    """(id, path, content) of every row."""
    if trash is not None:
        for block in trash.scan(["id", "path", "content"]):
            yield from zip(block["id"], block["path"], block["content"], strict=True)


def rows(trash: Store | None, only: Iterable[str] | None = None) -> list[Row]:
    """Rows of the trash as it keeps them, newest deletion first, then by id."""
    if trash is None:
        return []
    wanted = [identifier for identifier, _, _ in contents(trash)] if only is None else list(only)
    return sorted(trash.get(wanted), key=lambda row: (-deleted_ns(row), row.id))


def shown(row: Row, folder: Path) -> Trashed:
    """A row of the trash for people."""
    return Trashed(Item.of(unwrap(row), folder), batch_of(row), shown_time(deleted_ns(row)))


def now_ns() -> int:
    """The time of a deletion."""
    return time.time_ns()
