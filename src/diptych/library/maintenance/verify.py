"""Whether the parts of a library agree: rows, vectors, files, thumbnails and snapshot."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import LibraryError
from diptych.core.file_names import unescape
from diptych.core.files import files_below
from diptych.core.shapes import Float32
from diptych.library.opened import Opened
from diptych.library.rendering.thumbnails import Thumbnails
from diptych.library.store.protocol import cells
from diptych.library.store.rows import is_owned
from diptych.library.view import Snapshot

from .problems import Problem, Verdict

_UNIT = 1e-3  # how far a vector's length may be from 1
_MANY_VERSIONS = 2000  # more than a minute of single writes, or an hour of indexing, leaves behind


def check(opened: Opened, old_generations: Sequence[Path]) -> Verdict:
    """Read every row once."""
    store, version = opened.store(), opened.place.token()
    rows = _CheckedRows(opened)
    problems: list[Problem] = []
    columns = ["id", "path", "content", "bytes", "modified_ns", "vector"]
    for block in store.scan(columns):
        problems += rows.take(block)
    trashed = list(cells(store, "id", "path", "content", part="trash"))
    problems += rows.take_trashed([identifier for identifier, _, _ in trashed])
    problems += _thumbnail_problems(opened.thumbnails, rows, {content for _, _, content in trashed})
    orphans = opened.uploads.orphans({*rows.paths, *(path for _, path, _ in trashed)})
    problems += [Problem("orphan_file", str(file), "no row has it") for file in orphans if not is_leftover(file)]
    problems += [Problem("leftover_file", str(file), "half-written by a killed process") for file in leftovers(opened)]
    if (kept := opened.place.versions_kept()) > _MANY_VERSIONS:
        problems.append(Problem("old_versions", str(opened.folder), f"{kept} versions are kept"))
    problems += [Problem("old_generation", folder.name, "of a model used before") for folder in old_generations]
    on_disk = opened.snapshots.on_disk()
    problems += _snapshot_problems(None if on_disk is None else on_disk.merged, version, rows)
    return Verdict(len(rows.ids), tuple(problems))


def leftovers(opened: Opened) -> Iterator[Path]:
    """What killed processes left: half-written files, and snapshots that never became current."""
    for folder in (opened.folder, opened.snapshots.folder):
        yield from (path for path in sorted(folder.glob(".*.tmp")) if is_leftover(path))
    yield from (path for path in files_below(opened.uploads.folder) if is_leftover(path))
    yield from opened.snapshots.leftovers()


def is_leftover(file: Path) -> bool:
    """Whether a name is that of a file being written aside."""
    return file.name.endswith(".tmp")


class _CheckedRows:
    """What is collected from all rows, and the problems of each by itself."""

    def __init__(self, opened: Opened) -> None:
        self._uploads = opened.uploads
        self.ids: list[str] = []
        self.paths: dict[str, str] = {}  # path -> content
        self.vectors: list[Float32[np.ndarray, "n d"]] = []
        self._seen: set[str] = set()
        self._dim = opened.card.dim

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
                problems += _original_problems(self._uploads.file(path), path, size)
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


def _thumbnail_problems(thumbnails: Thumbnails, rows: _CheckedRows, trashed: set[str]) -> list[Problem]:
    problems = []
    shown = {content: path for path, content in rows.paths.items()}
    for content, path in shown.items():
        if not thumbnails.path(content).is_file():
            problems.append(Problem("missing_thumb", path, str(thumbnails.path(content))))
        elif not thumbnails.is_whole(content):
            problems.append(Problem("damaged_thumb", path, str(thumbnails.path(content))))
    orphans = thumbnails.orphans({*shown, *trashed})
    return problems + [Problem("orphan_thumb", str(path), "it belongs to no image") for path in orphans]


def _snapshot_problems(snapshot: Snapshot | None, version: str | None, rows: _CheckedRows) -> list[Problem]:
    """A missing or old snapshot is made again; one with other rows than its version has is a problem."""
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
