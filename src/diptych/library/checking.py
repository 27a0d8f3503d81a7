"""Does a library hold together? Rows, vectors, files, thumbnails and snapshot against each other."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from diptych.core.errors import LibraryError

from .names import unescape
from .snapshot import Snapshot
from .store import Store
from .thumbs import Thumbs

_UNIT = 1e-3  # how far a vector's length may be from 1
_REMEDIES = {
    "duplicate_id": "restore a backup or index into a new library",
    "duplicate_path": "restore a backup or index into a new library",
    "bad_vector": "restore a backup or index into a new library",
    "missing_file": "index its folder again",
    "changed_file": "index its folder again",
    "missing_thumb": "diptych library compact",
    "damaged_thumb": "diptych library compact",
    "orphan_thumb": "diptych library compact",
    "stale_snapshot": "diptych library compact",
}


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


def check(store: Store, thumbs: Thumbs, snapshot: Snapshot | None, version: str | None, dim: int) -> Verdict:
    """Look at every row once. `snapshot` is the one on disk, if it could be opened."""
    rows = _Rows(dim)
    problems: list[Problem] = []
    columns = ["id", "path", "content", "bytes", "modified_ns", "vector"]
    for block in store.scan(columns):
        problems += rows.take(block)
    problems += _thumb_problems(thumbs, rows)
    problems += _snapshot_problems(snapshot, version, rows)
    return Verdict(len(rows.ids), tuple(problems))


class _Rows:
    """What is gathered from all rows, and the problems of each on its own."""

    def __init__(self, dim: int) -> None:
        self.ids: list[str] = []
        self.paths: dict[str, str] = {}  # path -> content
        self.vectors: list[Float32[np.ndarray, "n d"]] = []
        self._seen: set[str] = set()
        self._dim = dim

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
            problems += _file_problems(path, size, modified)
        problems += self._vector_problems(block["id"], block["vector"])
        self.ids += block["id"]
        self.vectors.append(block["vector"])
        return problems

    def _vector_problems(self, ids: list[str], vectors: Float32[np.ndarray, "n d"]) -> list[Problem]:
        if vectors.shape != (len(ids), self._dim):
            return [Problem("bad_vector", ids[0], f"shape {vectors.shape}, expected {(len(ids), self._dim)}")]
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _UNIT))
        return [Problem("bad_vector", ids[row], f"its length is {lengths[row]:.4g}, expected 1") for row in wrong]


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


def _thumb_problems(thumbs: Thumbs, rows: _Rows) -> list[Problem]:
    problems = []
    contents = {content: path for path, content in rows.paths.items()}
    for content, path in contents.items():
        if not thumbs.path(content).is_file():
            problems.append(Problem("missing_thumb", path, str(thumbs.path(content))))
        elif not thumbs.is_whole(content):
            problems.append(Problem("damaged_thumb", path, str(thumbs.path(content))))
    orphans = thumbs.orphans(contents)
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
    if not np.allclose(vectors[order], snapshot.vectors, atol=_UNIT):
        return [Problem("stale_snapshot", where, "its vectors are not those of the store")]
    try:
        same = all(snapshot.row(row)["path"] in rows.paths for row in range(len(snapshot)))
    except (LibraryError, KeyError, TypeError):
        same = False
    return [] if same else [Problem("stale_snapshot", where, "its rows are not those of the store")]


def remake_thumbs(store: Store, thumbs: Thumbs) -> int:
    """Make missing or damaged thumbnails again from the pictures that are still as they were. Returns how many."""
    from diptych.core.errors import DataError
    from diptych.core.fingerprint import of_file
    from diptych.data.images import decode, thumbnail

    made = 0
    for block in store.scan(["path", "content"]):
        for path, content in zip(block["path"], block["content"], strict=True):
            if thumbs.is_whole(content):
                continue
            file = Path(unescape(path))
            try:
                if of_file(file) == content:
                    thumbs.write(content, thumbnail(decode(file, at_least=256)))
                    made += 1
            except (DataError, OSError, ValueError):
                continue
    return made
