"""A row as the cells of a table, and back: the same columns whatever the store."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import re
import unicodedata
from collections.abc import Container, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from diptych.core.shapes import Float32
from diptych.core.text import plain

from .rows import COLUMNS, PHOTO, PHOTO_COLUMNS, TRASH_COLUMNS, Row

MOST_EXTRA_COLUMNS = 64  # what a source says beyond this many keys stays findable in `meta` only

_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")

_BEGINNING = "0000-01-01T00:00:00"
_AS_THEY_ARE = (  # columns that hold what the row holds
    "id", "path", "source", "content", "bytes", "modified_ns", "width", "height", "deleted_at", "batch",
)  # fmt: skip
STORED = frozenset(COLUMNS) | frozenset(TRASH_COLUMNS) | {"vector"}


@functools.lru_cache(maxsize=1024)
def column_name(key: str) -> str:
    """The column a metadata key becomes: letters, digits and _, never one of the built-in names.

    Letters beyond ASCII become their numbers (Größe: gru00f6u00dfe), so that no two words share a column.
    """
    text = unicodedata.normalize("NFC", plain(key).strip().lower())
    text = _BEYOND_ASCII.sub(lambda match: f"u{ord(match[0]):04x}", text)
    name = re.sub(r"\W", "_", text, flags=re.ASCII) or "_"
    name = f"_{name}" if name[0].isdigit() else name
    return f"meta_{name}" if name in STORED else name


def to_cells(row: Row) -> dict[str, Any]:
    """Column -> value, the vector left out; keys of `meta` become columns of their own."""
    said = {"meta": dict(row.meta), "texts": list(row.texts), "split": row.split, "group": row.group}
    if row.title is not None:
        said["title"] = row.title
    if row.photo is not None:
        said["photo"] = dict(row.photo)
    said["said"] = None if row.said is None else dict(row.said)
    cells = {column_name(key): value for key, value in row.meta.items()} | photo_cells(row)
    cells.update((name, getattr(row, name)) for name in _AS_THEY_ARE)
    cells.update(
        name=plain(row.name),
        folder=row.folder,
        suffix=row.suffix,
        modified=datetime.fromtimestamp(row.modified_ns // 10**9, UTC).replace(tzinfo=None),
        split=None if row.split is None else plain(row.split),
        group=None if row.group is None else plain(row.group),
        texts=plain("\n".join(row.texts)),
        # ASCII JSON keeps every string exactly, lone surrogates too.
        meta=json.dumps(said),
        digest=row.digest,
    )
    return cells


def from_cells(line: Mapping[str, Any], vector: Float32[np.ndarray, d]) -> Row:
    """The row behind its cells."""
    said = json.loads(line["meta"])
    as_they_are: dict[str, Any] = {name: line.get(name) for name in _AS_THEY_ARE}
    return Row(
        **as_they_are,
        vector=vector,
        texts=tuple(said["texts"]),
        split=said["split"],
        group=said["group"],
        meta=said["meta"],
        title=said.get("title"),
        photo=said.get("photo"),
        said=said.get("said", {}),
    )


def photo_cells(row: Row) -> dict[str, Any]:
    """Column -> value of what a photo says about itself."""
    cells = {f"{PHOTO}{key.upper()}": value for key, value in (row.photo or {}).items()}
    if (taken := cells.get("PHOTO_TAKEN")) is not None:
        cells["PHOTO_TAKEN"] = clock_ns(taken)
    if (keywords := cells.get("PHOTO_KEYWORDS")) is not None:
        cells["PHOTO_KEYWORDS"] = ", ".join(keywords)
    if cells.get("PHOTO_WORDS") == "":  # it was asked, and has none
        cells["PHOTO_WORDS"] = None
    return cells


def clock_ns(taken: str) -> int:
    """Nanoseconds from 1970 to the moment that a clock shows, whatever its zone; a year or a month is its beginning."""
    since = datetime.fromisoformat(taken + _BEGINNING[len(taken) :]) - datetime(1970, 1, 1)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1_000


def kind_of(value: Any) -> str:
    """The kind of column that a metadata value needs: text, number or boolean."""
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else "text"


def new_columns(rows: Iterable[Row], known: Container[str], room: int) -> dict[str, str]:
    """Name -> kind of columns that the rows need and that are not known; of their metadata at most `room`."""
    rows = list(rows)
    new: dict[str, str] = {}
    told = {name: PHOTO_COLUMNS[name] for row in rows for name in photo_cells(row) if name not in known}
    for row in rows:
        for key, value in row.meta.items():
            name = column_name(key)
            if value is not None and name not in known and len(new) < room:
                new.setdefault(name, kind_of(value))
    return new | told


def cast(value: Any, kind: str) -> Any:
    """A metadata value as its column's type; None where it does not fit (it stays whole in `meta`)."""
    if value is None:
        return None
    if kind == "bool":
        return value if isinstance(value, bool) else None
    if kind == "int64":  # of PHOTO_TAKEN alone
        return value if isinstance(value, int) else None
    if kind == "double":
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        with contextlib.suppress(OverflowError):
            return float(value) if math.isfinite(value) else None
        return None
    return plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
