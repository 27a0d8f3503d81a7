"""A Lance table on object storage. Lance commits a version by a conditional write, so two never become the same one."""

from __future__ import annotations

import contextlib
import copy
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from diptych.core.errors import LibraryError
from diptych.core.memory import trim_memory
from diptych.library import card
from diptych.library.bucket import PROBE, Bucket, lance_options
from diptych.library.card import Card

from . import bucket_lock, lock
from .lance import TABLE, LanceStore, one_line_errors, token_of
from .protocol import Feed, Store
from .rows import Row

log = logging.getLogger("diptych.library")

_FRESH_SECONDS = 1.0  # for which a reader takes the newest version that it saw for the newest
_AWAY_SECONDS = 10.0  # the same while the storage cannot be reached: finding that out may take 20 seconds
_KEEP_SECONDS = 3600.0  # for which readers on other machines may read an older version
_JOURNAL = "journal"
_LEFT_BEHIND = {PROBE, bucket_lock.PROBE, lock.FILE}  # by a `create` that was killed
_MOST_FOLLOWED = 16_000_000  # bytes of the journal: reading the table is quicker


class BucketPlace:
    """The table of one generation of a library on object storage."""

    has_own_search = False

    def __init__(self, bucket: Bucket, name: str, about: Card, folder: Path) -> None:
        """`folder` is the working folder, in which a copy of the card is kept."""
        self._bucket, self._name, self._dim, self._folder = bucket, name, about.dim, folder
        self._card: Mapping[str, Any] | None = None  # the mark of the card of which there is a copy
        self._table: BucketStore | None = None
        self._token: str | None = None
        self._until = 0.0  # when it has to be looked up again
        self.feed: Feed | None = BucketFeed(bucket, f"{_JOURNAL}/{name}")

    def token(self) -> str | None:
        """The newest version, at most a second old; at once for the writer. The last known one while the storage
        cannot be reached: a reader then goes on with what it has.
        """
        if time.monotonic() < self._until and not bucket_lock.is_mine(self._bucket.address, lock.FILE):
            return self._token
        try:
            self._token = token_of((one.name, one.bytes) for one in self._bucket.names(_versions(self._name)))
            self._follow_card()
            fresh = _FRESH_SECONDS
        except LibraryError as error:
            if self._token is None or bucket_lock.is_mine(self._bucket.address, lock.FILE):
                raise
            log.warning("version %s is searched: %s", self._token, error)
            fresh = _AWAY_SECONDS
        self._until = time.monotonic() + fresh
        return self._token

    def store(self) -> Store:
        """The table, opened once."""
        if self._table is None:
            self._table = BucketStore(self._bucket, self._name, self._dim, self._written)
        store: Store = self._table
        return store

    def reader(self) -> Store:
        """The same: every read sees the newest version."""
        return self.store()

    def at_one_version(self) -> tuple[Store, str]:
        """A handle on the newest version alone."""
        return BucketStore(self._bucket, self._name, self._dim, self._written).at_one_version()

    def check_free(self) -> None:
        """Raise LibraryError when something is there that is no library, or the server ignores conditions."""
        if any(one.name not in _LEFT_BEHIND for one in self._bucket.names()):
            raise LibraryError(f"{self._bucket.address} holds other objects; choose another name")
        self._bucket.check_conditions()

    def versions_kept(self) -> int:
        """Manifests of the table."""
        return sum(1 for _ in self._bucket.names(_versions(self._name)))

    def drop(self) -> None:
        """Remove the objects of this generation, and its journal."""
        for folder in (self._name, f"{_JOURNAL}/{self._name}"):
            if names := [one.name for one in self._bucket.names(folder)]:
                self._bucket.remove(*names)
        self._table, self._until = None, 0.0

    def _written(self) -> None:
        self._until = 0.0

    def _follow_card(self) -> None:
        """A copy of the card here, by which `serve` sees that the library was embedded again elsewhere."""
        found = self._bucket.head(card.FILE)
        if found is not None and found.mark != self._card:
            card.read(self._folder)
            self._card = found.mark


class BucketFeed:
    """The journal of writes for readers on all machines: an object for each version."""

    def __init__(self, bucket: Bucket, folder: str) -> None:
        self._bucket, self._folder = bucket, folder

    def publish(self, after: str, line: bytes) -> None:
        """Add the write that led to a version. What fails here costs readers time, not data."""
        with contextlib.suppress(LibraryError):
            self._bucket.put(self._named(after), line)

    def since(self, version: str) -> Iterator[bytes]:
        """The lines of the writes after a version, in order; none where they are too many to be worth it."""
        found = list(self._bucket.names(self._folder, self._named(version)))
        if sum(one.bytes for one in found) <= _MOST_FOLLOWED:
            yield from (line for one in found if (line := self._bucket.get(one.name)) is not None)

    def forget(self, seconds: float) -> None:
        """Remove what is older than this, by the newest one's time."""
        found = list(self._bucket.names(self._folder))
        if found:
            newest = max(one.modified for one in found)
            old = [one.name for one in found if newest - one.modified > timedelta(seconds=seconds)]
            if old:
                self._bucket.remove(*old)

    def _named(self, version: str) -> str:
        return f"{self._folder}/{int(version.partition('-')[0]):020d}"


class BucketStore(LanceStore):
    """Rows in the table at ADDRESS/NAME/pictures.lance."""

    def __init__(self, bucket: Bucket, name: str, dim: int, written: Callable[[], None]) -> None:
        self._bucket, self._name, self._written = bucket, name, written
        self._connect(f"{bucket.address}/{name}", dim, lance_options())

    def write(self, rows: Sequence[Row], remove: Collection[str] = ()) -> None:
        """As in a folder. Raises LibraryError when this process may no longer be the one writer."""
        bucket_lock.check(self._bucket.address)
        try:
            super().write(rows, remove)
        finally:
            self._written()

    def at_one_version(self) -> tuple[LanceStore, str]:
        """This table as of its newest version, for reading only, and that version's token."""
        with one_line_errors("the store cannot be read"):
            token = token_of((one.name, one.bytes) for one in self._bucket.names(_versions(self._name))) or ""
            fixed = copy.copy(self)
            fixed._table = self._database.open_table(TABLE)
            fixed._table.checkout(int(token.partition("-")[0]))
        return fixed, token

    def compact(self, keep_seconds: float) -> None:
        """As in a folder; versions of the last hour stay, because readers elsewhere may have them open."""
        bucket_lock.check(self._bucket.address)
        with one_line_errors("the store cannot be compacted"):
            self._add_indexes()
            kept = max(keep_seconds, _KEEP_SECONDS)
            self._table.optimize(cleanup_older_than=timedelta(seconds=kept))
        BucketFeed(self._bucket, f"{_JOURNAL}/{self._name}").forget(kept)
        self._written()
        trim_memory()

    def _is_made(self, table: str = TABLE) -> bool:
        return next(self._bucket.names(_versions(self._name, table)), None) is not None

    def _make_durable(self) -> None:
        """What the server acknowledged is durable."""


def _versions(name: str, table: str = TABLE) -> str:
    return f"{name}/{table}.lance/_versions"
