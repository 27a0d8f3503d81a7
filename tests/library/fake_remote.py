"""A server in this process: a remote place as `MilvusPlace` is one, which counts what it is asked and what it gives."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import LibraryError
from diptych.library.card import Card
from diptych.library.store.places import numbered
from diptych.library.store.protocol import Part, Store
from diptych.library.store.row_codec import MOST_EXTRA_COLUMNS, cast, from_cells, new_columns, to_cells
from diptych.library.store.rows import COLUMNS, Row
from diptych.library.store.where import Where, holds

SCHEME = "fake"
_BLOCK = 1000
_KINDS = {"text": "string", "number": "double", "boolean": "bool"}


@dataclass
class FakeCollection:
    """A collection of the server. `requests` and `rows_given` are what its clients cost it."""

    rows: dict[str, tuple[Row, dict[str, Any]]] = field(default_factory=dict)  # id -> row, and what filters compare
    extra: dict[str, str] = field(default_factory=dict)
    version: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    rows_given: int = 0


class FakeServer:
    """Its collections by name."""

    def __init__(self) -> None:
        self.collections: dict[str, FakeCollection] = {}

    def place(self, about: Card, folder: Path) -> FakePlace:
        """As `places.KINDS` wants it."""
        name = about.store.partition("://")[2]
        name = f"{name}_g{about.generation}" if about.generation else name
        return FakePlace(self.collections, name, about.dim, folder / numbered("store", about.generation))


class FakePlace:
    """One collection, as a place."""

    has_own_search = True
    feed = None

    def __init__(self, collections: dict[str, FakeCollection], name: str, dim: int, notes: Path) -> None:
        self._collections, self.name, self._dim = collections, name, dim
        self._notes = notes  # a folder for every generation, by which an old one is found

    def token(self) -> str | None:
        found = self._collections.get(self.name)
        return None if found is None or not found.version else str(found.version)

    def store(self) -> Store:
        self._notes.mkdir(parents=True, exist_ok=True)
        return FakeStore(self._collections.setdefault(self.name, FakeCollection()), self._dim)

    def reader(self) -> Store:
        return self.store()

    def at_one_version(self) -> tuple[Store, str]:
        return self.store(), self.token() or "0"

    def check_free(self) -> None:
        if self.name in self._collections:
            raise LibraryError(f"the server has a collection {self.name!r} already")

    def versions_kept(self) -> int:
        return 0

    def drop(self) -> None:
        self._collections.pop(self.name, None)


class FakeStore:
    """Rows of a collection, searched and filtered by slow, obvious code."""

    def __init__(self, collection: FakeCollection, dim: int) -> None:
        self._kept, self._dim = collection, dim

    @property
    def version(self) -> int:
        return self._kept.version

    def columns(self) -> Mapping[str, str]:
        return {**COLUMNS, **self._kept.extra}

    def count(self, part: Part = "live", where: Where | None = None) -> int:
        self._kept.requests["count"] += 1
        return len(self._ids(part, where))

    def write(self, rows: Sequence[Row], remove: Collection[str] = ()) -> None:
        if not rows and not remove:
            return
        self._kept.requests["write"] += 1
        self._kept.extra |= new_columns(rows, self._kept.extra, MOST_EXTRA_COLUMNS - len(self._kept.extra))
        for identifier in set(remove) - {row.id for row in rows}:
            self._kept.rows.pop(identifier, None)
        for row in rows:
            cells = to_cells(row)
            extra = {name: cast(cells.get(name), _KINDS[kind]) for name, kind in self._kept.extra.items()}
            said = from_cells(cells, np.array(row.vector, dtype=np.float32))
            self._kept.rows[row.id] = said, cells | extra
        self._kept.version += 1

    def get(self, ids: Collection[str], part: Part = "live", *, vectors: bool = True) -> list[Row]:
        self._kept.requests["get"] += 1
        found = [self._kept.rows[one][0] for one in sorted(set(ids)) if one in self._kept.rows]
        found = [row for row in found if part == "all" or (row.deleted_at is None) == (part == "live")]
        self._kept.rows_given += len(found)
        return found if vectors else [replace(row, vector=np.empty(0, np.float32)) for row in found]

    def scan(self, columns: Sequence[str], part: Part = "live", where: Where | None = None) -> Iterator[dict[str, Any]]:
        ids = iter(self._ids(part, where))
        while some := list(itertools.islice(ids, _BLOCK)):
            self._kept.requests["scan"] += 1
            self._kept.rows_given += len(some)
            rows = [self._kept.rows[one] for one in some]
            block: dict[str, Any] = {name: [cells.get(name) for _, cells in rows] for name in columns}
            if "vector" in columns:
                block["vector"] = np.array([row.vector for row, _ in rows], dtype=np.float32)
            yield block

    def matching(self, where: Where) -> list[str]:
        return [one for block in self.scan(["id"], where=where) for one in block["id"]]

    def page(self, after: str, limit: int, where: Where | None = None) -> list[str]:
        self._kept.requests["page"] += 1
        found = [one for one in self._ids("live", where) if one > after][:limit]
        self._kept.rows_given += len(found)
        return found

    def search(self, vectors: np.ndarray, k: int, where: Where | None = None) -> list[list[tuple[str, float]]]:
        self._kept.requests["search"] += 1
        ids = self._ids("live", where)
        if not ids:
            return [[] for _ in vectors]
        scores = np.asarray(vectors) @ normalise(np.array([self._kept.rows[one][0].vector for one in ids])).T
        found = [[(ids[at], float(line[at])) for at in np.argsort(-line, kind="stable")[:k]] for line in scores]
        self._kept.rows_given += sum(map(len, found))
        return found

    def check_words(self) -> None:
        raise LibraryError("words in images cannot be searched on this server; leave --ocr out")

    def worded(self, text: str, k: int, where: Where | None = None) -> list[str]:
        self.check_words()
        return []

    def compact(self, keep_seconds: float) -> None:
        self._kept.requests["compact"] += 1

    def _ids(self, part: Part, where: Where | None) -> list[str]:
        return sorted(
            identifier
            for identifier, (row, cells) in self._kept.rows.items()
            if (part == "all" or (row.deleted_at is None) == (part == "live"))
            and (where is None or holds(where, cells.get))
        )
