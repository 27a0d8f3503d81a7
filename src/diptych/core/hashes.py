"""Fingerprints of large files, computed once and remembered, so that a model of many megabytes starts at once.

What is remembered counts as long as the file's size, times, inode and device are the same. Any write changes the time
of the last change, which no program can set, so only damage of the disk itself goes unnoticed; deleting the cache
(`diptych.core.files.cache_folder`) has every file read again.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

from . import fingerprint
from .files import cache_folder, write_json

FROM = 16_000_000  # bytes; smaller files are read each time, which takes some milliseconds
_SETTLED = 2.0  # seconds; a file changed later than this may change again without a new time


def of_file(path: Path, *, just_written: bool = False) -> str:
    """As `fingerprint.of_file`. `just_written` is for the one who wrote the file and knows that nobody else does."""
    found = path.stat()
    if found.st_size < FROM:
        return fingerprint.of_file(path)
    note = cache_folder() / "hashes" / f"{fingerprint.of_json(str(path.resolve()))}.json"
    state = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        remembered = json.loads(note.read_text(encoding="utf-8"))
        if remembered["state"] == state:
            return str(remembered["fingerprint"])
    computed = fingerprint.of_file(path)
    if just_written or time.time() - max(found.st_ctime, found.st_mtime) > _SETTLED:
        with contextlib.suppress(OSError):  # a cache that cannot be written is none
            write_json(note, {"state": state, "fingerprint": computed, "path": os.fspath(path.resolve())})
    return computed
