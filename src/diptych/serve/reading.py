"""Reading a served library: many searches at once, one image, filters, facets, the whole for the map.

It adds to `diptych.library` what answers over HTTP need: errors with a status, and facets kept for one version.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import DataError
from diptych.core.file_names import unescape
from diptych.library import Answer, Library, Page, RowFacts, Snapshot
from diptych.library.store import Where, content_of

from . import errors
from .embedding import Vector

PLACES = ("path", "folder", "source")  # columns that say where files are


def original(facts: RowFacts, limit: int) -> bytes:
    """The encoded bytes of an image, from its file; containers are not opened.

    Raises ServeError(404) when the file is gone, or no longer holds what was indexed.
    """
    try:
        file = Path(unescape(facts.path))
        if not file.is_file():
            raise FileNotFoundError
        with file.open("rb") as stream:
            data = stream.read(limit + 1)
    except (OSError, ValueError) as error:
        raise _no_file("is not there any more") from error
    if content_of(data) != facts.content:
        raise _no_file("has changed since it was indexed")
    return data


def _no_file(what: str) -> errors.ServeError:
    return errors.ServeError(404, "no_file", f"the file of this image {what}", "Use its thumbnail.")


class Reader:
    """Reads of one library. All of them block."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._facets: dict[tuple[str, str], list[tuple[Any, int]]] = {}

    def __len__(self) -> int:
        return len(self._library)

    @property
    def version(self) -> str:
        """The newest version; a token that changes with every write."""
        return self._library.version or ""

    def search_many(self, asked: Sequence[tuple[Vector, int]]) -> list[Answer]:
        """The k nearest images to each of several vectors."""
        return self._library.search_many(np.stack([vector for vector, _ in asked]), [k for _, k in asked])

    def search_filtered(self, vector: Vector, k: int, where: Where) -> Answer:
        """The k nearest among those for which a filter holds."""
        return self._library.search_many(vector[np.newaxis], [k], where)[0]

    def matching(self, where: Where) -> list[str]:
        """Ids for which a filter holds."""
        return self._library.matching(where)

    def notes(self, where: Where | None, total: int, *, paths: bool) -> list[str]:
        """What to say of a filter that left nothing; without `paths` not where files are."""
        if where is None or total:
            return []
        return [self._library.nothing_passes(where, () if paths else PLACES)]

    def about(self, identifier: str) -> RowFacts:
        """One image. Raises ServeError(404)."""
        found = self._library.facts([identifier])
        if not found:
            raise errors.no_item(identifier)
        return found[0]

    def vector_of(self, identifier: str) -> Vector:
        """The vector of one image. Raises ServeError(404)."""
        try:
            return self._library.vector_of(identifier)
        except DataError as error:
            raise errors.no_item(identifier) from error

    def page(self, where: Where | None, after: str | None, limit: int) -> Page:
        """Images in order of id."""
        return self._library.items(where, cursor=after, limit=limit)

    def columns(self) -> dict[str, str]:
        """What filters can ask about."""
        return self._library.columns()

    def facets(self, column: str) -> list[tuple[Any, int]]:
        """The most frequent values of a column and their counts; kept for one version."""
        version = self.version
        if (version, column) not in self._facets:
            self._facets = {key: value for key, value in self._facets.items() if key[0] == version}
            self._facets[version, column] = self._library.facets(column)
        return self._facets[version, column]

    def thumbnail(self, content: str) -> bytes | None:
        """The JPEG thumbnail of a content fingerprint."""
        return self._library.thumbnails.read(content)

    def whole(self) -> Snapshot:
        """All vectors of the newest version, for the map."""
        return self._library.snapshot()
