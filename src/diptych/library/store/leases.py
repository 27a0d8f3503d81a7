"""Which versions of a table are being read: a locked file for each reader, so that compaction leaves them alone.

    store/readers/417-8123-0      version 417, read by process 8123

The system releases the lock when the reader ends, also when it is killed; then the version may be deleted.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from diptych.core import files

from . import lock

_FOLDER, _LOCK = "readers", "readers.lock"
_numbers = itertools.count()


class Lease:
    """Keeps a version from being deleted as long as this object lives."""

    def __init__(self, folder: Path, version: int) -> None:
        """Raises OSError where nothing can be written."""
        (folder / _FOLDER).mkdir(exist_ok=True)
        self._path = folder / _FOLDER / f"{version}-{os.getpid()}-{next(_numbers)}"
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        files.lock(self._descriptor)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._descriptor)


@contextlib.contextmanager
def settled(folder: Path) -> Iterator[None]:
    """While this is held, no version is deleted and no other lease begins."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # where nothing can be written nobody compacts
            stack.enter_context(lock.exclusive(folder / _LOCK))
        yield


def oldest(folder: Path) -> int | None:
    """The oldest version that somebody reads. Files of readers that ended are removed. Within `settled`."""
    versions = []
    with contextlib.suppress(FileNotFoundError):
        for path in (folder / _FOLDER).iterdir():
            with contextlib.suppress(OSError, ValueError):
                if lock.is_held(path.parent, path.name):
                    versions.append(int(path.name.partition("-")[0]))
                else:
                    path.unlink()
    return min(versions, default=None)
