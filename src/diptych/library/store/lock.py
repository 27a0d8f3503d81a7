"""One writer at a time, by a lock on a file. The system releases it when the writer ends, also when it is killed."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from diptych.core.errors import LibraryError
from diptych.core.files import lock
from diptych.library.bucket import bucket_of, shown

FILE = "writer.lock"
_RETRY_SECONDS = 0.005
_LEAST_WAIT = 0.1  # seconds: `is_held` takes the lock for a moment, and no writer must fail because of that


def _holder(descriptor: int) -> str:
    try:
        value = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {value['pid']} on {value['host']} since {value['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock on a file, waiting until no other process has it. Raises OSError when the file cannot be opened."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int, deadline: float) -> None:
    while True:
        try:
            lock(descriptor, wait=False)
        except OSError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return


def is_held(folder: Path, file: str = FILE) -> bool:
    """Whether some process holds a lock that excludes others on a file of this folder; by default the writer's."""
    try:
        descriptor = os.open(folder / file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        lock(descriptor, shared=True, wait=False)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def writer(folder: Path, wait: float = 0.0, file: str = FILE) -> Iterator[None]:
    """Hold the library's writer lock (or another, by its file); on object storage also the one there.

    Raises LibraryError, naming the holder, when someone else still has it after `wait` seconds.
    """
    bucket = bucket_of(folder)
    if bucket is not None:
        folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            _locked(descriptor, time.monotonic() + max(wait, _LEAST_WAIT))
        except OSError as error:
            raise LibraryError(
                f"the library {shown(folder)} is being written by {_holder(descriptor)}; "
                f"wait until it is finished, or stop it, then run this again"
            ) from error
        note = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(note).encode(), 0)
        if bucket is None:
            yield
        else:
            from . import bucket_lock

            with bucket_lock.held(bucket, file, wait):
                yield
    finally:
        os.close(descriptor)
