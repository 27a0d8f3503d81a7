"""The trash of libraries made before it was two columns: a second table, read beside the first until the first write.

There a row was in the trash before it left the table of images, so a row that is in both was not deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .protocol import Part, Store
from .row_codec import to_cells
from .rows import Row
from .wrapper import StoreWrapper


def unwrapped(row: Row) -> Row:
    """A row as the old table kept it, as one of today's trash."""
    meta = row.meta
    return replace(row, meta=meta["row"], batch=str(meta["batch"]), deleted_at=int(meta["deleted_ns"]))


class WithOldTrash(StoreWrapper):
    """A store and the old table of its trash as one. The first write moves the old rows over and drops the table.

    Killed before the table is dropped, the next write does the same again.
    """

    def __init__(self, store: Store, old: Callable[[], list[Row]], drop: Callable[[], None]) -> None:
        super().__init__(store)
        self._read, self._drop = old, drop

    def count(self, part: Part = "live") -> int:
        """As the store's, with the old trash."""
        return self._store.count(part) + (0 if part == "live" else len(self._old()))

    def write(self, rows: Sequence[Row], remove: Collection[str] = ()) -> None:
        """As the store's, after the old trash was moved into it."""
        self._store.write(self._old())
        self._drop()
        self._store.write(rows, remove)

    def get(self, ids: Collection[str], part: Part = "live") -> list[Row]:
        """As the store's, with the old trash."""
        wanted = set(ids)
        rows = {} if part == "live" else {row.id: row for row in self._old() if row.id in wanted}
        rows |= {row.id: row for row in self._store.get(ids, part)}
        return [rows[identifier] for identifier in sorted(rows)]

    def scan(self, columns: Sequence[str], part: Part = "live") -> Iterator[dict[str, Any]]:
        """As the store's, with the old trash."""
        old = [] if part == "live" else self._old()
        yield from self._store.scan(columns, part)
        if old:
            cells = [to_cells(row) for row in old]
            block: dict[str, Any] = {name: [one.get(name) for one in cells] for name in columns if name != "vector"}
            if "vector" in columns:
                block["vector"] = np.array([row.vector for row in old], dtype=np.float32)
            yield block

    def compact(self, keep_seconds: float) -> None:
        """As the store's, after the old trash was moved into it."""
        self.write([])
        self._store.compact(keep_seconds)

    def _old(self) -> list[Row]:
        rows = [unwrapped(row) for row in self._read()]
        there = {row.id for row in self._store.get([row.id for row in rows], "all")}
        return [row for row in rows if row.id not in there]
