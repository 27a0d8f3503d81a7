"""A library's images embedded by another model: built aside while the old vectors are in use, then switched to.

The new vectors are the next generation: a store of their own. Passes over the library embed what the new store
lacks, without the writer's lock, until little is left; then the lock is taken, the rest caught up, and
`library.json` replaced, which is the switch. Killed at any moment before, the old generation is untouched and the
next run goes on with what the new store has.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diptych.core.batched import batched
from diptych.core.errors import Interrupted, LibraryError
from diptych.core.file_names import unescape
from diptych.core.notes import Note, Notes
from diptych.core.protocols import Progress
from diptych.core.shapes import Float32
from diptych.core.types import BytesImage, ImageRef
from diptych.core.workers import Engine, InProcess
from diptych.data.image_inputs import DEFAULT_LIMITS
from diptych.library import card
from diptych.library.bucket import read_note, shown, write_note
from diptych.library.encoder import Encoder
from diptych.library.image_reading import Embedded, EmbedImages, Unread, Work
from diptych.library.images import Wanted, located
from diptych.library.kinds import holds_texts
from diptych.library.opened import Opened, disk_errors
from diptych.library.store import lock
from diptych.library.store.generations import NOTE
from diptych.library.store.places import Place, open_place
from diptych.library.store.protocol import Store, cells
from diptych.library.store.rows import is_owned
from diptych.library.view import Snapshots, open_view

from .problems import MissingImagesError

_LOCK = "reembed.lock"
_BATCH = 32  # images embedded at once
_THREADS = 2  # that decode
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
    notes: tuple[Note, ...] = ()  # on what went wrong on the way, and was put right


@dataclass(frozen=True, slots=True)
class _Again(Unread):
    """An image that is read again."""

    of: Wanted


class Reembedding:
    """One run. The library stays as it is until the last step."""

    def __init__(
        self,
        opened: Opened,
        model: Encoder,
        loaded_by: str | None,
        *,
        thumbnails: bool,
        progress: Progress,
        engine: Engine | None = None,
        threads: int = _THREADS,
    ) -> None:
        self._opened, self._model, self._progress = opened, model, progress
        self._thumbnails, self._engine, self._notes = thumbnails, engine or InProcess(), Notes()
        self._task = EmbedImages.by(model, Work(_BATCH, threads, DEFAULT_LIMITS, has_videos=False))
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
        if (self._model.fingerprint, self._model.dim) == (self._old.fingerprint, self._old.dim):
            raise LibraryError(
                f"the library {shown(folder)} has the vectors of model {self._model.name!r} already; name another model"
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
                write_note(folder, NOTE, None)
        count = place.store().count()
        index = None if self._new.index is None else str(self._new.index)
        from_thumbs = tuple(sorted(self._from_thumbs))
        return Reembedded(
            self._new.model, count, self._embedded, from_thumbs, self._generation, index, tuple(self._notes)
        )

    def _check_files(self) -> None:
        """Before hours of work: are the files of all images there? Changes show when they are read."""
        place = self._opened.place
        rows = [(one, path) for one, path, _, trashed in _contents(place.store()) if not trashed]
        gone = sorted({path for _, path in rows if not self._is_there(path)})
        if gone:
            raise MissingImagesError(gone, len(rows), thumbnails=False)

    def _is_there(self, path: str) -> bool:
        if is_owned(path):
            return self._opened.uploads.size(path) is not None
        return os.path.exists(unescape(path).partition("::")[0])  # noqa: PTH110

    def _begun(self, folder: Path) -> Place:
        """The new generation's place: what an earlier run for the same model began, else an empty one."""
        place = open_place(self._new, folder)
        note = {"fingerprint": self._new.fingerprint, "dim": self._new.dim, "generation": self._generation}
        if read_note(folder, NOTE) != note:
            place.drop()
            write_note(folder, NOTE, note)
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
        images = self._progress.track(located(wanted, self._opened.folder), "embedding", total=len(wanted))
        for batch in batched(self._vectors(images), _COMMIT):
            rows_now = {row.id: row for row in source.get([one.id for one, _ in batch], "all")}
            fresh = [
                replace(rows_now[one.id], vector=vector)
                for one, vector in batch
                if one.id in rows_now and rows_now[one.id].content == one.content
            ]
            target.write(fresh)
            done += len(fresh)
            self._embedded += len(fresh)
        if gone:
            target.write([], gone)
        return done

    def _vectors(
        self, images: Iterable[tuple[Wanted, ImageRef | None]]
    ) -> Iterator[tuple[Wanted, Float32[np.ndarray, d]]]:
        """The vector of each image that is as it was, by the engine; the others by their thumbnails, or missing."""
        gone: list[Wanted] = []

        def there() -> Iterator[_Again]:
            for one, ref in images:
                if ref is None:
                    gone.append(one)
                else:
                    yield _Again(ref, one.path, 0, one)

        for image, result in self._engine.run(self._task, there(), self._notes):
            if isinstance(result, Embedded) and result.read.content == image.of.content and result.vector is not None:
                yield image.of, result.vector
            else:
                gone.append(image.of)
            if len(gone) >= _COMMIT:
                yield from self._by_thumbnails(gone)
                gone.clear()
        yield from self._by_thumbnails(gone)

    def _by_thumbnails(self, gone: Iterable[Wanted]) -> Iterator[tuple[Wanted, Float32[np.ndarray, d]]]:
        """The vectors of thumbnails, in this process; images without one are missing.

        Many rows in the trash are there because their files are gone: of those the thumbnails are always allowed.
        """

        def there() -> Iterator[_Again]:
            for one in gone:
                jpeg = None
                if self._thumbnails or one.id in self._trashed:
                    jpeg = self._opened.thumbnails.read(one.content)
                if jpeg is None:
                    self._missing[one.id] = one.path
                else:
                    yield _Again(BytesImage(jpeg, one.path), one.path, len(jpeg), one)

        for image, result in InProcess().run(self._task, there(), self._notes):
            if isinstance(result, Embedded) and result.vector is not None:
                self._from_thumbs.add(image.path)
                yield image.of, result.vector
            else:
                self._missing[image.of.id] = image.path

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
