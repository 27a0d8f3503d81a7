"""What a server writes: pictures added, described anew, deleted, brought back, purged. Durable on return."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError, DataError, LibraryError, Reason
from diptych.core.file_names import unescape
from diptych.core.types import BytesImage
from diptych.data.image_inputs import DEFAULT_LIMITS, ImageLimits
from diptych.library.store.protocol import Store
from diptych.library.store.rows import Row, content_of, location, new_id
from diptych.library.store.trash import Batch, Deletion, Trashed, Undone
from diptych.library.store.where import Where

from .images import Wanted, originals
from .indexing import descriptions
from .items import (
    KEEP,
    UPLOAD,
    Added,
    Item,
    Keep,
    NewItem,
    Page,
    Prepared,
    check_described,
    check_limit,
    clean_name,
)
from .opened import OpenLibrary
from .originals import Originals
from .store import trash

WAIT = 10.0  # seconds an item write waits for another writer
_COMPACT_EVERY = 100  # writes; keeps the number of small files bounded
_KEEP_SECONDS = 60.0  # of versions that a reader may still be laying out
_FILES = "files"
_DAY_NS = 86_400 * 10**9


class Items(OpenLibrary):
    """A library whose pictures are written one by one."""

    @property
    def originals(self) -> Originals:
        """The files of uploaded pictures."""
        return Originals(self.folder / _FILES)

    def add(self, items: Sequence[NewItem], *, limits: ImageLimits = DEFAULT_LIMITS, wait: float = WAIT) -> Added:
        """Add pictures by their bytes, all in one durable write.

        Bytes that are there already are not added twice: their item is given back as it is, so that a request
        whose answer was lost can simply be sent again. Bytes in the trash come back under their old id, with what
        the new description says, and the old one where that says nothing. Pictures that cannot be read are skipped
        and named. Raises ConfigError or LimitError for a description that cannot be kept, LibraryError when another
        process is writing for `wait` seconds.
        """
        from diptych.library.indexing.preparing import prepare_all

        for item in items:
            check_described(item.name, item.texts, item.split, item.group, item.meta)
        model = None if all(one.prepared is not None for one in items) else self._needed_model()
        prepared, skipped = prepare_all(items, model, limits)
        for ready in prepared.values():
            self._checked(ready.vector)
        with self._writing(wait) as store:
            plan = _Additions(store, self.originals)
            identifiers = [plan.take(items[at], ready) for at, ready in prepared.items()]
            for row, data, jpeg in plan.new.values():
                self.originals.write(row.path, data)
                self.thumbs.write(row.content, jpeg)
            self._write(store, [row for row, _, _ in plan.new.values()])
            rows = {row.id: row for row in store.get(set(identifiers) - plan.new.keys())}
            rows |= {identifier: row for identifier, (row, _, _) in plan.new.items()}
        return Added(
            items=tuple(Item.of(rows[identifier], self.folder) for identifier in identifiers),
            created=tuple(identifier for identifier in plan.new if identifier not in plan.restored),
            restored=tuple(plan.restored),
            skipped=skipped,
        )

    def get(self, identifier: str) -> Item:
        """One picture. Raises DataError when there is none with this id."""
        return Item.of(self._row(self._store(), identifier), self.folder)

    def original(self, identifier: str) -> Path:
        """The file of a picture. Raises DataError when there is none, or it is part of a tar or table."""
        path = Path(unescape(self.get(identifier).path))
        if not os.path.isfile(path):  # noqa: PTH113 - takes every name
            raise DataError(f"the picture {identifier} has no file of its own here; its thumbnail is kept")
        return path

    def image(self, identifier: str) -> BytesImage:
        """An item's image, from its file or the tar or table that holds it, as long as it is what was indexed.

        Raises DataError when there is no such item, or its image is gone or has changed.
        """
        row = self._row(self._store(), identifier)
        path = location(row.path, self.folder)
        for _, image in originals([Wanted(row.id, row.path, row.content)], self.folder):
            if image is not None:
                return BytesImage(image.data, path)
        raise DataError(f"{path} is gone or has changed since it was indexed; index it again", Reason.MISSING)

    def items(self, where: str | Where | None = None, *, cursor: str | None = None, limit: int = 100) -> Page:
        """A page of pictures in ascending order of id, behind `cursor`; `where` as for `search`.

        A picture that stays in the library while all pages are asked for is on exactly one of them.
        """
        check_limit(limit)
        found = None if where is None else self.matching(where)
        start = cursor or ""
        if self._place.is_remote:
            everything = sorted(_all_ids(self._store()) if found is None else found)
            total = len(everything)
            chosen = [identifier for identifier in everything if identifier > start][: limit + 1]
        else:
            view = self._view()
            total = len(view) if found is None else len(found)
            chosen = view.after(start, limit + 1, found)
        rows = self._store().get(chosen[:limit])
        more = len(chosen) > limit
        return Page(tuple(Item.of(row, self.folder) for row in rows), chosen[limit - 1] if more else None, total)

    def patch(
        self,
        identifier: str,
        *,
        name: str | Keep | None = KEEP,
        texts: Sequence[str] | Keep = KEEP,
        split: str | Keep | None = KEEP,
        group: str | Keep | None = KEEP,
        meta: Mapping[str, Any] | None = None,
        wait: float = WAIT,
    ) -> Item:
        """Describe a picture anew. `meta` is merged key by key, a value of None removes its key.

        Raises DataError when there is no picture with this id.
        """
        with self._writing(wait) as store:
            row = before = self._row(store, identifier)
            merged = {key: value for key, value in {**row.meta, **(meta or {})}.items() if value is not None}
            row = replace(
                row,
                title=row.title if isinstance(name, Keep) else clean_name(name),
                texts=row.texts if isinstance(texts, Keep) else tuple(texts),
                split=row.split if isinstance(split, Keep) else split,
                group=row.group if isinstance(group, Keep) else group,
                meta=merged,
            )
            check_described(row.title, row.texts, row.split, row.group, row.meta)
            row = descriptions.patched(before, row)
            self._write(store, [row])
        return Item.of(row, self.folder)

    # -- deleting ----------------------------------------------------------------------------------

    def delete(
        self, ids: Iterable[str] | None = None, *, where: str | Where | None = None, wait: float = WAIT
    ) -> Deletion:
        """Put pictures into the trash, by their ids or by a filter; `undo` brings them back until they are purged.

        Unknown ids are left out. Their files are not touched, and indexing the same folder does not bring them
        back. Raises ConfigError unless exactly one of `ids` and `where` is given.
        """
        if (ids is None) == (where is None):
            raise ConfigError("delete takes either ids or where, exactly one of them")
        with self._writing(wait) as store:
            wanted = set(self.matching(where) if where is not None else ids or ())
            return self._trash_rows(store, store.get(wanted))

    def undo(
        self, deletion: Deletion | str | None = None, *, ids: Iterable[str] | None = None, wait: float = WAIT
    ) -> Undone:
        """Bring back what one `delete` took (the newest when none is named), or pictures by their ids.

        Raises DataError when the trash has no such deletion or none of these ids.
        """
        with self._writing(wait) as store:
            there = trash.rows(store, ids)
            if ids is None and there:
                batch = deletion.batch if isinstance(deletion, Deletion) else deletion or there[0].batch
                there = [row for row in there if row.batch == batch]
            if not there:
                raise DataError("the trash has nothing of that; see diptych library trash (it may have been purged)")
            taken = _live_at(store, {row.path for row in there})
            back = [row for row in there if row.path not in taken]
            self._write(store, [trash.brought_back(row) for row in back])
        return Undone(_ids(back), _ids(row for row in there if row not in back))

    def trash(self) -> list[Trashed]:
        """What was deleted and not yet purged, newest first."""
        return [trash.shown(row, self.folder) for row in trash.rows(self._store())]

    def purge(self, days: float = 30.0, *, wait: float = WAIT) -> int:
        """Drop for good what was deleted at least `days` ago (0: everything in the trash). Returns how many.

        Their thumbnails go, and their files where they are the library's own.
        """
        with self._writing(wait) as store:
            before = time.time_ns() - days * _DAY_NS
            old = [row for row in trash.rows(store) if trash.deleted_ns(row) <= before]
            if not old:
                return 0
            store.write([], [row.id for row in old])
            store.compact(_KEEP_SECONDS)
            self._forget_files(store, old)
            self._refresh(whole=False)
        return len(old)

    # -- inside ------------------------------------------------------------------------------------

    def _trash_rows(self, store: Store, rows: Sequence[Row], batch: Batch | None = None) -> Deletion:
        """Move rows into the trash as one batch. The caller holds the lock."""
        batch = batch or Batch.of_person()
        self._write(store, batch.put_on(rows))
        return Deletion(batch.name, _ids(rows), trash.shown_time(batch.at_ns))

    def _write(self, store: Store, rows: Sequence[Row], remove: Collection[str] = ()) -> None:
        """One durable write, and now and then a compaction. The caller holds the lock."""
        if not rows and not remove:
            return
        store.write(rows, remove)
        self._writes += 1
        if self._writes >= _COMPACT_EVERY and not self.is_rebuilding_snapshot:  # which reads an older version
            self._writes = 0
            with contextlib.suppress(LibraryError):  # a disk too full to tidy up has the write nevertheless
                store.compact(_KEEP_SECONDS)
        self._refresh(whole=False)

    def _forget_files(self, store: Store, rows: Sequence[Row]) -> None:
        """Remove thumbnails and own files that no row needs any more."""
        gone = self.thumbs.forget({row.content for row in rows}, store)
        for row in rows:
            if row.content in gone:
                self.originals.remove(row.path)

    def _row(self, store: Store, identifier: str) -> Row:
        found = store.get([identifier])
        if not found:
            raise DataError(
                f"no picture has the id {identifier[:40]!r}; expected one of the ids that search --json prints",
                Reason.MISSING,
            )
        return found[0]


class _Additions:
    """Which uploads are new, which are there already, and which come back from the trash."""

    def __init__(self, store: Store, originals: Originals) -> None:
        self._store, self._originals = store, originals
        self.new: dict[str, tuple[Row, bytes, bytes]] = {}  # id -> row, encoded picture, thumbnail
        self.restored: list[str] = []

    def take(self, item: NewItem, ready: Prepared) -> str:
        """The id of an upload's picture, old or new."""
        content = content_of(item.data)
        path = self._originals.path_of(content, item.data)
        passed: list[str] = []
        while True:
            identifier = new_id(path, content, passed)
            if identifier in self.new:
                return identifier
            known = next(iter(self._store.get([identifier], "all")), None)
            if known is None or known.path == path:
                if known is None or known.deleted_at is not None:
                    row = _row(item, ready, identifier, path, content)
                    row = row if known is None else descriptions.filled(row, known)
                    self.new[identifier] = (row, item.data, ready.thumbnail)
                    self.restored += [] if known is None else [identifier]
                return identifier
            passed.append(identifier)  # another picture's, by a chance of one in 2^64


def _row(item: NewItem, ready: Prepared, identifier: str, path: str, content: str) -> Row:
    return Row(
        id=identifier,
        path=path,
        source=UPLOAD,
        content=content,
        bytes=len(item.data),
        modified_ns=time.time_ns(),
        width=ready.width,
        height=ready.height,
        vector=normalise(ready.vector),
        texts=tuple(item.texts),
        split=item.split,
        group=item.group,
        meta=dict(item.meta),
        title=clean_name(item.name),
    )


def _ids(rows: Iterable[Row]) -> tuple[str, ...]:
    return tuple(row.id for row in rows)


def _all_ids(store: Store) -> list[str]:
    return [identifier for block in store.scan(["id"]) for identifier in block["id"]]


def _live_at(store: Store, paths: Collection[str]) -> dict[str, str]:
    """Path -> id of the pictures that are at these paths."""
    return {
        path: identifier
        for block in store.scan(["id", "path"])
        for identifier, path in zip(block["id"], block["path"], strict=True)
        if path in paths
    }
