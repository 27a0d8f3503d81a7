"""What a reader searches: a snapshot on disk and, over it, the few rows that were written since."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from diptych.core.shapes import Float32, Int64

from . import accelerator, exact, journal
from .journal import Change, Entry
from .snapshot import NOWHERE, Snapshot

Found = tuple[float, str, Snapshot, int]  # cosine, id, and where the row is


class View:
    """One store version, ready for searching. It never changes: a newer version is another view."""

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
        self._over = _laid_out(self._newer, version, base)

    @property
    def changed(self) -> int:
        """How many rows differ from the snapshot below."""
        return len(self._newer) + len(self._gone)

    @property
    def followed(self) -> int:
        """Bytes of the journal that led here; whoever opens the library reads them again."""
        return self._position

    def __len__(self) -> int:
        return len(self.base) - len(self._hidden) + len(self._over)

    def advanced(self, version: str | None) -> View | None:
        """The view of this store version or a later one, by the journal; None when the journal does not lead there."""
        entries, position = journal.read(self.base.folder, self._position)
        newer, gone, reached = dict(self._newer), set(self._gone), self.version
        seen = {reached}
        for entry in entries:
            if entry.before != reached:
                return None
            _apply(entry, newer, gone)
            reached = entry.after
            seen.add(reached)
        if version not in seen:
            return None
        return View(self.base, reached, newer, frozenset(gone), position) if entries else self

    def nearest(self, query: Float32[np.ndarray, d], k: int, ids: Sequence[str] | None = None) -> list[Found]:
        """The k rows of highest cosine, best first, ties by id; with `ids`, only among those."""
        found = [*self._in_base(query, k, ids), *self._over_base(query, k, ids)]
        return sorted(found, key=lambda one: (-one[0], one[1]))[:k]

    def nearest_many(self, queries: Float32[np.ndarray, "q d"], counts: Sequence[int]) -> list[list[Found]]:
        """As `nearest` for several queries, each with its own k; the vectors are read once for all of them."""
        wanted = [k + len(self._hidden) for k in counts]
        if accelerator.nearest(self.base, queries[0], wanted[0]) is not None:
            return [self.nearest(query, k) for query, k in zip(queries, counts, strict=True)]
        found = []
        many = exact.nearest_many(self.base.vectors, queries, wanted)
        for query, k, (rows, scores) in zip(queries, counts, many, strict=True):
            shown = ~np.isin(rows, self._hidden)
            listed = _listed(self.base, rows[shown][:k], scores[shown][:k]) + self._over_base(query, k, None)
            found.append(sorted(listed, key=lambda one: (-one[0], one[1]))[:k])
        return found

    def find(self, identifier: str) -> tuple[Snapshot, int] | None:
        """Where the row with this id is."""
        for part in (self._over, self.base):
            rows = part.find([identifier])
            if len(rows) and not (part is self.base and rows[0] in self._hidden):
                return part, int(rows[0])
        return None

    def after(self, cursor: str, limit: int, ids: Sequence[str] | None = None) -> list[str]:
        """The next ids in ascending order behind `cursor` ("" is the start), at most `limit`; of `ids` if given."""
        if ids is not None:
            return sorted(one for one in ids if one > cursor and self.find(one) is not None)[:limit]
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
        """The same rows as one snapshot; in memory, unless nothing was written since it was laid out."""
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

    def _in_base(self, query: Float32[np.ndarray, d], k: int, ids: Sequence[str] | None) -> list[Found]:
        base, hidden = self.base, self._hidden
        rows = None if ids is None else np.setdiff1d(base.find(ids), hidden)
        wanted = k if rows is not None else k + len(hidden)
        found = accelerator.nearest(base, query, wanted, rows)
        if found is None:
            found = exact.nearest(base.vectors, query, wanted, rows)
        shown = ~np.isin(found[0], hidden)
        return _listed(base, found[0][shown][:k], found[1][shown][:k])

    def _over_base(self, query: Float32[np.ndarray, d], k: int, ids: Sequence[str] | None) -> list[Found]:
        over = self._over
        if not len(over):
            return []
        return _listed(over, *exact.nearest(over.vectors, query, k, None if ids is None else over.find(ids)))


def _listed(part: Snapshot, rows: Int64[np.ndarray, c], scores: np.ndarray) -> list[Found]:
    return [
        (float(score), part.id(int(row)), part, int(row))
        for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
    ]


def _apply(entry: Entry, newer: dict[str, Change], gone: set[str]) -> None:
    for change in entry.changes:
        newer[change.id] = change
        gone.discard(change.id)
    for identifier in entry.gone:
        newer.pop(identifier, None)
        gone.add(identifier)


def _laid_out(newer: Mapping[str, Change], version: str, base: Snapshot) -> Snapshot:
    changes = [newer[identifier] for identifier in sorted(newer)]
    ids = np.array([change.id for change in changes], dtype=base.ids.dtype)
    dim = base.vectors.shape[1]
    vectors = np.array([change.vector for change in changes], dtype=np.float32).reshape(len(changes), dim)
    offsets = np.cumsum([0, *(len(change.line) for change in changes)], dtype=np.int64)
    return Snapshot(version, NOWHERE, ids, vectors, offsets, b"".join(change.line for change in changes))


def _line(part: Snapshot, row: int) -> bytes:
    return bytes(part.lines[int(part.offsets[row]) : int(part.offsets[row + 1])])
