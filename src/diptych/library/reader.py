"""What can be asked of a library: searches, items, images, filters and counts. Nothing is changed."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.checks import at_least, of_type, whole
from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.file_names import unescape
from diptych.core.files import files_below
from diptych.core.notes import Note
from diptych.core.protocols import SILENT, Progress
from diptych.core.registry import nearest
from diptych.core.shapes import Float32
from diptych.core.text import one_line
from diptych.core.types import BytesImage, Hit
from diptych.library.store.near import Near
from diptych.library.store.rows import WORDS, Row, location, text_of
from diptych.library.store.trash import newest_first
from diptych.library.store.where import (
    LATITUDE,
    LONGITUDE,
    AllOf,
    Condition,
    Where,
    column_of,
    condition,
    without_place,
)
from diptych.library.view import SIZE, TAKEN, Points, Ranking, RowFacts, Snapshot

from . import ordering
from . import query as queries
from .bucket import bucket_of, shown
from .card import LANCE
from .duplicates import Duplicates
from .embedding import checked
from .items import Item, Page, Trashed, check_limit, no_item
from .opened import Opened
from .ordering import BY_ID, SCORE
from .own_probability import Asked, own_probabilities

Query = str | Path | np.ndarray[Any, Any]  # words or a sum, an image's path, or a vector (d,)
_UNIT = 0.01  # how far from 1 the length of a unit vector may be
_MOST_POINTS, _MOST_POINTS_OF_SERVER = 100_000, 20_000  # of a map: 2 MB; on a server each is a row to fetch
_SAMPLE = 100  # images of the library that `unfamiliar` compares


@dataclass(frozen=True, slots=True)
class Info:
    """What a library holds."""

    folder: str
    images: int
    model: str
    fingerprint: str
    dim: int
    created: str
    version: str
    bytes_on_disk: int
    columns: dict[str, str]
    store: str = LANCE  # where the rows are: "lance" in the folder, or the address of a server
    with_words: int | None = None  # images in which words were read; None where none were looked for
    index: str | None = None  # what `library tune` chose; None for the usual one


@dataclass(frozen=True, slots=True)
class Answer:
    """Hits of one version, best first, and how many images were searched: all, or those that a filter left."""

    hits: list[Hit]
    considered: int
    version: str


class Reader:
    """Reads of one open library."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    def __len__(self) -> int:
        return self._opened.view.count()

    # -- searching ---------------------------------------------------------------------------------

    def search(self, query: Query, k: int = 10, where: str | Where | None = None, *, cut: bool = False) -> list[Hit]:
        """As `Library.search`, by cosine alone."""
        queries.check_k(k)
        hits = self._nearest(self.vector(query, cut=cut), k, where)
        asked: Asked | None = "image" if isinstance(query, Path) else None
        if isinstance(query, str) and len(queries.parse(query)) == 1:
            asked = "text"
        if asked is None:
            return hits
        found = own_probabilities(self._opened.model, hits, asked)
        return [
            hit if own is None else replace(hit, meta={**hit.meta, "probability": own})
            for hit, own in zip(hits, found, strict=True)
        ]

    def search_many(
        self, vectors: Float32[np.ndarray, "q d"], counts: Sequence[int], where: str | Where | None = None
    ) -> list[Answer]:
        """The nearest images to each of several unit vectors, each with its own count, all in one version.

        Raises ConfigError for other than (q, dim) unit vectors and q counts of at least 1.
        """
        vectors = np.asarray(vectors, dtype=np.float32)
        if vectors.shape != (len(counts), self._opened.card.dim):
            raise ConfigError(
                f"found vectors of shape {vectors.shape} and {len(counts)} counts; expected "
                f"({len(counts)}, {self._opened.card.dim}), a row for each count"
            )
        lengths = np.linalg.norm(vectors, axis=1)
        if not (abs(lengths - 1) < _UNIT).all():
            raise ConfigError(
                f"found vectors of length {lengths.min():.3g} to {lengths.max():.3g}; expected unit length"
            )
        for count in counts:
            at_least("a count of hits", whole("a count", count), 1)
        wanted = None if where is None else self._opened.parsed(where)
        return [self._answer(one) for one in self._opened.view.search(vectors, counts, wanted)]

    def like(self, identifier: str, k: int = 10, where: str | Where | None = None, *, sort: str = SCORE) -> list[Hit]:
        """The k images nearest to one of the library's own, itself left out; `sort` as for `search`."""
        queries.check_k(k)
        self.check_sort(sort)
        hits = self._nearest(self.vector_of(identifier), k + 1, where)
        others = [hit for hit in hits if hit.id != identifier][:k]
        return self.in_order([replace(hit, rank=rank) for rank, hit in enumerate(others)], sort)

    def check_sort(self, sort: str) -> None:
        """Whether hits can be put in this order. Raises ConfigError for one that there is not, or has no dates."""
        if of_type(sort, str, "an order of hits") != SCORE:
            self._check_order(sort, SCORE)

    def in_order(self, hits: Sequence[Hit], sort: str, notes: list[str] | None = None) -> list[Hit]:
        """The hits of a search, best first, put in another order: `taken`, newest first, or `size`, most pixels first.

        Ranks are the new places. By date, each hit says its own (PHOTO_TAKEN in `meta`); those without one come last,
        and how many goes into `notes`, or is warned of (`QueryWarning`). Raises ConfigError as `check_sort`.
        """
        self.check_sort(sort)
        return list(hits) if sort == SCORE else ordering.in_order(hits, sort, self._opened.store(), notes)

    def vector(self, query: Query, *, cut: bool = False) -> Float32[np.ndarray, d]:
        """The unit vector of a query."""
        dim = self._opened.card.dim
        if isinstance(query, np.ndarray):
            vector = checked(query, dim)
            if not vector.any():
                raise ConfigError("the vector is all zero, so nothing is near to it; expected a direction")
            return vector
        model = self._opened.required_model()
        if isinstance(query, Path):
            try:
                return checked(model.encode_images([query])[0], dim)
            except DataError as error:  # its message may hold a name that is not valid Unicode
                raise DataError(one_line(str(error)), error.reason) from error
        terms = queries.parse(queries.check_text(query, cut=cut))
        is_heard = getattr(model, "hears_texts", False)  # its texts are names of files
        if len(terms) == 1 and not is_heard and (remark := queries.remark(query)) is not None:
            warnings.warn(remark, queries.QueryWarning, stacklevel=5)
        if (cut_off := queries.unread([term.text for term in terms if term.text is not None], model)) is not None:
            warnings.warn(cut_off, queries.CutWarning, stacklevel=5)
        return checked(queries.vector(terms, model), dim)

    def vector_of(self, identifier: str) -> Float32[np.ndarray, d]:
        """The unit vector of one of the library's images. Raises DataError when there is none with this id."""
        found = self._opened.view.vector(of_type(identifier, str, "the id of an item"))
        return self._row(identifier).vector if found is None else found

    # -- items -------------------------------------------------------------------------------------

    def get(self, identifier: str) -> Item:
        """One image. Raises DataError when there is none with this id."""
        return Item.of(self._row(identifier), self._opened.folder)

    def some(self, ids: Sequence[str]) -> list[Item]:
        """These images, in the order of the ids; unknown ids are left out."""
        rows = {row.id: row for row in self._opened.store().get(ids, vectors=False)}
        return [Item.of(rows[one], self._opened.folder) for one in dict.fromkeys(ids) if one in rows]

    def items(
        self, where: str | Where | None = None, *, cursor: str | None = None, limit: int = 100, sort: str = BY_ID
    ) -> Page:
        """A page of images in ascending order of id, behind `cursor`; `where` as for `search`.

        With `sort` they are in order of `taken`, newest first and those without a date last, or of `size`, most pixels
        first. An image that stays as it is while all pages are asked for is on exactly one of them.
        """
        check_limit(limit)
        if cursor is not None:
            of_type(cursor, str, "the cursor of a page")
        wanted = None if where is None else self._opened.parsed(where)
        if of_type(sort, str, "an order of items") != BY_ID:
            return self._page_in_order(sort, wanted, cursor, limit)
        chosen, total = self._opened.view.page(cursor or "", limit + 1, wanted)
        rows = self._opened.store().get(chosen[:limit])
        items = tuple(Item.of(row, self._opened.folder) for row in rows)
        return Page(items, chosen[limit - 1] if len(chosen) > limit else None, total)

    def _page_in_order(self, sort: str, where: Where | None, cursor: str | None, limit: int) -> Page:
        self._check_order(sort, BY_ID)
        found = self._opened.view.ordered(sort, where)
        chosen, following = found.page(cursor, limit)
        rows = {row.id: row for row in self._opened.store().get(chosen)}
        items = tuple(Item.of(rows[one], self._opened.folder) for one in chosen if one in rows)
        return Page(items, following, len(found), len(found) - found.known)

    def facts(self, ids: Sequence[str]) -> list[RowFacts]:
        """What is known about these images, in the order of the ids; unknown ids are left out.

        A row that the version here does not have yet, as one that another machine has just written, is read from the
        store, which `get` and `items` ask too.
        """
        found = {one.id: one for one in self._opened.view.rows(ids)}
        if missing := [one for one in ids if one not in found]:
            newer = self._opened.store().get(missing, vectors=False)
            found |= {row.id: RowFacts(row.id, row.path, row.content, row.summary()) for row in newer}
        return [replace(found[one], path=self._location(found[one].path)) for one in ids if one in found]

    def original(self, identifier: str) -> Path:
        """The file of an image. Raises DataError when there is none, or it is part of a tar or table."""
        path = Path(unescape(self.get(identifier).path))
        if not os.path.isfile(path):  # noqa: PTH113 - takes every name
            raise DataError(f"the image {identifier} has no file of its own here; its thumbnail is kept")
        return path

    def image(self, identifier: str) -> BytesImage:
        """An item's image, from its file or the tar or table that holds it, as long as it is what was indexed.

        Raises DataError when there is no such item, or its image is gone or has changed.
        """
        from .images import Wanted, read_again

        row = self._row(identifier)
        path = self._location(row.path)
        for _, image in read_again([Wanted(row.id, row.path, row.content)], self._opened.folder):
            if image is not None:
                return BytesImage(image.data, path)
        raise DataError(f"{path} is gone or has changed since it was indexed; index it again", Reason.MISSING)

    def thumbnail(self, identifier: str) -> bytes | None:
        """The JPEG thumbnail of an image by its id, or None when there is none."""
        found = self.facts([identifier])
        return self._opened.thumbnails.read(found[0].content) if found else None

    def trash(self) -> list[Trashed]:
        """What was deleted and not yet purged, newest first."""
        return [Trashed.of(row, self._opened.folder) for row in newest_first(self._opened.store())]

    def duplicates(self, where: str | Where | None = None, *, progress: Progress = SILENT) -> Duplicates:
        """Groups of copies of one image: the same bytes, encoded again, resized, cropped, mirrored or turned.

        `where` narrows the images that are compared. The pixels of the thumbnails decide; nothing is changed.
        Raises ConfigError for a library of texts.
        """
        from .duplicates.finder import find  # rarely needed

        return find(self._opened, None if where is None else self.matching(where), progress)

    # -- filters and counts ------------------------------------------------------------------------

    def columns(self) -> dict[str, str]:
        """Name -> kind (text, integer, number, boolean, timestamp) of what `where` may ask about."""
        return dict(self._opened.store().columns())

    def near(self, latitude: float, longitude: float, km: float = 5.0, *, where: str | Where | None = None) -> Where:
        """The filter for images taken within `km` of a place in degrees, and for which `where` holds as well.

        Whatever takes `where` takes it. Images without coordinates are not found: `without_place` counts them.
        Raises ConfigError for a place that is none, FilterError where no image says its coordinates.
        """
        near, known = Near(float(latitude), float(longitude), float(km)), self._opened.store().columns()
        for column in (LATITUDE, LONGITUDE):
            condition(column, "not null", None, known)
        return near if where is None else AllOf((self._opened.parsed(where), near))

    def without_place(self, where: str | Where | None = None) -> tuple[Note, ...]:
        """A note on the images, among those for which `where` holds, that say no coordinates; none without such."""
        missing = without_place()
        count = self.count(missing if where is None else AllOf((self._opened.parsed(where), missing)))
        detail = "images without coordinates, which are not found by a place"
        return (Note("without_place", count, detail),) if count else ()

    def matching(self, where: str | Where) -> list[str]:
        """Ids of the images for which `where` holds, in order. Raises FilterError or LimitError."""
        return self._opened.view.matching(self._opened.parsed(where))

    def nothing_passes(self, where: str | Where, hidden: Collection[str] = ()) -> str:
        """What to say when a filter leaves nothing: the values that its columns have, except for those in `hidden`."""
        from diptych.library.view.hints import nothing_passes  # rarely needed

        return nothing_passes(self._opened.parsed(where), self._opened.view, hidden)

    def count(self, where: str | Where | None = None) -> int:
        """How many images there are, or for how many `where` holds. Raises FilterError or LimitError."""
        return self._opened.view.count(None if where is None else self._opened.parsed(where))

    def facets(self, column: str, most: int = 50, where: str | Where | None = None) -> list[tuple[Any, int]]:
        """The most frequent values of a column and their counts; with `where`, among the images for which it holds."""
        stored = column_of(column, known := self.columns())
        if stored is None:
            raise ConfigError(f"no column {column!r}; choose from {', '.join(known)}{nearest(column, known)}")
        wanted = None if where is None else self._opened.parsed(where)
        return self._opened.view.facets([stored], wanted)[stored].most_common(most)

    def dates(self, where: str | Where | None = None) -> dict[str, int]:
        """In how many photos, among those for which `where` holds, each month was taken, in order: {"2024-05": 12}.

        A photo that says no more than its year counts in the first month. Images without a date are not among them.
        """
        if TAKEN not in self.columns():
            return {}
        wanted = None if where is None else self._opened.parsed(where)
        counts: Counter[str] = Counter()
        for taken, count in self._opened.view.facets([TAKEN], wanted)[TAKEN].items():
            counts[ordering.clock(taken)[:7]] += count
        return dict(sorted(counts.items()))

    def holds_texts(self) -> bool:
        """Whether its items are texts. A library has items of one kind, so the first one says."""
        view = self._opened.view
        first, _ = view.page("", 1)
        return any(text_of(one.meta) is not None for one in view.rows(first))

    def points(self, most: int | None = None) -> Points:
        """Ids and vectors for a map: of all rows, or of a sample of at most `most`, and how many there are in all.

        `most` is 100,000 when it is left out, 20,000 for a library on a server. Ids are hashes, so that rows spread
        evenly over them are drawn by chance.
        """
        usual = _MOST_POINTS_OF_SERVER if self._opened.place.has_own_search else _MOST_POINTS
        return self._opened.view.points(usual if most is None else at_least("most", whole("most", most), 1))

    def snapshot(self) -> Snapshot:
        """All vectors and rows of the newest version as arrays; from a server all of them are copied here."""
        return self._opened.view.snapshot()

    def info(self) -> Info:
        """What the library holds."""
        opened, about = self._opened, self._opened.card
        columns = self.columns()
        return Info(
            folder=shown(opened.folder),
            images=opened.store().count(),
            model=about.model,
            fingerprint=about.fingerprint,
            dim=about.dim,
            created=about.created,
            version=opened.view.version or "",
            bytes_on_disk=_bytes(opened.folder),
            columns=columns,
            store=about.store,
            with_words=opened.store().count(where=Condition(WORDS, "not null")) if WORDS in columns else None,
            index=None if about.index is None else str(about.index),
        )

    def unfamiliar(self) -> tuple[Note, ...]:
        """A note where the library's images are, as a whole, unlike those that its model was trained on.

        It compares a hundred of them. There is no note for texts, or without its model.
        """
        compare, view = getattr(self._opened.model, "unfamiliar", None), self._opened.view
        ids, vectors = ([], None) if compare is None else view.sample(_SAMPLE)
        if compare is None or not ids or any(text_of(one.meta) is not None for one in view.rows(ids[:1])):
            return ()
        return tuple(replace(note, count=view.count()) for note in compare(vectors))

    # -- inside ------------------------------------------------------------------------------------

    def _nearest(self, vector: Float32[np.ndarray, d], k: int, where: str | Where | None) -> list[Hit]:
        return self.search_many(vector[np.newaxis], [k], where)[0].hits

    def _answer(self, found: Ranking) -> Answer:
        hits = [
            Hit(rank, one.id, float(np.float32(score)), self._location(one.path), dict(one.meta))
            for rank, (one, score) in enumerate(found.rows)
        ]
        return Answer(hits, found.considered, found.version)

    def _row(self, identifier: str) -> Row:
        found = self._opened.store().get([identifier])
        if not found:
            raise no_item(identifier)
        return found[0]

    def _check_order(self, sort: str, usual: str) -> None:
        ordering.check(sort, usual, self.columns())
        if sort == SIZE and self.holds_texts():
            raise ConfigError(f"cannot sort by size: the library holds texts, which have no pixels; choose {usual}")

    def _location(self, path: str) -> str:
        return location(path, self._opened.folder)


def _bytes(folder: Path) -> int:
    """What a library takes, on this machine's disk or on object storage."""
    bucket = bucket_of(folder)
    return sum(map(_size, files_below(folder))) if bucket is None else sum(one.bytes for one in bucket.names())


def _size(file: Path) -> int:
    """Bytes of a file; 0 when it was removed meanwhile."""
    with contextlib.suppress(OSError):
        return file.stat().st_size
    return 0
