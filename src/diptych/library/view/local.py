"""The view of a library whose rows are in its folder: searches read a snapshot and the journal of later writes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diptych.core.shapes import Float32
from diptych.library.store.where import Where

from .base import Points, Ranking, RowFacts, View
from .journalled import JournalledSnapshot, Rows
from .ordered import Ordered
from .snapshot import DamagedError, Snapshot
from .snapshots import Snapshots


class LocalView(View):
    """See `View`."""

    def __init__(self, snapshots: Snapshots) -> None:
        super().__init__(snapshots)
        # the ids of the last filter, and the version and filter that they are of: the next page asks for the same
        self._matched: tuple[str | None, Where | None, list[str]] = (None, None, [])
        # the rows of the last filter of a search, and what they are of: the next search may ask for the same
        self._among: tuple[JournalledSnapshot, Where, Rows, int] | None = None
        self._ordered: tuple[tuple[str | None, str, Where | None], Ordered] | None = None  # the same of the last order

    def count(self, where: Where | None = None) -> int:
        """How many rows there are, or pass a filter."""
        return len(self._snapshots.newest() if where is None else self.matching(where))

    def search(
        self, queries: Float32[np.ndarray, "q d"], counts: Sequence[int], where: Where | None = None
    ) -> list[Ranking]:
        """The nearest rows: exact, or by FAISS in a large library."""
        try:
            return self._search(self._snapshots.newest(), queries, counts, where)
        except DamagedError:
            return self._search(self._snapshots.replace_damaged(), queries, counts, where)

    def rows(self, ids: Sequence[str]) -> list[RowFacts]:
        """What is known about these rows."""
        newest = self._snapshots.newest()
        places = (newest.find(one) for one in ids)
        return [_facts(*place) for place in places if place is not None]

    def vector(self, identifier: str) -> Float32[np.ndarray, d] | None:
        """The unit vector of a row, or None without one."""
        place = self._snapshots.newest().find(identifier)
        return None if place is None else np.asarray(place[0].vectors[place[1]], dtype=np.float32)

    def matching(self, where: Where) -> list[str]:
        """Ids of the rows for which a filter holds, in order."""
        version = self.version
        if self._matched[:2] != (version, where):
            self._matched = (version, where, super().matching(where))
        return list(self._matched[2])

    def ordered(self, order: str, where: Where | None = None) -> Ordered:
        """All rows, or those that pass a filter, in an order."""
        asked = (self.version, order, where)
        kept = self._ordered
        if kept is None or kept[0] != asked:
            self._ordered = kept = (asked, super().ordered(order, where))
        return kept[1]

    def page(self, after: str, limit: int, where: Where | None = None) -> tuple[list[str], int]:
        """The next ids, and how many there are."""
        found = None if where is None else self.matching(where)
        newest = self._snapshots.newest()
        return newest.after(after, limit, found), len(newest) if found is None else len(found)

    def sample(self, most: int) -> tuple[list[str], Float32[np.ndarray, "n d"]]:
        """Rows of the snapshot alone: what was written since is little."""
        return _sample(self._snapshots.newest(), most)

    def points(self, most: int) -> Points:
        """All rows, which are mapped into memory; of more than `most` those of the snapshot that `sample` gives."""
        newest = self._snapshots.newest()
        if len(newest) > most:
            ids, vectors = _sample(newest, most)
            return Points(newest.version, np.array(ids, dtype=newest.base.ids.dtype), vectors, len(newest))
        all_rows = self.snapshot()
        return Points(all_rows.version, all_rows.ids, all_rows.vectors, len(all_rows))

    def refresh(self, *, whole: bool = True) -> None:
        """Follow the journal; make a new snapshot now (`whole`), or begin one beside the writes when it is due."""
        self._snapshots.refresh(whole=whole)

    def rewrite(self) -> None:
        """A new snapshot."""
        self._snapshots.write()

    def _rows_among(self, newest: JournalledSnapshot, where: Where) -> tuple[Rows, int]:
        """The rows of a version that pass a filter, and how many ids did."""
        kept = self._among
        if kept is None or kept[0] is not newest or kept[1] != where:
            ids = self.matching(where)
            self._among = kept = (newest, where, newest.rows_of(ids), len(ids))
        return kept[2], kept[3]

    def _search(
        self,
        newest: JournalledSnapshot,
        queries: Float32[np.ndarray, "q d"],
        counts: Sequence[int],
        where: Where | None,
    ) -> list[Ranking]:
        among, considered = (None, len(newest)) if where is None else self._rows_among(newest, where)
        return [
            Ranking(tuple((_facts(part, row), score) for score, _, part, row in found), considered, newest.version)
            for found in newest.top_k(queries, counts, among=among)
        ]


def _sample(newest: JournalledSnapshot, most: int) -> tuple[list[str], Float32[np.ndarray, "n d"]]:
    """Rows of the snapshot that were not deleted since, at most so many."""
    base, hidden = newest.parts[0]
    shown = np.setdiff1d(np.arange(len(base)), hidden, assume_unique=True)
    rows = shown[np.unique(np.linspace(0, max(len(shown) - 1, 0), min(most, len(shown))).astype(np.int64))]
    return [base.id(row) for row in rows.tolist()], np.asarray(base.vectors[rows], dtype=np.float32)


def _facts(part: Snapshot, row: int) -> RowFacts:
    about = part.row(row)
    return RowFacts(part.id(row), about["path"], about["content"], about["meta"])
