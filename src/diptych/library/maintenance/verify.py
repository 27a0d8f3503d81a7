"""Does a library hold together? Rows, vectors, files, thumbnails and snapshot against each other."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import LibraryError
from diptych.core.file_names import unescape
from diptych.core.shapes import Float32
from diptych.library.originals import Originals
from diptych.library.rendering.thumbnails import Thumbs
from diptych.library.store.protocol import Store
from diptych.library.store.rows import is_owned
from diptych.library.view.snapshot import Snapshot

_UNIT = 1e-3  # how far a vector's length may be from 1
_MANY_VERSIONS = 2000  # more than a minute of single writes, or an hour of indexing, leaves behind
_REPAIR = "diptych library repair"
_INDEX = "index its folder again"
_BACKUP = "restore a backup, or delete it from the library"
_REMEDIES = {
    "duplicate_id": _REPAIR,
    "duplicate_path": _REPAIR,
    "bad_vector": f"{_REPAIR}, where its picture is as it was; else {_BACKUP}",
    "missing_file": _INDEX,
    "changed_file": _INDEX,
    "missing_original": _BACKUP,
    "damaged_original": _BACKUP,
    "missing_thumb": f"{_REPAIR}, where its picture is as it was",
    "damaged_thumb": f"{_REPAIR}, where its picture is as it was",
    "orphan_thumb": _REPAIR,
    "orphan_file": f"{_REPAIR} (it moves the file to the folder lost)",
    "leftover_file": _REPAIR,
    "stale_snapshot": _REPAIR,
    "old_versions": _REPAIR,
    "old_generation": _REPAIR,
}
# What a killed process leaves behind: it takes room, and nothing else.
HARMLESS = frozenset({"orphan_thumb", "orphan_file", "leftover_file", "old_versions", "old_generation"})


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not fit, and what to do about it."""

    kind: str
    name: str  # a path, or an id
    detail: str

    @property
    def remedy(self) -> str:
        """What repairs it."""
        return _REMEDIES[self.kind]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found."""

    pictures: int
    problems: tuple[Problem, ...]

    @property
    def kinds(self) -> dict[str, int]:
        """How many problems of each kind."""
        return dict(Counter(problem.kind for problem in self.problems))


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything of a library that has to fit together."""

    folder: Path
    store: Store
    thumbs: Thumbs
    originals: Originals
    snapshot: Snapshot | None  # the one that readers would use, if it is on disk
    version: str | None
    dim: int
    versions_kept: int
    leftovers: tuple[Path, ...]
    old_generations: tuple[str, ...]


def check(parts: Parts) -> Verdict:
    """Look at every row once."""
    rows = _Rows(parts)
    problems: list[Problem] = []
    columns = ["id", "path", "content", "bytes", "modified_ns", "vector"]
    for block in parts.store.scan(columns):
        problems += rows.take(block)
    trashed = [one for block in parts.store.scan(["id", "path", "content"], "trash") for one in _lines(block)]
    problems += rows.take_trashed([identifier for identifier, _, _ in trashed])
    problems += _thumb_problems(parts.thumbs, rows, {content for _, _, content in trashed})
    orphans = parts.originals.orphans({*rows.paths, *(path for _, path, _ in trashed)})
    problems += [Problem("orphan_file", str(file), "no row has it") for file in orphans if not is_leftover(file)]
    problems += [Problem("leftover_file", str(file), "half-written by a killed process") for file in parts.leftovers]
    if parts.versions_kept > _MANY_VERSIONS:
        problems.append(Problem("old_versions", str(parts.folder), f"{parts.versions_kept} versions are kept"))
    problems += [Problem("old_generation", name, "of a model used before") for name in parts.old_generations]
    problems += _snapshot_problems(parts.snapshot, parts.version, rows)
    return Verdict(len(rows.ids), tuple(problems))


def is_leftover(file: Path) -> bool:
    """Whether a name is that of a file being written aside."""
    return file.name.endswith(".tmp")


class _Rows:
    """What is gathered from all rows, and the problems of each on its own."""

    def __init__(self, parts: Parts) -> None:
        self._originals = parts.originals
        self.ids: list[str] = []
        self.paths: dict[str, str] = {}  # path -> content
        self.vectors: list[Float32[np.ndarray, "n d"]] = []
        self._seen: set[str] = set()
        self._dim = parts.dim

    def take(self, block: dict[str, Any]) -> list[Problem]:
        problems = []
        for identifier, path, content in zip(block["id"], block["path"], block["content"], strict=True):
            if identifier in self._seen:
                problems.append(Problem("duplicate_id", identifier, f"two rows have it, one for {path}"))
            if path in self.paths:
                problems.append(Problem("duplicate_path", path, f"two rows have it, one is {identifier}"))
            self._seen.add(identifier)
            self.paths[path] = content
        for path, size, modified in zip(block["path"], block["bytes"], block["modified_ns"], strict=True):
            if is_owned(path):
                problems += _original_problems(self._originals.file(path), path, size)
            else:
                problems += _file_problems(path, size, modified)
        problems += self._vector_problems(block["id"], block["vector"])
        self.ids += block["id"]
        self.vectors.append(block["vector"])
        return problems

    def take_trashed(self, ids: list[str]) -> list[Problem]:
        twice = [one for one, count in Counter(ids).items() if count > 1 or one in self._seen]
        return [Problem("duplicate_id", one, "a row in the trash has it too") for one in twice]

    def _vector_problems(self, ids: list[str], vectors: Float32[np.ndarray, "n d"]) -> list[Problem]:
        if vectors.shape != (len(ids), self._dim):
            return [Problem("bad_vector", ids[0], f"shape {vectors.shape}, expected {(len(ids), self._dim)}")]
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _UNIT))
        return [Problem("bad_vector", ids[row], f"its length is {lengths[row]:.4g}, expected 1") for row in wrong]


def _lines(block: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    return zip(block["id"], block["path"], block["content"], strict=True)


def _file_problems(path: str, size: int, modified_ns: int) -> list[Problem]:
    name = unescape(path)
    try:
        status = os.stat(name)  # noqa: PTH116 - takes every name
    except (OSError, ValueError):
        container = name.partition("::")[0]
        if container != name and os.path.exists(container):  # noqa: PTH110
            return []  # a member of a tar or a table that is there
        return [Problem("missing_file", path, "it is not there any more")]
    if (status.st_size, status.st_mtime_ns) != (size, modified_ns):
        return [Problem("changed_file", path, "its size or time changed since it was indexed")]
    return []


def _original_problems(file: Path, path: str, size: int) -> list[Problem]:
    try:
        found = file.stat().st_size
    except OSError:
        return [Problem("missing_original", path, f"{file} is not there")]
    if found != size:
        return [Problem("damaged_original", path, f"{file} has {found:,} bytes, expected {size:,}")]
    return []


def _thumb_problems(thumbs: Thumbs, rows: _Rows, trashed: set[str]) -> list[Problem]:
    problems = []
    shown = {content: path for path, content in rows.paths.items()}
    for content, path in shown.items():
        if not thumbs.path(content).is_file():
            problems.append(Problem("missing_thumb", path, str(thumbs.path(content))))
        elif not thumbs.is_whole(content):
            problems.append(Problem("damaged_thumb", path, str(thumbs.path(content))))
    orphans = thumbs.orphans({*shown, *trashed})
    return problems + [Problem("orphan_thumb", str(path), "it belongs to no picture") for path in orphans]


def _snapshot_problems(snapshot: Snapshot | None, version: str | None, rows: _Rows) -> list[Problem]:
    """A missing or old snapshot is no problem, it is made again; one that lies about its version is."""
    if snapshot is None or snapshot.version != version:
        return []
    where = str(snapshot.folder)
    names = np.array(rows.ids, dtype=snapshot.ids.dtype)
    order = np.argsort(names, kind="stable")
    if not np.array_equal(names[order], snapshot.ids):
        return [Problem("stale_snapshot", where, "its ids are not those of the store")]
    vectors = np.concatenate(rows.vectors) if rows.vectors else snapshot.vectors
    if not np.allclose(normalise(vectors)[order], snapshot.vectors, atol=_UNIT):
        return [Problem("stale_snapshot", where, "its vectors are not those of the store")]
    try:
        same = all(snapshot.row(row)["path"] in rows.paths for row in range(len(snapshot)))
    except (LibraryError, KeyError, TypeError):
        same = False
    return [] if same else [Problem("stale_snapshot", where, "its rows are not those of the store")]
