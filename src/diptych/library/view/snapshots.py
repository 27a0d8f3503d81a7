"""The snapshots of a library: the newest version that can be read cheaply, and when a new snapshot is made."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from diptych.core.errors import LibraryError
from diptych.core.memory import trim_memory
from diptych.library import card
from diptych.library.card import Card
from diptych.library.index_choice import IndexChoice
from diptych.library.store import lock
from diptych.library.store.places import Place, snapshot_folder
from diptych.library.store.protocol import Store

from . import accelerator, journal, snapshot
from .journalled import JournalledSnapshot
from .snapshot import Snapshot

_LOCK = "snapshot.lock"
_PATIENCE = 1.0  # seconds for which a reader waits for the journal of a write under way, before it reads the store
_MOST_PATIENCE = 60.0  # while somebody still writes: compacting a large table takes many seconds
_REWRITE_ROWS = 1000  # changed since the last snapshot, and at least
_REWRITE_SHARE = 0.01  # of it: then a new one is worth the work
_REWRITE_BYTES = 16_000_000  # of the journal since then: reading them takes a second when the library is opened
_ATTEMPTS = 3
_YOUNG_SECONDS = 60.0  # another process may still be writing a snapshot this young


class Snapshots:
    """The snapshots of one generation of a library, and the store that they are made from."""

    def __init__(self, library: Path, about: Card, place: Place) -> None:
        self._library, self._card, self._place = library, about, place
        self.folder = snapshot_folder(about, library)
        self._current: JournalledSnapshot | None = None
        self._behind_since: float | None = None
        self._making = threading.Lock()

    @property
    def dim(self) -> int:
        """Dimensions of the vectors."""
        return self._card.dim

    @property
    def version(self) -> str | None:
        """The newest version of the table."""
        return self._place.token()

    def store(self) -> Store:
        """The table; writes through it also go into the readers' journal."""
        return journal.JournalledStore(self._place.store(), self._place.token, self.folder, self._place.feed)

    def reader(self) -> Store:
        """The table for searches and lists by a server."""
        return self._place.reader()

    def newest(self) -> JournalledSnapshot:
        """The newest version that was acknowledged, as far as that is cheap to find out."""
        version, current = self.version, self._current
        if current is not None and current.version == version:
            self._behind_since = None
            return current
        with self._making:
            return self._newer(version)

    def replace_damaged(self) -> JournalledSnapshot:
        """A new snapshot whatever is on disk."""
        self._current = self._made(replace=True)
        return self._current

    def write(self) -> None:
        """Write a new snapshot of the newest version. Raises OSError when it cannot be written."""
        self._current = self._written(*self._place.at_one_version())

    def write_if_due(self) -> None:
        """Write new snapshots while much was written since the current one; writes and searches go on meanwhile.

        Raises OSError when it cannot be written.
        """
        for _ in range(_ATTEMPTS):
            current = self.on_disk()
            if current is not None and not _is_due(current):
                return
            with contextlib.suppress(LibraryError):  # its files may have been compacted away meanwhile
                self._written(*self._place.at_one_version())

    def refresh(self, *, whole: bool = True) -> None:
        """After writing: follow it, so that the next search starts at once. What fails here costs time, not data.

        `whole` writes a new snapshot if anything was written; else that is begun beside the writes when it is due.
        """
        with contextlib.suppress(OSError, LibraryError):
            version = self.version
            self._follow()
            found = (None if self._current is None else self._current.advanced(version)) or self.on_disk(version)
            if (found is None and snapshot.in_use(self.folder) is None) or (
                whole and (found is None or found.changed or found.followed > _REWRITE_BYTES)
            ):
                found = self._written(*self._place.at_one_version())
            elif not whole and (found is None or _is_due(found)) and not self.is_being_written:
                from . import snapshot_rebuild  # a search needs no processes

                snapshot_rebuild.start(self._library)
            self._current = found or self._current

    def on_disk(self, version: str | None = None) -> JournalledSnapshot | None:
        """A version (the newest by default), or a later one, by what is on disk; None if the journal leads to none."""
        self._follow()
        base = snapshot.load(self.folder, self._card.id, self._card.dim)
        return None if base is None else JournalledSnapshot(base, base.version).advanced(version or self.version)

    @property
    def is_being_written(self) -> bool:
        """Whether some process is making a new snapshot."""
        return lock.is_held(self._library, _LOCK)

    def leftovers(self) -> Iterator[Path]:
        """Folders of snapshots that no reader and no running process needs."""
        if self.folder.is_dir() and not self.is_being_written:
            used = snapshot.in_use(self.folder)
            for path in self.folder.iterdir():
                if path.is_dir() and path.name != used and time.time() - path.stat().st_mtime > _YOUNG_SECONDS:
                    yield path

    # -- inside ------------------------------------------------------------------------------------

    def _index(self) -> IndexChoice | None:
        """The index that the newest card names: it may have been chosen since this library was opened."""
        with contextlib.suppress(LibraryError):
            about = card.read(self._library)
            return about.index if about.generation == self._card.generation else self._card.index
        return self._card.index

    def _follow(self) -> None:
        """Bring the journal here up to what was written on other machines."""
        if self._place.feed is not None:
            with contextlib.suppress(LibraryError):  # a new snapshot is made instead
                journal.follow(self.folder, self._place.feed)

    def _newer(self, version: str | None) -> JournalledSnapshot:
        current = self._current
        self._follow()
        found = None if current is None else current.advanced(version)
        if found is None and (current is None or snapshot.in_use(self.folder) != current.base.folder.name):
            found = self.on_disk(version)
        if found is None and self._may_wait_for_journal():
            return current if current is not None else self._waited_for()
        self._current, self._behind_since = found or self._made(), None
        return self._current

    def _may_wait_for_journal(self) -> bool:
        """Whether a missing journal entry may still come: the writer has made its version, and is flushing it."""
        if self._current is None:
            return self.version is not None and (self.folder / snapshot.POINTER).exists()
        now = time.monotonic()
        if self._behind_since is None:
            self._behind_since = now
        if not self._current.base.folder.exists():
            return False
        behind = now - self._behind_since
        return behind < _PATIENCE or (behind < _MOST_PATIENCE and lock.is_held(self._library))

    def _waited_for(self) -> JournalledSnapshot:
        """The first read of this process: a short wait for a writer, else a new snapshot."""
        for _ in range(4):
            found = self.on_disk()
            if found is not None:
                break
            time.sleep(0.05)
        self._current = found or self._made()
        return self._current

    def _made(self, *, replace: bool = False) -> JournalledSnapshot:
        """A snapshot from the store; with `replace` also where another process has just written one."""
        for attempt in range(_ATTEMPTS):
            try:
                store, version = self._place.at_one_version()
                try:
                    return self._written(store, version, if_needed=not replace)
                except OSError:  # a disk that cannot be written can still be searched
                    return JournalledSnapshot(snapshot.in_memory(store, self._card.dim, version), version)
            except LibraryError:  # its files may have been compacted away meanwhile
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError  # for the type checker: the loop returns or raises

    def _written(self, store: Store, version: str, *, if_needed: bool = False) -> JournalledSnapshot:
        """A new snapshot on disk, with its index and what was written meanwhile, made the current one in one step.

        One process at a time writes, so that none removes another's; with `if_needed` not when, by the time it is
        this process's turn, another has done it.
        """

        def finish(made: Snapshot, make_current: Callable[[], None]) -> None:
            with contextlib.suppress(OSError, RuntimeError):  # without the accelerator searching is exact
                accelerator.prepare(made, self._index())
            journal.hand_over(self.folder, made, make_current)

        with lock.exclusive(self._library / _LOCK):
            if if_needed and (there := self.on_disk(version)) is not None:
                return there
            made = snapshot.build(self.folder, store, self._card.id, self._card.dim, version, finish)
            trim_memory()
        return self.on_disk(version) or JournalledSnapshot(made, version)


def _is_due(current: JournalledSnapshot) -> bool:
    """Whether so much was written since the snapshot that a new one is worth the work."""
    return current.changed > max(_REWRITE_ROWS, _REWRITE_SHARE * len(current.base)) or current.followed > _REWRITE_BYTES
