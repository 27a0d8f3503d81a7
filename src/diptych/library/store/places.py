"""Where a library keeps its rows: in its own folder, on object storage, or on a server.

There is one place for each generation of vectors.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from diptych.core.errors import ConfigError
from diptych.library.bucket import bucket_of
from diptych.library.card import LANCE, Card

from .protocol import Feed, Store

MILVUS = "milvus"
_STORE, _SNAPSHOT = "store", "snapshot"
_SETTLED_NS = 1_000_000_000  # a folder touched longer ago than this shows every later change by its time


@runtime_checkable
class Place(Protocol):
    """The table of one generation of a library, rows in the trash included."""

    feed: Feed | None  # where readers on other machines learn of writes; None where all are on this one

    @property
    def has_own_search(self) -> bool:
        """Whether the place has a search of its own, as a server has, so that no snapshot is needed here."""

    def token(self) -> str | None:
        """Changes with every version of the table; cheap; None before the first."""

    def store(self) -> Store:
        """The table, made when it is not there."""

    def reader(self) -> Store:
        """The table for searches and lists, which may lag behind writes as far as the library's address allows."""

    def at_one_version(self) -> tuple[Store, str]:
        """The table as of its newest version, which later writes do not change, and that version's token."""

    def check_free(self) -> None:
        """Raise LibraryError when a new library cannot be made here, because another has this table."""

    def versions_kept(self) -> int:
        """How many versions take room; 0 where a server deletes them by itself."""

    def drop(self) -> None:
        """Remove the table of this generation."""


def open_place(about: Card, folder: Path) -> Place:
    """The place that a card names. Raises ConfigError for a kind of store that there is not."""
    kind = about.store.partition("://")[0].partition("+")[0]
    if kind not in KINDS or (kind == LANCE) != (about.store == LANCE):
        raise ConfigError(
            f"unknown store {about.store!r}; choose from: lance (rows in the library's folder), "
            f"milvus://HOST:PORT/COLLECTION (rows on a server)"
        )
    return KINDS[kind](about, folder)


def numbered(name: str, generation: int) -> str:
    """A folder's name in some generation; the first has no number."""
    return f"{name}-{generation}" if generation else name


def snapshot_folder(about: Card, folder: Path) -> Path:
    """Where the snapshots of a card's generation are."""
    return folder / numbered(_SNAPSHOT, about.generation)


class LancePlace:
    """A Lance table in the library's folder."""

    has_own_search = False
    feed: Feed | None = None

    def __init__(self, folder: Path, about: Card) -> None:
        self.folder = folder / numbered(_STORE, about.generation)
        self._dim = about.dim
        self._table: Any = None
        self._seen: tuple[int, str | None] | None = None  # time of the folder of versions, and the token then

    def token(self) -> str | None:
        """As version_on_disk; the folder is listed only after it was touched."""
        from .lance import version_on_disk, versions_folder

        try:
            touched = os.stat(versions_folder(self.folder)).st_mtime_ns  # noqa: PTH116 - for every search
        except OSError:
            return None
        if self._seen is not None and self._seen[0] == touched:
            return self._seen[1]
        token = version_on_disk(self.folder)
        if time.time_ns() - touched > _SETTLED_NS:  # else a change in the same tick of the clock might be missed
            self._seen = (touched, token)
        return token

    def store(self) -> Store:
        """The table, opened once."""
        from .lance import LanceStore

        if self._table is None or not self.folder.is_dir():
            self._table = LanceStore(self.folder, self._dim)
        store: Store = self._table
        return store

    def reader(self) -> Store:
        """The same: every read sees the newest version."""
        return self.store()

    def at_one_version(self) -> tuple[Store, str]:
        """A handle on the newest version alone."""
        from .lance import LanceStore

        return LanceStore(self.folder, self._dim).at_one_version()

    def check_free(self) -> None:
        """A folder that is no library yet is free."""

    def versions_kept(self) -> int:
        """Manifests of the table."""
        return sum(1 for _ in self.folder.glob("*.lance/_versions/*.manifest"))

    def drop(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._table = None


def _of_lance(about: Card, folder: Path) -> Place:
    if (bucket := bucket_of(folder)) is None:
        return LancePlace(folder, about)
    from .lance_bucket import BucketPlace

    return BucketPlace(bucket, numbered(_STORE, about.generation), about, folder)


def _on_milvus(about: Card, folder: Path) -> Place:
    from .milvus import MilvusPlace

    return MilvusPlace(folder / numbered(_STORE, about.generation), about)


# How an address of a store begins -> what opens the place of a card in the library's folder.
KINDS: dict[str, Callable[[Card, Path], Place]] = {
    LANCE: _of_lance,
    MILVUS: _on_milvus,
}
