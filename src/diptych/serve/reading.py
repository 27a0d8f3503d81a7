"""Reading a served library: many searches at once, one image, filters, facets, the whole for the map.

The one module that looks below the library's public face, for what a server needs and a script does not:
several queries in one pass over the vectors. It does the same through the public face where the rows
are on a server of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import DataError
from diptych.core.file_names import unescape
from diptych.core.types import Hit
from diptych.library import Library, Page
from diptych.library.store.rows import content_of
from diptych.library.store.where import Where
from diptych.library.view.snapshot import Snapshot

from . import errors
from .embedding import Vector

_MOST_FACETS = 50
PLACES = ("path", "folder", "source")  # columns that tell where files lie


@dataclass(frozen=True, slots=True)
class Found:
    """Hits of one version, best first."""

    hits: list[Hit]
    considered: int  # images that passed the filter
    version: str


@dataclass(frozen=True, slots=True)
class About:
    """What a row tells without its vector."""

    path: str
    content: str
    meta: dict[str, Any]  # name, width, height and texts included, as in a hit


def original(about: About, limit: int) -> bytes:
    """The encoded bytes of an image, from its file; containers are not opened.

    Raises ServeError(404) when the file is gone, or no longer holds what was indexed.
    """
    try:
        file = Path(unescape(about.path))
        if not file.is_file():
            raise FileNotFoundError
        with file.open("rb") as stream:
            data = stream.read(limit + 1)
    except (OSError, ValueError) as error:
        raise _no_file("is not there any more") from error
    if content_of(data) != about.content:
        raise _no_file("has changed since it was indexed")
    return data


def _no_file(what: str) -> errors.ServeError:
    return errors.ServeError(404, "no_file", f"the file of this image {what}", "Use its thumbnail.")


class Reader:
    """Reads of one library. All of them block."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._is_remote = library.is_remote
        self._facets: dict[tuple[str, str], list[tuple[Any, int]]] = {}

    def __len__(self) -> int:
        return len(self._library)

    @property
    def version(self) -> str:
        """The newest version; a token that changes with every write."""
        return self._library.version or ""

    def search_many(self, asked: Sequence[tuple[Vector, int]]) -> list[Found]:
        """The k nearest images to each of several vectors."""
        library = self._library
        if self._is_remote:
            total, version = len(library), self.version
            return [Found(library.search(vector, k), total, version) for vector, k in asked]
        view = library._view()
        many = view.nearest_many(np.stack([vector for vector, _ in asked]), [k for _, k in asked])
        return [
            Found([library._hit(rank, *one) for rank, one in enumerate(found)], len(view), view.version)
            for found in many
        ]

    def search_filtered(self, vector: Vector, k: int, where: Where) -> Found:
        """The k nearest among those for which a filter holds."""
        library = self._library
        ids = library.matching(where)
        if self._is_remote:
            return Found(library.search(vector, k, where), len(ids), self.version)
        view = library._view()
        found = view.nearest(vector, k, ids)
        return Found([library._hit(rank, *one) for rank, one in enumerate(found)], len(ids), view.version)

    def matching(self, where: Where) -> list[str]:
        """Ids for which a filter holds."""
        return self._library.matching(where)

    def notes(self, where: Where | None, total: int, *, paths: bool) -> list[str]:
        """What to say of a filter that left nothing; without `paths` not where files lie."""
        if where is None or total:
            return []
        return [self._library.nothing_passes(where, () if paths else PLACES)]

    def about(self, identifier: str) -> About:
        """One image. Raises ServeError(404)."""
        library = self._library
        if self._is_remote:
            row = library._store().get([identifier])
            if not row:
                raise errors.no_item(identifier)
            return About(library.get(identifier).path, row[0].content, row[0].summary())
        place = library._view().find(identifier)
        if place is None:
            raise errors.no_item(identifier)
        hit = library._hit(0, 0.0, identifier, *place)
        return About(str(hit.path), place[0].row(place[1])["content"], dict(hit.meta))

    def vector_of(self, identifier: str) -> Vector:
        """The vector of one image. Raises ServeError(404)."""
        try:
            return self._library._vector_of(identifier)
        except DataError as error:
            raise errors.no_item(identifier) from error

    def page(self, where: Where | None, after: str | None, limit: int) -> Page:
        """Images in order of id."""
        return self._library.items(where, cursor=after, limit=limit)

    def columns(self) -> dict[str, str]:
        """What filters can ask about."""
        return self._library.columns()

    def facets(self, column: str) -> list[tuple[Any, int]]:
        """The most frequent values of a column and their counts; remembered for one version."""
        version = self.version
        if (version, column) not in self._facets:
            self._facets = {key: value for key, value in self._facets.items() if key[0] == version}
            counts: Counter[Any] = Counter()
            for block in self._library._store().scan([column]):
                counts.update(value for value in block[column] if value is not None)
            self._facets[version, column] = counts.most_common(_MOST_FACETS)
        return self._facets[version, column]

    def thumbnail(self, content: str) -> bytes | None:
        """The JPEG thumbnail of a content fingerprint."""
        return self._library.thumbs.read(content)

    def whole(self) -> Snapshot:
        """All vectors of the newest version, for the map."""
        return self._library.snapshot()
