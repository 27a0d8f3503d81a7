"""One writer at a time of a library on object storage: an object that only one of two can write, and must write again.

A writer writes the object on the condition that it is as it was read. It then does so every few seconds; where it has
not for half a minute by the server's own clock, the writer is gone, and another may take over, on the same condition.
A writer that could not renew its lock refuses to write. No clock of these machines is compared with another.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from diptych.core.errors import LibraryError
from diptych.library.bucket import Bucket

_RENEW = 5.0  # seconds between two renewals
_TRUSTED = 15.0  # seconds after a renewal for which the lock is certain
_STALE = 30.0  # seconds without a renewal after which another writer may take over
_RETRY = 0.2  # seconds
PROBE = "writer.probe"

_held: dict[tuple[str, str], BucketLock] = {}  # by address and name: the locks that this process has


class BucketLock:
    """A lock that this process holds, renewed by a thread until it is released."""

    def __init__(self, bucket: Bucket, name: str, mark: Mapping[str, Any], note: dict[str, Any]) -> None:
        self._bucket, self._name, self._mark, self._note = bucket, name, mark, note
        self._renewed = time.monotonic()
        self._is_lost = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="diptych-lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise LibraryError when another writer may have taken over."""
        if self._is_lost or time.monotonic() - self._renewed > _TRUSTED:
            raise LibraryError(
                f"{self._bucket.address} could not be reached for a while, and another writer may have taken over; "
                "what was acknowledged is kept: run this again"
            )

    def release(self) -> None:
        """Let another writer have it, unless one has taken it."""
        self._done.set()
        self._thread.join()
        if not self._is_lost:
            with contextlib.suppress(LibraryError):  # it goes stale
                self._bucket.replace(self._name, b"{}", self._mark)

    def _keep(self) -> None:
        while not self._done.wait(_RENEW):
            with contextlib.suppress(LibraryError):  # it is tried again
                began = time.monotonic()
                mark = self._bucket.replace(self._name, _written(self._note), self._mark)
                if mark is None:
                    self._is_lost = True
                    return
                self._mark, self._renewed = mark, began


@contextlib.contextmanager
def held(bucket: Bucket, name: str, wait: float) -> Iterator[None]:
    """Hold the lock. Raises LibraryError, naming the holder, when it is another's after `wait` seconds."""
    lock = _taken(bucket, name, wait)
    _held[bucket.address, name] = lock
    try:
        yield
    finally:
        del _held[bucket.address, name]
        lock.release()


def is_mine(address: str, name: str) -> bool:
    """Whether this process holds the lock of this name, such as the writer's."""
    return (address, name) in _held


def check(address: str) -> None:
    """Raise LibraryError when this process holds a lock there and can no longer be sure of it."""
    for (where, _), lock in list(_held.items()):
        if where == address:
            lock.check()


def _taken(bucket: Bucket, name: str, wait: float) -> BucketLock:
    note = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    deadline = time.monotonic() + wait
    while True:
        found = bucket.get_marked(name)
        if found is None:
            mark, holder = bucket.create(name, _written(note)), {}
        else:
            holder, mark = _read(found[0]), None
            if not holder or _age(bucket, name) > _STALE:
                mark = bucket.replace(name, _written(note), found[1].mark)
        if mark is not None:
            return BucketLock(bucket, name, mark, note)
        if time.monotonic() >= deadline:
            who = f"process {holder['pid']} on {holder['host']}, since {holder['since']}" if holder else "another one"
            raise LibraryError(
                f"the library {bucket.address} is being written by {who}; wait until it is finished, or stop it "
                f"(one that was killed gives way after {_STALE:.0f} seconds), then run this again"
            )
        time.sleep(_RETRY)


def _age(bucket: Bucket, name: str) -> float:
    """Seconds since an object was written, both times by the server's clock."""
    bucket.put(PROBE, secrets.token_bytes(8))
    now, then = bucket.head(PROBE), bucket.head(name)
    return 0.0 if now is None or then is None else (now.modified - then.modified).total_seconds()


def _written(note: Mapping[str, Any]) -> bytes:
    """The content of a lock; each is another, because equal contents have equal marks."""
    return json.dumps({**note, "nonce": secrets.token_hex(8)}).encode()


def _read(data: bytes) -> dict[str, Any]:
    """Who holds the lock; empty when it is free."""
    try:
        value = json.loads(data)
        return {key: value[key] for key in ("pid", "host", "since")}
    except (ValueError, KeyError, TypeError):
        return {}
