"""The view of a library whose rows are on a server: the server searches, and no copy of its rows is kept here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.shapes import Float32
from diptych.library.store.protocol import values
from diptych.library.store.where import Where

from .base import Ranking, RowFacts, View
from .snapshot import in_use

_TIES = 16  # further hits asked of the server, so that equal scores can be put in order of their ids


class RemoteView(View):
    """See `View`. `version` is what the last writer in this folder noted, and `snapshot` copies all rows.

    Others write to the server without our knowing, so nothing is remembered.
    """

    def count(self) -> int:
        """How many rows there are."""
        return self._snapshots.store().count()

    def search(
        self, queries: Float32[np.ndarray, "q d"], counts: Sequence[int], where: Where | None = None
    ) -> list[Ranking]:
        """The server's own search, one request per query."""
        store = self._snapshots.store()
        considered = store.count() if where is None else len(store.matching(where))
        rankings = []
        for query, k in zip(queries, counts, strict=True):
            found = sorted(store.search(query, k + _TIES, where), key=lambda one: (-one[1], one[0]))[:k]
            facts = {one.id: one for one in self.rows([identifier for identifier, _ in found])}
            ranked = tuple((facts[identifier], score) for identifier, score in found if identifier in facts)
            rankings.append(Ranking(ranked, considered, self.version or ""))
        return rankings

    def rows(self, ids: Sequence[str]) -> list[RowFacts]:
        """What is known about these rows."""
        rows = {row.id: row for row in self._snapshots.store().get(ids)}
        known = (rows[one] for one in ids if one in rows)
        return [RowFacts(row.id, row.path, row.content, row.summary()) for row in known]

    def vector(self, identifier: str) -> Float32[np.ndarray, d] | None:
        """The unit vector of a row, or None without one."""
        found = self._snapshots.store().get([identifier])
        return normalise(found[0].vector) if found else None

    def page(self, after: str, limit: int, where: Where | None = None) -> tuple[list[str], int]:
        """The next ids, and how many there are."""
        found = self.matching(where) if where is not None else list(values(self._snapshots.store(), "id"))
        return [one for one in sorted(found) if one > after][:limit], len(found)

    def sample(self, most: int) -> tuple[list[str], Float32[np.ndarray, "n d"]]:
        """Nothing: the server cannot give evenly spread rows."""
        return [], np.empty((0, self._snapshots.dim), dtype=np.float32)

    def refresh(self, *, whole: bool = True) -> None:
        """Does nothing: a search asks the server."""

    def rewrite(self) -> None:
        """The copy of all rows, where one was made."""
        if in_use(self._snapshots.folder) is not None:
            self._snapshots.write()
