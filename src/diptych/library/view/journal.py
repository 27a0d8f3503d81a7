"""What changed since a snapshot was made: one checked line for each write, so that readers need no new snapshot.

Like the snapshot it is a cache: the store decides. Every line names the store version before and after it; a
chain that does not lead to the store's version is not followed, and a new snapshot is made instead.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.shapes import Float32
from diptych.library.store import lock
from diptych.library.store.protocol import Feed, Part, Store
from diptych.library.store.rows import Row
from diptych.library.store.where import Where

from .snapshot import JOURNAL_LOCK, POINTER, Snapshot, in_use, line_of

FILE = "journal.jsonl"
MOST_BYTES = 64_000_000  # a longer journal is not worth following: a new snapshot is


@dataclass(frozen=True, slots=True)
class Change:
    """A row as it is after a write: its line of the snapshot, and its unit vector."""

    id: str
    line: bytes
    vector: Float32[np.ndarray, d]


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One write: from which store version to which, what is new or replaced, and what is gone."""

    before: str
    after: str
    changes: tuple[Change, ...]
    gone: tuple[str, ...]


class JournalledStore:
    """A store whose writes also go into the readers' journal: once they are durable, before they are acknowledged.

    All else is as the store's.
    """

    def __init__(
        self, store: Store, token: Callable[[], str | None], snapshots: Path, feed: Feed | None = None
    ) -> None:
        self._store, self._token, self._snapshots, self._feed = store, token, snapshots, feed

    @property
    def version(self) -> int:
        """The newest version."""
        return self._store.version

    def count(self, part: Part = "live", where: Where | None = None) -> int:
        """How many rows the newest version holds, or how many pass a filter."""
        return self._store.count(part, where)

    def columns(self) -> Mapping[str, str]:
        """Name -> kind of what `where` may ask about."""
        return self._store.columns()

    def get(self, ids: Collection[str], part: Part = "live", *, vectors: bool = True) -> list[Row]:
        """The rows with these ids, sorted by id; unknown ids are left out."""
        return self._store.get(ids, part, vectors=vectors)

    def scan(self, columns: Sequence[str], part: Part = "live", where: Where | None = None) -> Iterator[dict[str, Any]]:
        """Rows in blocks: column -> list of values, or a float32 array for "vector"."""
        return self._store.scan(columns, part, where)

    def matching(self, where: Where) -> list[str]:
        """Ids of the live rows for which a filter holds, in order."""
        return self._store.matching(where)

    def page(self, after: str, limit: int, where: Where | None = None) -> list[str]:
        """Ids of the next live rows, in order."""
        return self._store.page(after, limit, where)

    def search(
        self, vectors: Float32[np.ndarray, "q d"], k: int, where: Where | None = None
    ) -> list[list[tuple[str, float]]]:
        """The store's own search among live rows: for each vector (id, cosine), best first."""
        return self._store.search(vectors, k, where)

    def check_words(self) -> None:
        """As the store's."""
        self._store.check_words()

    def worded(self, text: str, k: int, where: Where | None = None) -> list[str]:
        """Ids of live rows by the words inside their images, best first."""
        return self._store.worded(text, k, where)

    def write(self, rows: Sequence[Row], remove: Collection[str] = ()) -> None:
        """Insert or replace rows and remove others; durable, and in the journal, on return."""
        before = self._token()
        self._store.write(rows, remove)
        live = [row for row in rows if row.deleted_at is None]
        self._note(before, live, ({row.id for row in rows} | set(remove)) - {row.id for row in live})

    def compact(self, keep_seconds: float) -> None:
        """As the store's; the readers learn that no row has changed."""
        before = self._token()
        self._store.compact(keep_seconds)
        self._note(before, [], [])

    def _note(self, before: str | None, rows: Sequence[Row], gone: Collection[str]) -> None:
        after = self._token()
        if after != before and self._feed is not None and after is not None:
            self._feed.publish(after, _line(before, after, rows, gone))
        elif after != before:
            append(self._snapshots, before, after, rows, gone)


def append(folder: Path, before: str | None, after: str | None, rows: Sequence[Row], gone: Collection[str]) -> None:
    """Add a write to the journal of the current snapshot below `folder`, if there is one. Never raises OSError.

    Nothing is flushed to disk: what a power cut takes is made again from the store.
    """
    if in_use(folder) is not None:
        _append(folder, lambda _: [_line(before, after, rows, gone)])


def follow(folder: Path, feed: Feed) -> None:
    """Add what was published since to the journal of the current snapshot below `folder`, if there is one."""

    def later(base: Path) -> Iterator[bytes]:
        entries, _ = read(base, 0)
        reached = entries[-1].after if entries else json.loads((folder / POINTER).read_bytes())["version"]
        for line in feed.since(reached):
            entry = _unpacked(line)
            if entry is None or entry.before != reached:
                return
            yield line
            reached = entry.after

    if in_use(folder) is not None:
        _append(folder, later)


def _append(folder: Path, lines: Callable[[Path], Iterable[bytes]]) -> None:
    with contextlib.suppress(OSError, ValueError, KeyError), lock.exclusive(folder / JOURNAL_LOCK):
        base = folder / json.loads((folder / POINTER).read_bytes())["folder"]
        descriptor = os.open(base / FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            if os.fstat(descriptor).st_size < MOST_BYTES:
                for line in lines(base):
                    os.write(descriptor, line)
        finally:
            os.close(descriptor)


def _line(before: str | None, after: str | None, rows: Sequence[Row], gone: Collection[str]) -> bytes:
    value = {"before": before, "after": after, "rows": [_packed(row) for row in rows], "gone": sorted(gone)}
    text = json.dumps(value, ensure_ascii=True)
    return b"%08x %s\n" % (zlib.crc32(text.encode()), text.encode())


def read(base: Path, start: int) -> tuple[list[JournalEntry], int]:
    """The whole entries from byte `start` on, and where the next one will begin. A damaged line ends them."""
    entries: list[JournalEntry] = []
    with contextlib.suppress(OSError), (base / FILE).open("rb") as stream:
        stream.seek(start)
        for line in stream:
            entry = _unpacked(line)
            if entry is None:
                break
            entries.append(entry)
            start += len(line)
    return entries, start


def hand_over(folder: Path, made: Snapshot, make_current: Callable[[], None]) -> None:
    """Make a snapshot the current one, with all that was written since it was begun. No write comes in between."""
    with lock.exclusive(folder / JOURNAL_LOCK):
        if (name := in_use(folder)) is not None:
            (made.folder / FILE).write_bytes(_since(folder / name / FILE, made.version))
        make_current()


def _since(path: Path, version: str) -> bytes:
    """The whole lines of a journal from this version of the store on."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError:
        return b""
    for at, line in enumerate(lines):
        if (entry := _unpacked(line)) is not None and entry.before == version:
            return b"".join(one for one in lines[at:] if one.endswith(b"\n"))
    return b""


def _packed(row: Row) -> dict[str, str]:
    vector = normalise(np.asarray(row.vector, dtype=np.float32)[np.newaxis])[0].astype("<f4")
    packed = base64.b64encode(vector.tobytes()).decode()
    return {"id": row.id, "line": line_of(row).decode(), "vector": packed}


def _unpacked(line: bytes) -> JournalEntry | None:
    """The entry of a line, or None when the line is torn or damaged."""
    if not line.endswith(b"\n"):
        return None
    try:
        if int(line[:8], 16) != zlib.crc32(line[9:-1]):
            return None
        value: Any = json.loads(line[9:])
        changes = tuple(
            Change(
                str(one["id"]),
                str(one["line"]).encode(),
                np.frombuffer(base64.b64decode(one["vector"]), dtype="<f4").astype(np.float32),
            )
            for one in value["rows"]
        )
        return JournalEntry(str(value["before"]), str(value["after"]), changes, tuple(map(str, value["gone"])))
    except (ValueError, KeyError, TypeError):
        return None
