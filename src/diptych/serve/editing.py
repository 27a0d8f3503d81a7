"""Changes to a library while it is served: add, describe, delete, take back.

The one module that writes. Changes that arrive together become one durable version, under the library's
writer lock; each has its own result, so that one that cannot be made harms no other.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from diptych.core.errors import LibraryError
from diptych.core.files import write_bytes
from diptych.data.images.formats import HEAD, sniff
from diptych.library import Library, lock
from diptych.library.names import escape, unescape
from diptych.library.rows import Row, new_id

from . import errors
from .errors import ServeError

UPLOADS = "uploads"
_SUFFIX = {"JPEG": ".jpg", "TIFF": ".tif"}


@dataclass(frozen=True, slots=True)
class Add:
    """A picture that was uploaded, decoded and embedded."""

    data: bytes = field(repr=False)
    content: str  # fingerprint of `data`
    vector: Float32[np.ndarray, d] = field(repr=False)
    thumb: bytes = field(repr=False)
    width: int
    height: int
    texts: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Describe:
    """New metadata for a picture: keys given as None go, others stay; `texts` None leaves them."""

    id: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    texts: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Forget pictures, by id. What cannot be found is left out of the count."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Undo:
    """Take a deletion back."""

    token: str


Change = Add | Describe | Delete | Undo


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change did: the ids it was about, and for a deletion the token that takes it back."""

    ids: tuple[str, ...]
    created: bool = False
    undo: str | None = None


@dataclass(slots=True)
class _Deleted:
    until: float  # monotonic seconds
    rows: list[Row]


class Editor:
    """Applies changes to one library. Not thread-safe: one thread calls `apply`."""

    def __init__(self, library: Library, undo_seconds: float) -> None:
        self._library, self._undo_seconds = library, undo_seconds
        self._uploads = library.folder / UPLOADS
        self._deleted: dict[str, _Deleted] = {}

    def apply(self, changes: Sequence[Change]) -> list[Changed | BaseException]:
        """Make the changes, in order, as one version; durable on return.

        A change that cannot be made has its exception in its place. Raises LibraryError when nothing
        can be written at all: another program is writing, the disk is full.
        """
        library = self._library
        try:
            with lock.writer(library.folder):
                session = _Session(library._store())
                results = [self._tried(change, session) for change in changes]
                session.commit()
                library._refresh(session.store)
        except OSError as error:
            raise LibraryError(f"cannot write the library: {error.strerror or error}") from error
        self._forget_old()
        return results

    def close(self) -> None:
        """Deletions can no longer be taken back: uploads that belong to no picture go."""
        self._undo_seconds = 0.0
        for deleted in self._deleted.values():
            deleted.until = 0.0
        self._forget_old()

    def _tried(self, change: Change, session: _Session) -> Changed | BaseException:
        try:
            if isinstance(change, Add):
                return self._add(change, session)
            if isinstance(change, Describe):
                return self._describe(change, session)
            if isinstance(change, Delete):
                return self._delete(change, session)
            return self._undo(change, session)
        except ServeError as error:
            return error

    def _add(self, change: Add, session: _Session) -> Changed:
        path = self._path_of(change)
        written = escape(str(path))
        known = session.uploaded(change.content, written)
        if known is not None:
            return Changed((known,))
        write_bytes(path, change.data)
        self._library.thumbs.write(change.content, change.thumb)
        status = path.stat()
        identifier = new_id(written, change.content, _Taken(session))
        session.put(
            Row(
                id=identifier,
                path=written,
                source=escape(str(self._uploads)),
                content=change.content,
                bytes=status.st_size,
                modified_ns=status.st_mtime_ns,
                width=change.width,
                height=change.height,
                vector=change.vector,
                texts=change.texts,
                meta=change.meta,
            )
        )
        return Changed((identifier,), created=True)

    def _path_of(self, change: Add) -> Path:
        """A name made here, from the content alone: nothing of the sender's name reaches the disk."""
        kind = sniff(change.data[:HEAD]) or "bin"
        name = change.content + _SUFFIX.get(kind, f".{kind.lower()}")
        return Path(os.path.abspath(self._uploads)) / change.content[:2] / name  # noqa: PTH100

    def _describe(self, change: Describe, session: _Session) -> Changed:
        row = session.get(change.id)
        if row is None:
            raise errors.no_item(change.id)
        meta = {key: value for key, value in {**row.meta, **change.meta}.items() if value is not None}
        session.put(replace(row, meta=meta, texts=row.texts if change.texts is None else change.texts))
        return Changed((change.id,))

    def _delete(self, change: Delete, session: _Session) -> Changed:
        rows = session.get_all(change.ids)
        if not rows:
            return Changed(())
        for row in rows:
            session.remove(row.id)
        token = secrets.token_urlsafe(12)
        self._deleted[token] = _Deleted(time.monotonic() + self._undo_seconds, rows)
        return Changed(tuple(row.id for row in rows), undo=token)

    def _undo(self, change: Undo, session: _Session) -> Changed:
        deleted = self._deleted.pop(change.token, None)
        if deleted is None or deleted.until < time.monotonic():
            raise ServeError(404, "cannot_undo", "this deletion can no longer be taken back",
                             f"It could be for {self._undo_seconds / 60:g} minutes.")  # fmt: skip
        for row in deleted.rows:
            session.put(row)
        return Changed(tuple(row.id for row in deleted.rows))

    def _forget_old(self) -> None:
        now = time.monotonic()
        for token, deleted in list(self._deleted.items()):
            if deleted.until < now:
                del self._deleted[token]
                self._drop_uploads(deleted.rows)

    def _drop_uploads(self, rows: Sequence[Row]) -> None:
        """Remove the files that were uploaded here and that no row names any more."""
        ours = escape(str(self._uploads))
        kept = {row.path for deleted in self._deleted.values() for row in deleted.rows}
        store = self._library._store()
        for row in rows:
            if row.source == ours and row.path not in kept and not store.matching(f"content = '{row.content}'"):
                with contextlib.suppress(OSError):
                    Path(unescape(row.path)).unlink()


class _Session:
    """The store with the changes of one batch laid over it."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self._changed: dict[str, Row | None] = {}

    def get_all(self, ids: Sequence[str]) -> list[Row]:
        stored = self.store.get([one for one in ids if one not in self._changed])
        laid = [row for one in dict.fromkeys(ids) if (row := self._changed.get(one)) is not None]
        return [*stored, *laid]

    def get(self, identifier: str) -> Row | None:
        return next(iter(self.get_all([identifier])), None)

    def put(self, row: Row) -> None:
        self._changed[row.id] = row

    def remove(self, identifier: str) -> None:
        self._changed[identifier] = None

    def uploaded(self, content: str, path: str) -> str | None:
        """The id of the row that holds this upload already."""
        for row in self._changed.values():
            if row is not None and row.path == path:
                return row.id
        ids = [one for one in self.store.matching(f"content = '{content}'") if one not in self._changed]
        return next((row.id for row in self.store.get(ids) if row.path == path), None)

    def commit(self) -> None:
        rows = [row for row in self._changed.values() if row is not None]
        gone = [identifier for identifier, row in self._changed.items() if row is None]
        self.store.write(rows, gone)


class _Taken:
    """The ids in use, asked one by one; `new_id` needs no more of a collection."""

    def __init__(self, session: _Session) -> None:
        self._session = session

    def __contains__(self, identifier: object) -> bool:
        return self._session.get(str(identifier)) is not None

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0
