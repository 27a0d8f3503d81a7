"""Writes of single items: images added, described, deleted, brought back, purged. Every write is durable on return."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diptych.core import checks
from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError, DataError, LibraryError
from diptych.core.file_names import escape
from diptych.core.notes import Notes
from diptych.data.image_inputs import DEFAULT_LIMITS, ImageLimits
from diptych.library.store import trash
from diptych.library.store.below import below
from diptych.library.store.protocol import Store, having
from diptych.library.store.rows import Row, content_of, new_id
from diptych.library.store.trash import Batch, Deletion, Undone
from diptych.library.store.where import Where

from . import descriptions
from .embedding import checked
from .items import KEEP, UPLOAD, Added, Item, Keep, NewItem, Prepared, check_described, clean_name, no_item
from .opened import Opened
from .photos import note_left_out
from .uploads import Uploads

WAIT = 10.0  # seconds an item write waits for another writer
_COMPACT_EVERY = 100  # writes; keeps the number of small files bounded
_KEEP_SECONDS = 60.0  # of versions that a reader may still be making a snapshot of
_DAY_NS = 86_400 * 10**9


class Writer:
    """Writes of one open library."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._writes = 0  # since the store was compacted by this process

    def add(self, items: Sequence[NewItem], *, limits: ImageLimits = DEFAULT_LIMITS, wait: float = WAIT) -> Added:
        """Add images by their bytes, all in one durable write.

        Bytes that are there already are not added twice: their item is given back as it is, so that a request
        whose answer was lost can simply be sent again. Bytes in the trash come back under their old id, with what
        the new description says, and the old one where that says nothing. Images that cannot be read are skipped
        and named. Raises ConfigError or LimitError for a description that cannot be kept, LibraryError when another
        process is writing for `wait` seconds.
        """
        opened = self._opened
        for item in items:
            check_described(item.name, item.texts, item.split, item.group, item.meta)
        prepared, skipped = self._prepared(items, limits)
        with opened.writing(wait) as store:
            plan = _Additions(store, opened.uploads)
            identifiers = [plan.take(items[at], ready) for at, ready in prepared.items()]
            for row, data, jpeg in plan.new.values():
                opened.uploads.write(row.path, data)
                opened.thumbnails.write(row.content, jpeg)
            self.write(store, [row for row, _, _ in plan.new.values()])
            rows = {row.id: row for row in store.get(set(identifiers) - plan.new.keys())}
            rows |= {identifier: row for identifier, (row, _, _) in plan.new.items()}
        return Added(
            items=tuple(Item.of(rows[identifier], opened.folder) for identifier in identifiers),
            created=tuple(identifier for identifier in plan.new if identifier not in plan.restored),
            restored=tuple(plan.restored),
            skipped=skipped,
            notes=tuple(note_left_out(Notes(), (one.photo for one in prepared.values()))),
        )

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
        """Change the description of an image. `meta` is merged key by key, a value of None removes its key.

        Raises DataError when there is no image with this id.
        """
        with self._opened.writing(wait) as store:
            before = next(iter(store.get([identifier])), None)
            if before is None:
                raise no_item(identifier)
            merged = {key: value for key, value in {**before.meta, **(meta or {})}.items() if value is not None}
            row = replace(
                before,
                title=before.title if isinstance(name, Keep) else clean_name(name),
                texts=before.texts if isinstance(texts, Keep) else tuple(texts),
                split=before.split if isinstance(split, Keep) else split,
                group=before.group if isinstance(group, Keep) else group,
                meta=merged,
            )
            check_described(row.title, row.texts, row.split, row.group, row.meta)
            row = descriptions.patched(before, row)
            self.write(store, [row])
        return Item.of(row, self._opened.folder)

    def delete(
        self, ids: str | Iterable[str] | None = None, *, where: str | Where | None = None, wait: float = WAIT
    ) -> Deletion:
        """Put images into the trash, by their ids or by a filter; `undo` brings them back until they are purged.

        Unknown ids are left out. Their files are not touched, and indexing the same folder does not bring them
        back. Raises ConfigError unless exactly one of `ids` and `where` is given.
        """
        if (ids is None) == (where is None):
            raise ConfigError("delete takes either ids or where, exactly one of them")
        with self._opened.writing(wait) as store:
            if where is None:
                wanted = checks.several(ids, str, "the id of an item, or several")
            else:
                wanted = store.matching(self._opened.parsed(where))
            return self.put_in_trash(store, store.get(set(wanted)), Batch.of_person())

    def remove(self, paths: Path | str | Iterable[Path | str]) -> Deletion:
        """Put the images at or below these paths into the trash, whether or not the files exist.

        `undo` brings them back, and so does indexing the same files again.
        """
        roots = [escape(os.path.abspath(os.fsdecode(path))) for path in checks.paths(paths)]  # noqa: PTH100
        with self._opened.writing() as store:
            gone = {one for root in roots for one in store.matching(below(root, self._opened.folder))}
            return self.put_in_trash(store, store.get(gone), Batch.of_gone())

    def undo(
        self, deletion: Deletion | str | None = None, *, ids: Iterable[str] | None = None, wait: float = WAIT
    ) -> Undone:
        """Bring back what one `delete` took (the newest when none is named), or images by their ids.

        Raises DataError when the trash has no such deletion or none of these ids.
        """
        with self._opened.writing(wait) as store:
            there = trash.newest_first(store, ids)
            if ids is None and there:
                batch = deletion.batch if isinstance(deletion, Deletion) else deletion or there[0].batch
                there = [row for row in there if row.batch == batch]
            if not there:
                raise DataError("the trash has nothing to bring back (purged?); see diptych library trash")
            paths = {row.path for row in there}
            taken = having(store, "path", paths)
            back = [row for row in there if row.path not in taken]
            self.write(store, [trash.brought_back(row) for row in back])
        return Undone(_ids(back), _ids(row for row in there if row.path in taken))

    def purge(self, days: float = 30.0, *, wait: float = WAIT) -> int:
        """Drop for good what was deleted at least `days` ago (0: everything in the trash). Returns how many.

        Their thumbnails go, and their files where the library keeps them itself.
        """
        with self._opened.writing(wait) as store:
            before = time.time_ns() - days * _DAY_NS
            old = [row for row in trash.newest_first(store) if trash.deleted_ns(row) <= before]
            if not old:
                return 0
            store.write([], [row.id for row in old])
            store.compact(_KEEP_SECONDS)
            gone = self._opened.thumbnails.remove_unused({row.content for row in old}, store)
            for row in old:
                if row.content in gone:
                    self._opened.uploads.remove(row.path)
            self._opened.view.refresh(whole=False)
        return len(old)

    def put_in_trash(self, store: Store, rows: Sequence[Row], batch: Batch) -> Deletion:
        """Move rows into the trash as one batch. The caller is `writing`."""
        self.write(store, batch.put_on(rows))
        return Deletion(batch.name, _ids(rows), trash.shown_time(batch.at_ns))

    def write(self, store: Store, rows: Sequence[Row], remove: Collection[str] = ()) -> None:
        """One durable write, and now and then a compaction. The caller is `writing`."""
        if not rows and not remove:
            return
        store.write(rows, remove)
        self._writes += 1
        if self._writes >= _COMPACT_EVERY and not self._opened.snapshots.is_being_written:  # from an older version
            self._writes = 0
            with contextlib.suppress(LibraryError):  # where the disk is too full to compact, the write is kept
                store.compact(_KEEP_SECONDS)
        self._opened.view.refresh(whole=False)

    def _prepared(self, items: Sequence[NewItem], limits: ImageLimits) -> tuple[dict[int, Prepared], tuple[Any, ...]]:
        from .preparing import prepare_all

        model = None if all(one.prepared is not None for one in items) else self._opened.required_model()
        prepared, skipped = prepare_all(items, model, limits)
        for ready in prepared.values():
            checked(ready.vector, self._opened.card.dim)
        return prepared, skipped


class _Additions:
    """Which uploads are new, which are there already, and which come back from the trash."""

    def __init__(self, store: Store, uploads: Uploads) -> None:
        self._store, self._uploads = store, uploads
        self.new: dict[str, tuple[Row, bytes, bytes]] = {}  # id -> row, encoded image, thumbnail
        self.restored: list[str] = []

    def take(self, item: NewItem, ready: Prepared) -> str:
        """The id of an upload's image, old or new."""
        content = content_of(item.data)
        path = self._uploads.path_of(content, item.data)
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
            passed.append(identifier)  # another image's, by a chance of one in 2^64


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
        photo=None if ready.photo is None else ready.photo.said,
    )


def _ids(rows: Iterable[Row]) -> tuple[str, ...]:
    return tuple(row.id for row in rows)
