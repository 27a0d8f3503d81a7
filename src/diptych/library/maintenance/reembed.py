"""A library's images embedded by another model: built aside while the old vectors are in use, then switched to.

The new vectors are the next generation: a store of their own. Passes over the library embed what the new store
lacks, without the writer's lock, until little is left; then the lock is taken, the rest caught up, and
`library.json` replaced, which is the switch. Killed at any moment before, the old generation is untouched and the
next run goes on with what the new store has.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.batched import batched
from diptych.core.errors import DataError, Interrupted, LibraryError
from diptych.core.file_names import escape, unescape
from diptych.core.files import write_json
from diptych.core.protocols import Progress
from diptych.core.types import BytesImage
from diptych.data.images import prepared
from diptych.library import card
from diptych.library.bucket import address_of
from diptych.library.embedding import embedded
from diptych.library.encoder import Encoder
from diptych.library.images import Wanted, read_again
from diptych.library.kinds import holds_texts
from diptych.library.opened import Opened, disk_errors
from diptych.library.store import lock
from diptych.library.store.places import Place, open_place
from diptych.library.store.protocol import Store, cells
from diptych.library.store.rows import location
from diptych.library.view import Snapshots, open_view

from .problems import MissingImagesError

NOTE = "reembed.json"
_LOCK = "reembed.lock"
_BATCH = 32  # images embedded at once
_COMMIT = 256  # rows that become durable together
_FEW = 256  # rows that may be embedded under the writer's lock
_MOST_PASSES = 20


@dataclass(frozen=True, slots=True)
class Reembedded:
    """What embedding again did."""

    model: str
    images: int
    embedded: int  # by this run; others were there from an earlier one
    from_thumbnails: tuple[str, ...]  # paths of images that were embedded from their thumbnails
    generation: int
    index: str | None = None  # what `library tune` chose for the vectors before, and is kept


class Reembedding:
    """One run. The library stays as it is until the last step."""

    def __init__(
        self, opened: Opened, model: Encoder, loaded_by: str | None, *, thumbnails: bool, progress: Progress
    ) -> None:
        self._opened, self._model, self._progress = opened, model, progress
        self._thumbnails = thumbnails
        self._old = opened.card
        self._generation = self._old.generation + 1
        self._new = self._old.with_model(model, loaded_by, self._generation)
        self._embedded = 0
        self._from_thumbs: set[str] = set()
        self._missing: dict[str, str] = {}  # id -> path
        self._trashed: set[str] = set()  # ids

    def run(self) -> Reembedded:
        """Embed, catch up, switch. Raises LibraryError as `Library.reembed`."""
        folder = self._opened.folder
        if (address := address_of(folder)) is not None:
            raise LibraryError(
                f"a library on object storage is not embedded again, found {address}; index its images into a new "
                f"one with that model: diptych index FOLDER --library {address}-2 --model MODEL"
            )
        if (self._model.fingerprint, self._model.dim) == (self._old.fingerprint, self._old.dim):
            raise LibraryError(
                f"the library {escape(str(folder))} has the vectors of model {self._model.name!r} already; "
                f"name another model"
            )
        if holds_texts(self._opened.place.store()):
            raise LibraryError(
                "a library of texts is not embedded again; index the texts into a new one with that model"
            )
        with disk_errors(folder), lock.writer(folder, file=_LOCK):
            if not self._thumbnails:
                self._check_files()
            place = self._begun(folder)
            try:
                self._embed_most(place)
            except KeyboardInterrupt as stop:
                raise Interrupted(
                    f"{self._embedded} images were embedded again and are kept; the library is as it was until all are"
                ) from stop
            with lock.writer(folder, wait=60.0):
                if not self._opened.is_current:
                    raise LibraryError("the library was embedded again by another process meanwhile; open it again")
                self._catch_up(place)
                if (chosen := card.read(folder).index) is not None:  # perhaps meanwhile
                    self._new = replace(self._new, index=chosen.for_other_vectors())
                self._make_snapshot(place)
                card.write(self._new, folder)  # the switch
                (folder / NOTE).unlink(missing_ok=True)
        count = place.store().count()
        index = None if self._new.index is None else str(self._new.index)
        from_thumbs = tuple(sorted(self._from_thumbs))
        return Reembedded(self._new.model, count, self._embedded, from_thumbs, self._generation, index)

    def _check_files(self) -> None:
        """Before hours of work: are the files of all images there? Changes show when they are read."""
        place = self._opened.place
        rows = [(one, path) for one, path, _, trashed in _contents(place.store()) if not trashed]
        names = {path: unescape(location(path, self._opened.folder)).partition("::")[0] for _, path in rows}
        gone = sorted(path for path, name in names.items() if not os.path.exists(name))  # noqa: PTH110
        if gone:
            raise MissingImagesError(gone, len(rows), thumbnails=False)

    def _begun(self, folder: Path) -> Place:
        """The new generation's place: what an earlier run for the same model began, else an empty one."""
        place = open_place(self._new, folder)
        note = {"fingerprint": self._new.fingerprint, "dim": self._new.dim, "generation": self._generation}
        if _read(folder / NOTE) != note:
            place.drop()
            write_json(folder / NOTE, note)
        return place

    def _embed_most(self, place: Place) -> None:
        """Pass after pass, each over what came since the one before."""
        for _ in range(_MOST_PASSES):
            self._missing = {}
            done = self._pass(self._opened.place.store(), place.store())
            if self._missing and not done:
                raise MissingImagesError(
                    sorted(self._missing.values()), self._opened.place.store().count(), thumbnails=self._thumbnails
                )
            if done <= _FEW and not self._missing:
                return

    def _catch_up(self, place: Place) -> None:
        """With the writer's lock: the new tables hold exactly the rows of the old ones, as they are now."""
        old = self._opened.place
        self._missing = {}
        self._pass(old.store(), place.store())
        if self._missing:
            raise MissingImagesError(sorted(self._missing.values()), old.store().count(), thumbnails=self._thumbnails)
        _describe_again(old.store(), place.store())

    def _pass(self, source: Store, target: Store) -> int:
        """Embed every row of `source` that `target` has not with the same content. Returns how many."""
        there = {identifier: content for identifier, _, content, _ in _contents(target)}
        rows = list(_contents(source))
        wanted = [Wanted(*row[:3]) for row in rows if there.get(row[0]) != row[2]]
        gone = there.keys() - {row[0] for row in rows}
        self._trashed = {identifier for identifier, _, _, trashed in rows if trashed}
        done = 0
        images = self._progress.track(read_again(wanted, self._opened.folder), "embedding", total=len(wanted))
        for batch in batched(self._decoded(images), _COMMIT):
            vectors = [
                vector
                for part in batched(batch, _BATCH)
                for vector in embedded(np.stack([pixels for _, pixels in part]), self._model)
            ]
            rows_now = {row.id: row for row in source.get([one.id for one, _ in batch], "all")}
            fresh = [
                replace(rows_now[one.id], vector=vector)
                for (one, _), vector in zip(batch, vectors, strict=True)
                if one.id in rows_now and rows_now[one.id].content == one.content
            ]
            target.write(fresh)
            done += len(fresh)
            self._embedded += len(fresh)
        if gone:
            target.write([], gone)
        return done

    def _decoded(self, images: Iterable[tuple[Wanted, BytesImage | None]]) -> Iterator[tuple[Wanted, Any]]:
        """Pixels of each image that can be read; the others are noted as missing.

        Many rows in the trash are there because their files are gone: of those the thumbnails are always allowed.
        """
        for one, image in images:
            pixels = None if image is None else self._pixels(image)
            if pixels is None and (self._thumbnails or one.id in self._trashed):
                jpeg = self._opened.thumbnails.read(one.content)
                pixels = None if jpeg is None else self._pixels(BytesImage(jpeg, one.path))
                if pixels is not None:
                    self._from_thumbs.add(one.path)
            if pixels is None:
                self._missing[one.id] = one.path
            else:
                yield one, pixels

    def _pixels(self, image: BytesImage) -> Any:
        try:
            return prepared(image, self._model.preprocess)
        except DataError:
            return None

    def _make_snapshot(self, place: Place) -> None:
        """So that the first search after the switch starts at once."""
        open_view(Snapshots(self._opened.folder, self._new, place), place).rewrite()


def _describe_again(source: Store, target: Store) -> None:
    """Bring over new descriptions, moves, and which rows went into the trash or came back."""
    columns = ["id", "path", "digest", "modified_ns", "meta", "deleted_at"]
    have = set(cells(target, *columns, part="all"))
    changed = [key[0] for key in set(cells(source, *columns, part="all")) - have]
    for part in batched(changed, _COMMIT):
        rows = {row.id: row for row in source.get(part, "all")}
        vectors = {row.id: row.vector for row in target.get(part, "all")}
        target.write([replace(row, vector=vectors[row.id]) for row in rows.values() if row.id in vectors])


def _contents(store: Store) -> Iterator[tuple[str, str, str, bool]]:
    """(id, path, content, whether it is in the trash) of every row."""
    for identifier, path, content, deleted_at in cells(store, "id", "path", "content", "deleted_at", part="all"):
        yield identifier, path, content, deleted_at is not None


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
