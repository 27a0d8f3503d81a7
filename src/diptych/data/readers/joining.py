"""Rows of one image become one record, wherever they are in the source, so that all its texts are positives.

So do rows of texts only that have a query, or a group, in common.

The first pass notes which images there are, and keeps the rows whose image came before in a temporary file; the
second one gives the records. Neither holds more than a row in memory.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import astuple, dataclass, field, replace
from typing import Any

from diptych.core import fingerprint
from diptych.core.types import FileImage, ImageRef, Origin, Pair, Role, Text
from diptych.data.cache import image_key
from diptych.data.video import VideoImage

from .meanings import next_meaning, shifted
from .sides import merged


@dataclass(frozen=True, slots=True)
class Joined:
    """A record, the number of rows joined in it, and where later rows contradict the first."""

    pair: Pair
    rows: int = 1
    conflicts: Counter[str] = field(default_factory=Counter)  # "id", "class" or a column -> rows that say another


def joined(read: Callable[[], Iterable[Pair]]) -> Iterator[Joined]:
    """The records of `read()`, in the order in which their images first come; it is called twice.

    Rows belong together when they have the same images and the same split. Files are compared by path, images
    in tables and tars by their bytes.
    """
    with closing(sqlite3.connect("", check_same_thread=False)) as database:  # a temporary file of SQLite
        database.execute("CREATE TABLE image (key BLOB PRIMARY KEY, given INTEGER) WITHOUT ROWID")
        database.execute("CREATE TABLE late (key BLOB, content TEXT)")
        any_late = _note(database, read())
        yield from _records(database, read(), any_late)


def _note(database: sqlite3.Connection, rows: Iterable[Pair]) -> bool:
    """Fill the tables; whether a row comes after its image, but not right after it."""
    head, any_late = b"", False
    for row in rows:
        key = _key(row)
        if key == head:
            continue
        if database.execute("INSERT OR IGNORE INTO image VALUES (?, 0)", (key,)).rowcount:
            head = key
        else:
            any_late = True
            database.execute("INSERT INTO late VALUES (?, ?)", (key, _packed(row)))
    database.execute("CREATE INDEX by_key ON late (key)")
    return any_late


def _records(database: sqlite3.Connection, rows: Iterable[Pair], any_late: bool) -> Iterator[Joined]:
    head, current = b"", None
    for row in rows:
        key = _key(row)
        if current is not None and key == head:
            current = _join(current, row)
            continue
        if any_late and not database.execute("UPDATE image SET given = 1 WHERE key = ? AND NOT given", (key,)).rowcount:
            continue  # given with the first row of its image
        if current is not None:
            yield _with_late(database, head, current) if any_late else current
        head, current = key, Joined(row)
    if current is not None:
        yield _with_late(database, head, current) if any_late else current


def _with_late(database: sqlite3.Connection, key: bytes, record: Joined) -> Joined:
    for (content,) in database.execute("SELECT content FROM late WHERE key = ? ORDER BY rowid", (key,)):
        record = _join(record, _unpacked(content, record.pair))
    return record


def _join(record: Joined, row: Pair) -> Joined:
    """The record with another row of its image: its texts, and whatever else the record does not say yet."""
    first = record.pair
    if not first.images:
        texts, relabelled = merged(first.texts, shifted(row.texts, by=next_meaning(first.texts)))
        counted = Counter({"label": relabelled} if relabelled else {})
        return Joined(replace(first, texts=texts), record.rows + 1, record.conflicts + counted)
    said, known = _said(row), _said(first)
    conflicts = Counter(name for name, value in said.items() if name in known and known[name] != value)
    pair = replace(
        first,
        texts=first.texts + shifted(row.texts, by=next_meaning(first.texts)),
        group=row.group if first.group is None else first.group,
        meta={**row.meta, **first.meta},
    )
    return Joined(pair, record.rows + 1, record.conflicts + conflicts)


def _said(row: Pair) -> dict[str, Any]:
    """What a row says of its image besides texts."""
    named = {"id": row.id if row.is_named else None, "class": row.group}
    return {**{name: value for name, value in named.items() if value is not None}, **row.meta}


def _key(row: Pair) -> bytes:
    shared = [_place(image) for image in row.images] if row.images else _own(row)
    return bytes.fromhex(fingerprint.combined([row.split or "", *shared]))


def _own(row: Pair) -> list[str]:
    """What rows of texts only have in common when they are of one record: a query, or a group; else nothing."""
    if queries := row.queries:
        return ["query", *sorted(text.value for text in queries)]
    return ["group", row.group] if row.group is not None else ["row", row.id, *(text.value for text in row.texts)]


def _place(image: ImageRef) -> str:
    """What two references to one image have in common, and no others."""
    if isinstance(image, FileImage | VideoImage):
        return os.path.abspath(image.name)  # noqa: PTH100 - links as they are named
    key = image_key(image)
    return key.hex() if key else image.name  # one that is gone differs by its name; whoever reads it reports it


def _packed(row: Pair) -> str:
    return json.dumps([row.id, row.is_named, row.group, dict(row.meta), [astuple(text) for text in row.texts]])


def _unpacked(content: str, first: Pair) -> Pair:
    identifier, is_named, group, meta, texts = json.loads(content)
    return Pair(identifier, first.images, tuple(map(_text, texts)), first.split, group, meta, is_named=is_named)


def _text(said: list[Any]) -> Text:
    value, lang, part, origin, meaning, engine, role, label, item, source = said
    return Text(value, lang, part, Origin(origin), meaning, engine, role and Role(role), label, item, source)
