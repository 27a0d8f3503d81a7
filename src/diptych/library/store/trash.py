"""What was deleted and can still be brought back: rows with the time of their deletion and its batch.

Deleting a row and bringing it back are one write each. A batch of rows whose images an indexing run did not find any
more is marked: the same image found again comes back by itself, while what somebody deleted stays deleted.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from .protocol import Store, values
from .rows import BROUGHT_BACK, Row

BATCH_LENGTH = 16  # characters
_GONE = "gone-"  # how a batch begins that an indexing run made; those of people are hex digits only


@dataclass(frozen=True, slots=True)
class Deletion:
    """The handle of one `delete`: give it, or its `batch`, to `undo`."""

    batch: str
    ids: tuple[str, ...]
    deleted: str  # ISO 8601, UTC


@dataclass(frozen=True, slots=True)
class Undone:
    """What an `undo` brought back, and what stays in the trash because another image has its path now."""

    restored: tuple[str, ...]
    kept: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """The mark of one deletion, put on each row that it takes."""

    name: str
    at_ns: int  # nanoseconds since 1970, UTC

    @classmethod
    def of_person(cls) -> Batch:
        """For what somebody deletes: indexing leaves it in the trash."""
        return cls(uuid.uuid4().hex[:BATCH_LENGTH], time.time_ns())

    @classmethod
    def of_gone(cls) -> Batch:
        """For what is not found any more: when it is found again, it comes back."""
        return cls((_GONE + uuid.uuid4().hex)[:BATCH_LENGTH], time.time_ns())

    def put_on(self, rows: Iterable[Row]) -> list[Row]:
        """The same rows, in the trash."""
        return [replace(row, deleted_at=self.at_ns, batch=self.name) for row in rows]


def brought_back(row: Row) -> Row:
    """The row as it was before it was deleted. One whose file was gone is marked, so that indexing leaves it."""
    return replace(row, deleted_at=None, batch=BROUGHT_BACK if is_of_gone(row.batch) else None)


def is_of_gone(batch: str | None) -> bool:
    """Whether an indexing run made this batch."""
    return batch is not None and batch.startswith(_GONE)


def deleted_ns(row: Row) -> int:
    """When a row of the trash was deleted: nanoseconds since 1970, UTC."""
    return row.deleted_at or 0


def shown_time(at_ns: int) -> str:
    """ISO 8601, UTC."""
    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="milliseconds")


def newest_first(store: Store, only: Iterable[str] | None = None) -> list[Row]:
    """Rows of the trash, newest deletion first, then by id."""
    wanted = list(values(store, "id", "trash") if only is None else only)
    return sorted(store.get(wanted, "trash"), key=lambda row: (-deleted_ns(row), row.id))
