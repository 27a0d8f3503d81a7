"""A snapshot of one store version, for searching: memory-mapped, opened in milliseconds.

It is a cache of the store: written after each indexing run, ignored and made again when it is
missing, stale or damaged. Searching with one needs neither Lance nor Arrow.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import LibraryError
from diptych.core.files import fsync_folder, write_json
from diptych.core.shapes import Float32, Int64
from diptych.core.text import plain_json
from diptych.library.store.protocol import Scannable
from diptych.library.store.row_codec import to_cells
from diptych.library.store.rows import ID_LENGTH, Row

NOWHERE = Path(os.devnull)  # the folder of a snapshot in memory: nothing is below it
POINTER = "current.json"
JOURNAL_LOCK = "journal.lock"
KEPT = "trained."  # how the names begin of what the accelerator carries over from one snapshot to the next
_VECTORS, _IDS, _LINES, _OFFSETS = "vectors.npy", "ids.npy", "rows.jsonl", "offsets.npy"
_ID_TYPE = f"S{ID_LENGTH}"


def _at_once(_: Snapshot, make_current: Callable[[], None]) -> None:
    make_current()


class DamagedError(LibraryError):
    """A snapshot that cannot be read; a new one can be made from the store."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """Which snapshot is current, of which store version, and how long its files must be."""

    folder: str
    library: str
    version: str
    rows: int
    dim: int
    sizes: dict[str, int]  # bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Vectors and rows of one version, sorted by id, so that a row's place breaks ties by id."""

    version: str
    folder: Path
    ids: np.ndarray[Any, np.dtype[np.bytes_]]
    vectors: Float32[np.ndarray, "n d"]
    offsets: Int64[np.ndarray, m]  # n + 1 positions in the file of lines
    lines: bytes | mmap.mmap

    def __len__(self) -> int:
        return len(self.ids)

    def id(self, row: int) -> str:
        """The id of a row."""
        return str(self.ids[row], "ascii")

    def row(self, row: int) -> dict[str, Any]:
        """What is known about a row: path, content, meta. Raises DamagedError when that cannot be read."""
        try:
            value = json.loads(self.lines[int(self.offsets[row]) : int(self.offsets[row + 1])])
        except ValueError as error:
            raise DamagedError(
                f"the snapshot {self.folder} is damaged; run diptych library compact on the library"
            ) from error
        return dict(value)

    def find(self, identifiers: Sequence[str]) -> Int64[np.ndarray, c]:
        """Rows of those of these ids that exist, in ascending order."""
        known = [one for one in identifiers if one.isascii() and len(one) == ID_LENGTH]
        wanted = np.unique(np.array(known, dtype=_ID_TYPE))
        if not len(self) or not len(wanted):
            return np.empty(0, dtype=np.int64)
        places = np.minimum(np.searchsorted(self.ids, wanted), len(self) - 1)
        return np.asarray(places[self.ids[places] == wanted], dtype=np.int64)


def build(
    folder: Path,
    store: Scannable,
    library: str,
    dim: int,
    version: str,
    finish: Callable[[Snapshot, Callable[[], None]], None] = _at_once,
) -> Snapshot:
    """Write a snapshot of a store at one `version` below `folder` and make it the current one.

    `finish` is given the snapshot and what makes it current, to do the rest before that. Raises OSError when the
    folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = Path(tempfile.mkdtemp(prefix=f"{version}.", dir=folder))
    try:
        rows = _write(target, store, dim)
        sizes = {name: (target / name).stat().st_size for name in (_VECTORS, _IDS, _LINES, _OFFSETS)}
        pointer = Pointer(target.name, library, version, rows, dim, sizes)
        target.chmod(0o755)
        fsync_folder(target)
        made = _open(folder, pointer)
        finish(made, lambda: write_json(folder / POINTER, asdict(pointer)))
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    _drop_others(folder, target.name)
    return made


def load(folder: Path, library: str, dim: int) -> Snapshot | None:
    """The current snapshot of this library if it is whole, of whatever store version, else None."""
    pointer = _pointer(folder)
    if pointer is None or (pointer.library, pointer.dim) != (library, dim):
        return None
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        return _open(folder, pointer)
    return None


def in_use(folder: Path) -> str | None:
    """The name of the folder that the current snapshot is in."""
    pointer = _pointer(folder)
    return None if pointer is None else pointer.folder


def _pointer(folder: Path) -> Pointer | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Pointer(**json.loads((folder / POINTER).read_bytes()))
    return None


def in_memory(store: Scannable, dim: int, version: str) -> Snapshot:
    """The same, without a file: for a library on a disk that cannot be written."""
    ids = _ids(store)
    vectors = np.empty((len(ids), dim), dtype=np.float32)

    def put(places: Int64[np.ndarray, c], rows: Float32[np.ndarray, "c d"]) -> None:
        vectors[places] = rows

    lines = _lines(store, ids, put)
    offsets = np.cumsum([0, *map(len, lines)], dtype=np.int64)
    return Snapshot(version, NOWHERE, ids, vectors, offsets, b"".join(lines))


def _write(target: Path, store: Scannable, dim: int) -> int:
    """Each vector goes to its place in the file as it comes: together they may be more than fits into memory."""
    ids = _ids(store)
    with (target / _VECTORS).open("wb") as stream:
        kind = np.lib.format.dtype_to_descr(np.dtype(np.float32))
        about = {"descr": kind, "fortran_order": False, "shape": (len(ids), dim)}
        np.lib.format.write_array_header_1_0(stream, about)
        start = stream.tell()
        stream.flush()

        def put(places: Int64[np.ndarray, c], rows: Float32[np.ndarray, "c d"]) -> None:
            for place, row in zip(places.tolist(), rows, strict=True):
                _write_at(stream.fileno(), row.tobytes(), start + place * row.nbytes)

        lines = _lines(store, ids, put)
        _sync(stream)
    _save(target / _IDS, ids)
    _save(target / _OFFSETS, np.cumsum([0, *map(len, lines)], dtype=np.int64))
    with (target / _LINES).open("wb") as stream:
        stream.writelines(lines)
        _sync(stream)
    return len(ids)


def _write_at(descriptor: int, data: bytes, position: int) -> None:
    """All of it, or OSError: a disk that fills up takes a part first."""
    while data:
        written = os.pwrite(descriptor, data, position)
        data, position = data[written:], position + written


def _save(path: Path, array: np.ndarray[Any, Any]) -> None:
    with path.open("wb") as stream:
        np.save(stream, array)
        _sync(stream)


def _sync(stream: IO[bytes]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _ids(store: Scannable) -> Any:
    """All ids, sorted."""
    blocks = [np.array(block["id"], dtype=_ID_TYPE) for block in store.scan(["id"])]
    return np.sort(np.concatenate(blocks)) if blocks else np.empty(0, dtype=_ID_TYPE)


def _lines(store: Scannable, ids: Any, put: Callable[[Any, Any], None]) -> list[bytes]:
    """The line of each row, in the order of the ids; `put` is given the unit vectors of some places at a time.

    Raises DamagedError when the store has other rows than these.
    """
    lines = [b""] * len(ids)
    columns = ["id", "path", "content", "name", "width", "height", "meta", "vector"]
    for block in store.scan(columns):
        names = np.array(block["id"], dtype=_ID_TYPE)
        places = np.searchsorted(ids, names)
        if not np.array_equal(ids.take(places, mode="clip"), names):
            break
        put(places, normalise(block["vector"]))
        for at, place in enumerate(places.tolist()):
            lines[place] = _line({name: block[name][at] for name in columns[:-1]})
    if not all(lines):
        raise DamagedError(
            "the store gave other rows when it was read again; run diptych library verify on the library"
        )
    return lines


def line_of(row: Row) -> bytes:
    """The line of a snapshot for this row."""
    return _line(to_cells(row))


def _line(row: dict[str, Any]) -> bytes:
    said = json.loads(row["meta"])
    meta = {**said["meta"], **{key: row[key] for key in ("name", "width", "height")}}
    meta |= {key: said[key] for key in ("texts", "split", "group") if said[key]}
    line = json.dumps({"path": row["path"], "content": row["content"], "meta": meta}, ensure_ascii=False)
    return plain_json(line).encode() + b"\n"


def _open(folder: Path, pointer: Pointer) -> Snapshot:
    """Map the files. Raises OSError or ValueError when they are not what the pointer says."""
    base = folder / pointer.folder
    for name, size in pointer.sizes.items():
        if (base / name).stat().st_size != size:
            raise ValueError(f"{name} has not the expected length")
    vectors = _map(base / _VECTORS)
    ids = _map(base / _IDS)
    offsets = _map(base / _OFFSETS)
    if vectors.shape != (pointer.rows, pointer.dim) or vectors.dtype != np.float32:
        raise ValueError("the vectors have another shape than stated")
    if ids.shape != (pointer.rows,) or ids.dtype != np.dtype(_ID_TYPE) or offsets.shape != (pointer.rows + 1,):
        raise ValueError("ids or offsets have another shape than stated")
    lines: bytes | mmap.mmap = b""
    if pointer.rows:
        with (base / _LINES).open("rb") as stream:
            lines = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    return Snapshot(pointer.version, base, ids, vectors, offsets, lines)


def _map(path: Path) -> Any:
    """An array mapped from its file; NumPy cannot map one without elements."""
    array = np.load(path, mmap_mode="r", allow_pickle=False) if path.stat().st_size > 128 else np.load(path)
    return np.asarray(array)


def _drop_others(folder: Path, current: str) -> None:
    """Remove older snapshots. Whoever has one mapped keeps it until they close it."""
    for entry in folder.iterdir():
        if entry.name not in (current, POINTER, JOURNAL_LOCK) and not entry.name.startswith(KEPT):
            with contextlib.suppress(OSError):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
