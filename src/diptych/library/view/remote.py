"""The view of a library whose rows are on a server: the server searches, and no copy of its rows is kept here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.shapes import Float32
from diptych.library.store.rows import ID_LENGTH
from diptych.library.store.where import Where

from .base import Points, Ranking, RowFacts, View
from .snapshot import in_use

_TIES = 16  # further hits asked of the server, so that equal scores can be put in order of their ids


class RemoteView(View):
    """See `View`. `version` is what the last writer in this folder noted, and `snapshot` copies all rows.

    Others write to the server without our knowing, so nothing is remembered.
    """

    def count(self, where: Where | None = None) -> int:
        """How many rows there are, or pass a filter."""
        return self._snapshots.reader().count(where=where)

    def search(
        self, queries: Float32[np.ndarray, "q d"], counts: Sequence[int], where: Where | None = None
    ) -> list[Ranking]:
        """The server's own search: one request for all queries, and one for the rows that they find."""
        if not len(queries):
            return []
        considered = self.count(where)
        asked = self._snapshots.reader().search(queries, max(counts) + _TIES, where)
        ordered = [sorted(found, key=lambda one: (-one[1], one[0]))[:k] for found, k in zip(asked, counts, strict=True)]
        facts = {one.id: one for one in self.rows([identifier for found in ordered for identifier, _ in found])}
        version = self.version or ""
        return [
            Ranking(tuple((facts[one], score) for one, score in found if one in facts), considered, version)
            for found in ordered
        ]

    def rows(self, ids: Sequence[str]) -> list[RowFacts]:
        """What is known about these rows."""
        rows = {row.id: row for row in self._snapshots.reader().get(ids, vectors=False)}
        known = (rows[one] for one in ids if one in rows)
        return [RowFacts(row.id, row.path, row.content, row.summary()) for row in known]

    def vector(self, identifier: str) -> Float32[np.ndarray, d] | None:
        """The unit vector of a row, or None without one."""
        found = self._snapshots.reader().get([identifier])
        return normalise(found[0].vector) if found else None

    def page(self, after: str, limit: int, where: Where | None = None) -> tuple[list[str], int]:
        """The next ids, and how many there are."""
        return self._snapshots.reader().page(after, limit, where), self.count(where)

    def sample(self, most: int) -> tuple[list[str], Float32[np.ndarray, "n d"]]:
        """The first rows in order of id: an id is a hash (`rows.new_id`), so that they are spread evenly."""
        reader = self._snapshots.reader()
        rows = reader.get(reader.page("", most))
        vectors = np.array([row.vector for row in rows], dtype=np.float32).reshape(len(rows), self._snapshots.dim)
        return [row.id for row in rows], normalise(vectors)

    def points(self, most: int) -> Points:
        """A sample, some thousand rows in one request."""
        version = self.version or ""  # before the rows: what is written meanwhile is drawn next time
        ids, vectors = self.sample(most)
        return Points(version, np.array(ids, dtype=f"S{ID_LENGTH}"), vectors, self.count())

    def refresh(self, *, whole: bool = True) -> None:
        """Does nothing: a search asks the server."""

    def rewrite(self) -> None:
        """The copy of all rows, where one was made."""
        if in_use(self._snapshots.folder) is not None:
            self._snapshots.write()
