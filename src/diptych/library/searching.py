"""Searching a library: words, pictures, sums and neighbours; on its snapshot, or on the server that has its rows."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import DataError
from diptych.core.notes import Note
from diptych.core.shapes import Float32
from diptych.core.text import one_line
from diptych.core.types import Hit
from diptych.library.store.rows import location, text_of
from diptych.library.store.where import Where
from diptych.library.view.snapshot import DamagedError, Snapshot

from . import query as queries
from .opened import OpenLibrary

_SAMPLE = 100  # images that stand for the library's, where it is asked what they are like
_TIES = 16  # further hits asked of a server, so that equal scores can be put in order of their ids


class Searching(OpenLibrary):
    """A library that can be asked."""

    def __len__(self) -> int:
        return self._store().count() if self._place.is_remote else len(self._view())

    def search(
        self,
        query: str | Path | Float32[np.ndarray, d],
        k: int = 10,
        where: str | Where | None = None,
        *,
        cut: bool = False,
    ) -> list[Hit]:
        """The k nearest pictures to words, a sum (see `query`), a picture's path, or a vector; best first.

        Equal scores are ordered by id. `where` is a filter over `info().columns` (see `where_sql`). `cut` shortens
        text over 1,000 characters instead of refusing it. Warns (`QueryWarning`) of plain words that read like a
        sum or an image's name. Raises LimitError, DataError or ConfigError
        for a query, k or filter that cannot be used.
        """
        queries.check_k(k)
        return self._nearest(self.vector(query, cut=cut), k, where)

    def like(self, identifier: str, k: int = 10, where: str | Where | None = None) -> list[Hit]:
        """The k pictures nearest to one of the library's own, itself left out."""
        queries.check_k(k)
        hits = self._nearest(self._vector_of(identifier), k + 1, where)
        others = [hit for hit in hits if hit.id != identifier][:k]
        return [Hit(rank, hit.id, hit.score, hit.path, hit.meta) for rank, hit in enumerate(others)]

    def vector(self, query: str | Path | Float32[np.ndarray, d], *, cut: bool = False) -> Float32[np.ndarray, d]:
        """The unit vector of a query."""
        if isinstance(query, np.ndarray):
            return self._checked(query)
        model = self._needed_model()
        if isinstance(query, Path):
            try:
                return self._checked(model.encode_images([query])[0])
            except DataError as error:  # its message may hold a name that is not valid Unicode
                raise DataError(one_line(str(error)), error.reason) from error
        terms = queries.parse(queries.check_text(query, cut=cut))
        if len(terms) == 1 and (remark := queries.remark(query)) is not None:
            warnings.warn(remark, queries.QueryWarning, stacklevel=4)
        return self._checked(queries.vector(terms, model))

    def unfamiliar(self) -> tuple[Note, ...]:
        """A note where the library's images are, as a whole, unlike those that its model was trained on.

        Looks at a hundred of them. Nothing is said of a library of texts, on a server, or opened without its model.
        """
        told = getattr(self._model, "unfamiliar", None)
        if told is None or self._place.is_remote:
            return ()
        base = self._view().base
        if not len(base) or text_of(base.row(0)["meta"]) is not None:
            return ()
        sample = np.unique(np.linspace(0, len(base) - 1, _SAMPLE).astype(np.int64))
        found = told(np.asarray(base.vectors[sample], dtype=np.float32))
        return tuple(replace(note, count=len(base)) for note in found)

    def snapshot(self) -> Snapshot:
        """The newest version, laid out for searching; rebuilt when it is missing, stale or damaged."""
        return self._view().merged

    def thumbnail(self, identifier: str) -> bytes | None:
        """The JPEG thumbnail of a picture by its id, or None when there is none."""
        if self._place.is_remote:
            found = self._store().get([identifier])
            return self.thumbs.read(found[0].content) if found else None
        place = self._view().find(identifier)
        return None if place is None else self.thumbs.read(place[0].row(place[1])["content"])

    # -- inside ------------------------------------------------------------------------------------

    def _nearest(self, vector: Float32[np.ndarray, d], k: int, where: str | Where | None) -> list[Hit]:
        if self._place.is_remote:
            return self._nearest_there(vector, k, where)
        try:
            return self._hits(vector, k, where)
        except DamagedError:
            self._current = self._rebuilt(anew=True)
            return self._hits(vector, k, where)

    def _vector_of(self, identifier: str) -> Float32[np.ndarray, d]:
        if not self._place.is_remote and (place := self._view().find(identifier)) is not None:
            part, row = place
            return np.asarray(part.vectors[row], dtype=np.float32)
        found = self._store().get([identifier]) if self._place.is_remote else []
        if not found:
            raise DataError(
                f"no picture has the id {identifier[:40]!r}; expected one of the ids that search --json prints"
            )
        return normalise(found[0].vector)

    def _hits(self, vector: Float32[np.ndarray, d], k: int, where: str | Where | None) -> list[Hit]:
        view = self._view()
        found = view.nearest(vector, k, None if where is None else self.matching(where))
        return [self._hit(rank, *one) for rank, one in enumerate(found)]

    def _hit(self, rank: int, score: float, identifier: str, part: Snapshot, row: int) -> Hit:
        about = part.row(row)
        path = location(about["path"], self.folder)
        return Hit(rank, identifier, float(np.float32(score)), path, about["meta"])

    def _nearest_there(self, vector: Float32[np.ndarray, d], k: int, where: str | Where | None) -> list[Hit]:
        """The server's own search, which needs no copy of its rows here."""
        store = self._store()
        found = sorted(
            store.search(vector, k + _TIES, None if where is None else self._filter(where)),
            key=lambda one: (-one[1], one[0]),
        )[:k]
        rows = {row.id: row for row in store.get([identifier for identifier, _ in found])}
        there = [(identifier, score) for identifier, score in found if identifier in rows]
        return [
            Hit(rank, identifier, score, location(rows[identifier].path, self.folder), rows[identifier].summary())
            for rank, (identifier, score) in enumerate(there)
        ]
