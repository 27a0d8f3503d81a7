"""Images that were chosen, as a table or as a ZIP archive of their files, of which one is in memory at a time."""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from diptych.core.file_names import unescape
from diptych.core.text import plain
from diptych.library.images import Wanted, read_again
from diptych.library.items import Item
from diptych.library.kinds import video_of

TABLE = "images.csv"  # in an archive
_PIECE = 1 << 18  # bytes sent at once
_LONGEST_NAME = 200  # bytes; no file system takes more than 255, of which some are kept for an ending and a number
_LONGEST_SUFFIX = 16  # bytes; what is longer is no suffix
_DEVICE = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(?=\.|$)", re.IGNORECASE)  # what Windows takes for no file
_FIRST_YEAR, _LAST_YEAR = 1980, 2107  # that a ZIP archive can write
_CHANGED = "its file is gone or has changed since it was indexed"
_MOMENT = "it is a moment of a video"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet computes

Row = Mapping[str, Any]  # an item as answers give it


@dataclass(frozen=True, slots=True)
class Part:
    """An image of an archive: what is known about it, and which image that is."""

    row: Row
    item: Item


def table(rows: Sequence[Row], first: Sequence[str] = ()) -> str:
    """Rows as CSV: a column for each fact that any of them has, those named `first` before all others.

    Several texts or keywords are on lines of their own in one cell. A text that a spreadsheet would take for a formula
    has ' in front. A byte order mark at the start tells spreadsheets that this is UTF-8.
    """
    flat = [_flat(row) for row in rows]
    names = list(dict.fromkeys([*first, *(name for row in flat for name in row)]))
    stream = io.StringIO(newline="")
    stream.write("\ufeff")
    writer = csv.DictWriter(stream, names, restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()


def archive(parts: Sequence[Part], folder: Path) -> Iterator[bytes]:
    """A ZIP archive in pieces: the files of images as they were indexed, then a table of all that is known.

    An image whose file is gone or has changed, or that is a moment of a video, has no file in it: the table says why.
    """
    sink = _Sink()
    names = _Names(TABLE)
    items = {part.item.id: part.item for part in parts}
    listed = {one.id: {"left_out": _MOMENT if video_of(one.path) else _CHANGED} for one in items.values()}
    there = [one for one in items.values() if not video_of(one.path) and not _is_of_another_size(one)]
    wanted = [Wanted(one.id, one.path, one.content) for one in there]
    with zipfile.ZipFile(sink, "w") as packed:
        for one, image in read_again(wanted, folder):
            if image is None:
                continue
            item = items[one.id]
            name = names.give(item.name)
            listed[one.id] = {"file": name}
            packed.writestr(zipfile.ZipInfo(name, _date(item.modified)), image.data)
            yield from sink.pieces()
        rows = [{**listed[part.item.id], **part.row} for part in parts]
        packed.writestr(TABLE, table(rows, ("file", "left_out")), zipfile.ZIP_DEFLATED)
    yield from sink.pieces()


def _is_of_another_size(item: Item) -> bool:
    """Whether an image's file has changed, as its size tells: such a file is not read, however large it is by now."""
    try:
        return os.stat(unescape(item.path)).st_size != item.bytes  # noqa: PTH116 - takes every name
    except (OSError, ValueError):
        return False  # it is gone, or in a container


def _flat(row: Row) -> dict[str, Any]:
    """What is known about an image, one value a cell; metadata as `meta.KEY`."""
    meta = {f"meta.{key}": value for key, value in row["meta"].items()}
    facts = {**row, **row["photo"], **meta}
    return {name: _cell(value) for name, value in facts.items() if name not in ("meta", "photo") and value is not None}


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        value = "\n".join(map(str, value))
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _date(modified: str) -> tuple[int, int, int, int, int, int]:
    found = datetime.fromisoformat(modified)
    year = min(max(found.year, _FIRST_YEAR), _LAST_YEAR)
    return year, found.month, found.day, found.hour, found.minute, found.second


class _Names:
    """Names of files that every system can unpack, no two alike in small letters and with accents put together."""

    def __init__(self, *taken: str) -> None:
        self._given = {_compared(name) for name in taken}
        self._numbers = Counter[str]()  # of each name, so that the ten-thousandth alike is named as soon as the second

    def give(self, name: str) -> str:
        path = PurePosixPath(_safe(name))
        suffix = path.suffix if len(path.suffix.encode()) <= _LONGEST_SUFFIX else ""
        stem = path.name.removesuffix(suffix).encode()[:_LONGEST_NAME].decode(errors="ignore").rstrip(" .")
        found = first = f"{stem}{suffix}"
        while _compared(found) in self._given:
            self._numbers[_compared(first)] += 1
            found = f"{stem}~{self._numbers[_compared(first)] + 1}{suffix}"
        self._given.add(_compared(found))
        return found


def _compared(name: str) -> str:
    """Names that are equal by this are one file to some systems."""
    return unicodedata.normalize("NFC", name).casefold()


def _safe(name: str) -> str:
    """The last part of a name, without what a file system reads as something else."""
    last = plain(name).replace("\\", "/").rstrip("/").rpartition("/")[2]
    shown = "".join("_" if letter in '<>:"|?*' or letter < " " else letter for letter in last)
    return _DEVICE.sub(r"_\1", shown.strip(" .") or "image", count=1)


class _Sink(io.RawIOBase):
    """Takes what the archive writes until it is sent; cannot go back."""

    def __init__(self) -> None:
        super().__init__()
        self._kept = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._kept += data
        return len(data)

    def pieces(self) -> Iterator[bytes]:
        """What was written since, in pieces."""
        kept, self._kept = memoryview(self._kept), bytearray()
        for start in range(0, len(kept), _PIECE):
            yield bytes(kept[start : start + _PIECE])
