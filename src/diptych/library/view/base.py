"""What all reads of a library go to: the same questions, answered from a snapshot here or by the store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.core.shapes import Float32
from diptych.library.store.where import Where

from .ordered import ORDERS, Ordered
from .snapshot import Snapshot
from .snapshots import Snapshots


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What is known about a row, without its vector."""

    id: str
    path: str  # as stored: `rows.location` makes it the place on disk
    content: str
    meta: Mapping[str, Any]  # as a hit has it: name, width, height, texts, split and group included


@dataclass(frozen=True, slots=True)
class Ranking:
    """What one query found in one version: rows with their cosines, best first, equal cosines by id."""

    rows: tuple[tuple[RowFacts, float], ...]
    considered: int  # rows that were searched: all, or those that the filter left
    version: str


@dataclass(frozen=True, slots=True)
class Points:
    """The rows that a map shows, in order of id: all of one version, or a sample of them."""

    version: str
    ids: np.ndarray[Any, np.dtype[np.bytes_]]
    vectors: Float32[np.ndarray, "n d"]
    total: int  # rows of the library

    def __len__(self) -> int:
        return len(self.ids)


class View(ABC):
    """The live rows of a library, as of the newest version."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots

    @property
    def version(self) -> str | None:
        """Changes with every write; cheap to ask for; None before the first."""
        return self._snapshots.version

    @abstractmethod
    def count(self, where: Where | None = None) -> int:
        """How many rows there are, or pass a filter."""

    @abstractmethod
    def search(
        self, queries: Float32[np.ndarray, "q d"], counts: Sequence[int], where: Where | None = None
    ) -> list[Ranking]:
        """The nearest rows to each of several unit vectors, each with its own count, all in one version."""

    @abstractmethod
    def rows(self, ids: Sequence[str]) -> list[RowFacts]:
        """What is known about these rows, in the order of the ids; unknown ids are left out."""

    @abstractmethod
    def vector(self, identifier: str) -> Float32[np.ndarray, d] | None:
        """The unit vector of a row, or None without one."""

    def matching(self, where: Where) -> list[str]:
        """Ids of the rows for which a filter holds, in order."""
        return self._snapshots.reader().matching(where)

    @abstractmethod
    def page(self, after: str, limit: int, where: Where | None = None) -> tuple[list[str], int]:
        """The next ids behind `after` ("" is the start), in order; and how many rows all pages have."""

    def ordered(self, order: str, where: Where | None = None) -> Ordered:
        """All rows, or those that pass a filter, in an order of `ORDERS`: its columns are read from all of them."""
        return Ordered.of(self.scan(ORDERS[order], where), order)

    def scan(self, columns: Sequence[str], where: Where | None = None) -> Iterator[dict[str, Any]]:
        """Rows, or those that pass a filter, in blocks: column -> list of values, a float32 array for "vector"."""
        return self._snapshots.reader().scan(columns, where=where)

    def facets(self, columns: Sequence[str], where: Where | None = None) -> dict[str, Counter[Any]]:
        """How often each value of these columns occurs, None left out; only these columns are read, block by block."""
        counts: dict[str, Counter[Any]] = {name: Counter() for name in columns}
        for block in self.scan(columns, where) if columns else ():
            for name, counted in counts.items():
                counted.update(value for value in block[name] if value is not None)
        return counts

    @abstractmethod
    def sample(self, most: int) -> tuple[list[str], Float32[np.ndarray, "n d"]]:
        """Ids and unit vectors of at most so many rows, spread evenly, in order of id."""

    @abstractmethod
    def points(self, most: int) -> Points:
        """What a map shows: all rows, or a sample of at most `most`."""

    def snapshot(self) -> Snapshot:
        """All rows of the newest version as arrays; made when it is missing, old or damaged."""
        return self._snapshots.newest().merged

    @abstractmethod
    def refresh(self, *, whole: bool = True) -> None:
        """After writing: make the next search quick. `whole`: with a new snapshot, where one is used."""

    @abstractmethod
    def rewrite(self) -> None:
        """Make afresh what reads go to, from the store alone. Raises OSError when it cannot be written."""
