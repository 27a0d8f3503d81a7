"""A store around another: it passes every call on; subclasses change some."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from diptych.core.shapes import Float32

from .protocol import Part, Store
from .rows import Row
from .where import Where


class StoreWrapper:
    """Every method is as the inner store's."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def version(self) -> int:
        """The newest version."""
        return self._store.version

    def count(self, part: Part = "live") -> int:
        """How many rows the newest version holds."""
        return self._store.count(part)

    def columns(self) -> Mapping[str, str]:
        """Name -> kind of what `where` may ask about."""
        return self._store.columns()

    def write(self, rows: Sequence[Row], remove: Collection[str] = ()) -> None:
        """Insert or replace rows by id and remove others for good; durable on return."""
        self._store.write(rows, remove)

    def get(self, ids: Collection[str], part: Part = "live") -> list[Row]:
        """The rows with these ids, sorted by id; unknown ids are left out."""
        return self._store.get(ids, part)

    def scan(self, columns: Sequence[str], part: Part = "live") -> Iterator[dict[str, Any]]:
        """Rows in blocks: column -> list of values, or a float32 array for "vector"."""
        return self._store.scan(columns, part)

    def matching(self, where: Where) -> list[str]:
        """Ids of the live rows for which a filter holds, in order."""
        return self._store.matching(where)

    def search(self, vector: Float32[np.ndarray, d], k: int, where: Where | None = None) -> list[tuple[str, float]]:
        """The inner store's own search among live rows: (id, cosine), best first."""
        return self._store.search(vector, k, where)

    def compact(self, keep_seconds: float) -> None:
        """Merge small files and drop versions older than `keep_seconds`."""
        self._store.compact(keep_seconds)
