"""A snapshot on disk and, over it, the few rows that were written since, by the journal."""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diptych.core.shapes import Float32, Float64, Int64

from . import accelerator, exact, journal
from .journal import Change, JournalEntry
from .snapshot import NOWHERE, Snapshot

Found = tuple[float, str, Snapshot, int]  # cosine, id, and where the row is
Rows = tuple[np.ndarray[Any, Any], ...]  # of each part


class JournalledSnapshot:
    """One store version, ready for searching. It never changes: a newer version is another object."""

    def __init__(
        self,
        base: Snapshot,
        version: str,
        newer: Mapping[str, Change] | None = None,
        gone: frozenset[str] = frozenset(),
        position: int = 0,
    ) -> None:
        self.base = base
        self.version = version
        self._newer = dict(newer or {})
        self._position = position
        self._hidden: Int64[np.ndarray, h] = base.find([*self._newer, *gone])
        # what was added and deleted again since the snapshot hides nothing in it
        self._gone = gone.intersection(base.id(row) for row in self._hidden.tolist())
        self._over = _as_snapshot(self._newer, version, base)

    @property
    def changed(self) -> int:
        """How many rows differ from the snapshot below."""
        return len(self._newer) + len(self._gone)

    @property
    def followed(self) -> int:
        """Bytes of the journal that led here; whoever opens the library reads them again."""
        return self._position

    @property
    def parts(self) -> tuple[tuple[Snapshot, Int64[np.ndarray, h]], ...]:
        """The snapshot on disk and what is over it, each with those of its rows that do not count."""
        return (self.base, self._hidden), (self._over, exact.NONE)

    def __len__(self) -> int:
        return len(self.base) - len(self._hidden) + len(self._over)

    def advanced(self, version: str | None) -> JournalledSnapshot | None:
        """This store version or a later one, by the journal; None when the journal does not lead there."""
        entries, position = journal.read(self.base.folder, self._position)
        newer, gone, reached = dict(self._newer), set(self._gone), self.version
        seen = {reached}
        for entry in entries:
            if entry.before != reached:
                if reached == self.version:  # written before this snapshot was begun, noted after
                    continue
                return None
            _apply(entry, newer, gone)
            reached = entry.after
            seen.add(reached)
        if version not in seen:
            return None
        return JournalledSnapshot(self.base, reached, newer, frozenset(gone), position) if entries else self

    def top_k(
        self,
        queries: Float32[np.ndarray, "q d"],
        counts: Sequence[int],
        ids: Sequence[str] | None = None,
        among: Rows | None = None,
    ) -> list[list[Found]]:
        """For each query its k rows of highest cosine, best first, ties by id.

        With `ids`, only among those, or among what `rows_of` gave for them. The vectors are read once for all queries.
        """
        found: list[list[Found]] = [[] for _ in queries]
        among = self.rows_of(ids) if among is None and ids is not None else among
        for at, (part, hidden) in enumerate(self.parts):
            rows = None if among is None else among[at]
            for listed, ranked in zip(found, _ranked(part, queries, counts, rows, hidden), strict=True):
                listed += _listed(part, *ranked)
        return [sorted(listed, key=lambda one: (-one[0], one[1]))[:k] for listed, k in zip(found, counts, strict=True)]

    def rows_of(self, ids: Sequence[str]) -> Rows:
        """The rows with these ids in each of the parts: for many ids it takes longer than a search."""
        return tuple(part.find(ids) for part, _ in self.parts)

    def find(self, identifier: str) -> tuple[Snapshot, int] | None:
        """Where the row with this id is."""
        for part in (self._over, self.base):
            rows = part.find([identifier])
            if len(rows) and not (part is self.base and rows[0] in self._hidden):
                return part, int(rows[0])
        return None

    def after(self, cursor: str, limit: int, ids: Sequence[str] | None = None) -> list[str]:
        """The next ids in ascending order behind `cursor` ("" is the start), at most `limit`.

        With `ids`, which are in order, only those.
        """
        if ids is not None:
            behind = itertools.islice(ids, bisect.bisect_right(ids, cursor), None)
            return list(itertools.islice((one for one in behind if self.find(one) is not None), limit))
        chosen: list[str] = []
        hidden = set(self._hidden.tolist())
        start = int(np.searchsorted(self.base.ids, np.bytes_(cursor.encode()), side="right"))
        for row in range(start, len(self.base)):
            if len(chosen) == limit:
                break
            if row not in hidden:
                chosen.append(self.base.id(row))
        return sorted([*chosen, *(one for one in self._newer if one > cursor)])[:limit]

    @functools.cached_property
    def merged(self) -> Snapshot:
        """The same rows as one snapshot; in memory, unless nothing was written since it was made."""
        if not self.changed:
            return self.base
        kept = np.setdiff1d(np.arange(len(self.base)), self._hidden)
        parts = [(self.base, row) for row in kept.tolist()] + [(self._over, row) for row in range(len(self._over))]
        ids = np.concatenate([self.base.ids[kept], self._over.ids])
        vectors = np.concatenate([self.base.vectors[kept], self._over.vectors])
        order = np.argsort(ids, kind="stable")
        lines = [_line(*parts[at]) for at in order]
        offsets = np.cumsum([0, *map(len, lines)], dtype=np.int64)
        return Snapshot(self.version, NOWHERE, ids[order], vectors[order], offsets, b"".join(lines))


def _ranked(
    part: Snapshot,
    queries: Float32[np.ndarray, "q d"],
    counts: Sequence[int],
    rows: Int64[np.ndarray, c] | None,
    hidden: Int64[np.ndarray, h],
) -> list[tuple[Int64[np.ndarray, k], Float64[np.ndarray, k]]]:
    """For each query the rows of a snapshot, nearest first, and their cosines: by its index where that helps."""
    found = accelerator.top_k(part, queries, counts, rows, hidden)
    rest = [at for at, one in enumerate(found) if one is None]
    if rest:
        exactly = exact.top_k(part.vectors, queries[rest], [counts[at] for at in rest], rows, hidden)
        for at, one in zip(rest, exactly, strict=True):
            found[at] = one
    return [one for one in found if one is not None]


def _listed(part: Snapshot, rows: Int64[np.ndarray, c], scores: np.ndarray) -> list[Found]:
    return [
        (float(score), part.id(int(row)), part, int(row))
        for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
    ]


def _apply(entry: JournalEntry, newer: dict[str, Change], gone: set[str]) -> None:
    for change in entry.changes:
        newer[change.id] = change
        gone.discard(change.id)
    for identifier in entry.gone:
        newer.pop(identifier, None)
        gone.add(identifier)


def _as_snapshot(newer: Mapping[str, Change], version: str, base: Snapshot) -> Snapshot:
    changes = [newer[identifier] for identifier in sorted(newer)]
    ids = np.array([change.id for change in changes], dtype=base.ids.dtype)
    dim = base.vectors.shape[1]
    vectors = np.array([change.vector for change in changes], dtype=np.float32).reshape(len(changes), dim)
    offsets = np.cumsum([0, *(len(change.line) for change in changes)], dtype=np.int64)
    return Snapshot(version, NOWHERE, ids, vectors, offsets, b"".join(change.line for change in changes))


def _line(part: Snapshot, row: int) -> bytes:
    return bytes(part.lines[int(part.offsets[row]) : int(part.offsets[row + 1])])
