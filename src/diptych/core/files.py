"""Files that are either whole or absent: written aside, flushed, renamed, folder flushed. And the cache's folder."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from .errors import ConfigError


def cache_folder() -> Path:
    """The folder for what can be made again; it is not created here.

    `DIPTYCH_CACHE`, else `XDG_CACHE_HOME/diptych`, else `~/.cache/diptych`.
    """
    if chosen := os.environ.get("DIPTYCH_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "diptych"


def fsync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable (a no-op where folders cannot be opened)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A binary stream whose content replaces `path` in one step when the block ends well.

    On any error the old file, if any, stays as it was and the partial one is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
        fsync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def lock(file: int | IO[Any], *, shared: bool = False, wait: bool = True) -> None:
    """Lock an open file, alone or with others that share it, until it is closed or the process ends.

    Raises BlockingIOError where another has it and `wait` is false, OSError on a file system without locks, and
    ConfigError on Windows, which has none of this kind.
    """
    try:
        import fcntl  # not at the top: all that locks nothing works without it
    except ImportError as error:
        raise ConfigError("Windows has no file locks of the kind that this needs; run Diptych in WSL") from error
    fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))


@contextlib.contextmanager
def locked(path: Path, when_waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of that file; another process waits, after a call of its `when_waiting`.

    A killed process holds nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        try:
            lock(stream, wait=False)
        except BlockingIOError:
            when_waiting()
            lock(stream)
        yield


def files_below(folder: Path) -> Iterator[Path]:
    """Every file in a folder and the folders below it; none where there is no folder."""
    return (Path(base, name) for base, _, names in os.walk(folder) for name in names)


def fsync_tree(folder: Path) -> None:
    """Make the files in a folder and the folders below it durable."""
    for base, _, names in os.walk(folder):
        for name in names:
            fsync_file(Path(base, name))
        fsync_folder(Path(base))


def fsync_file(path: Path) -> None:
    """Make the content of a file that someone else wrote durable."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, atomically and durably."""
    with atomic_write(path) as stream:
        stream.write(data)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by pretty JSON in UTF-8, atomically and durably."""
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    try:
        write_bytes(path, text.encode())
    except UnicodeEncodeError:  # half a character, from a file's name that is not UTF-8
        write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())
