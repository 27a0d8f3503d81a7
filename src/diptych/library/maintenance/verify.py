"""Whether the parts of a library agree: rows, vectors, files, thumbnails and snapshot."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import LibraryError
from diptych.core.file_names import unescape
from diptych.core.files import files_below
from diptych.core.shapes import Float32
from diptych.library.bucket import shown
from diptych.library.opened import Opened
from diptych.library.store.protocol import Store, cells, values
from diptych.library.store.rows import is_owned
from diptych.library.uploads import Uploads
from diptych.library.view import JournalledSnapshot, Snapshot

from .hashed_texts import HashedTexts
from .problems import Problem, Verdict

_UNIT = 1e-3  # how far a vector's length may be from 1
_MANY_VERSIONS = 2000  # more than a minute of single writes, or an hour of indexing, leaves behind


def check(opened: Opened, old_generations: Sequence[str]) -> Verdict:
    """Read every row once, block by block; of all rows together 8 bytes each of id, path and content are kept."""
    store, version = opened.store(), opened.place.token()
    rows = _CheckedRows(opened)
    comparison = _Comparison(opened.snapshots.on_disk(), version)
    problems: list[Problem] = []
    for block in store.scan(["id", "path", "content", "bytes", "modified_ns", "vector"]):
        problems += rows.take(block)
        comparison.take(block)
    paths_twice = rows.paths.twice()  # before those of the trash come to them
    for block in store.scan(["id", "path", "content"], "trash"):
        rows.note(block)
    problems += _twice(store, rows.ids.twice(), paths_twice)
    problems += rows.thumbnails.values()
    orphans = opened.thumbnails.orphans(rows.contents)
    problems += [Problem("orphan_thumb", name, "it belongs to no image") for name in orphans]
    lost = opened.uploads.orphans(rows.paths)
    problems += [Problem("orphan_file", name, "no row has it") for name in lost]
    problems += [Problem("leftover_file", str(file), "half-written by a killed process") for file in leftovers(opened)]
    if (kept := opened.place.versions_kept()) > _MANY_VERSIONS:
        problems.append(Problem("old_versions", shown(opened.folder), f"{kept} versions are kept"))
    problems += [Problem("old_generation", name, "of a model used before") for name in old_generations]
    if opened.place.token() == version:  # else the rows may be of a later version than the snapshot
        problems += comparison.problems(rows.count)
    return Verdict(rows.count, tuple(problems))


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
    """The problems of each row by itself, and what is noted of all rows."""

    def __init__(self, opened: Opened) -> None:
        self._uploads, self._thumbs = opened.uploads, opened.thumbnails
        self._dim = opened.card.dim
        self.count = 0
        self.ids, self.paths, self.contents = HashedTexts(), HashedTexts(), HashedTexts()
        self.thumbnails: dict[str, Problem] = {}  # by content: several rows may share one

    def note(self, block: Mapping[str, Any]) -> None:
        """Remember which rows there are."""
        self.ids.add(block["id"])
        self.paths.add(block["path"])
        self.contents.add(block["content"])

    def take(self, block: Mapping[str, Any]) -> list[Problem]:
        """The problems of some live rows, but those of thumbnails."""
        self.note(block)
        self.count += len(block["id"])
        problems = []
        for path, size, modified in zip(block["path"], block["bytes"], block["modified_ns"], strict=True):
            if is_owned(path):
                problems += _original_problems(self._uploads, path, size)
            else:
                problems += _file_problems(path, size, modified)
        for content, path in zip(block["content"], block["path"], strict=True):
            if not self._thumbs.is_whole(content):
                kind = "missing_thumb" if self._thumbs.read(content) is None else "damaged_thumb"
                self.thumbnails[content] = Problem(kind, path, self._thumbs.shown(content))
        return problems + self._vector_problems(block["id"], block["vector"])

    def _vector_problems(self, ids: list[str], vectors: Float32[np.ndarray, "n d"]) -> list[Problem]:
        if vectors.shape != (len(ids), self._dim):
            return [Problem("bad_vector", ids[0], f"shape {vectors.shape}, expected {(len(ids), self._dim)}")]
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _UNIT))
        return [Problem("bad_vector", ids[row], f"its length is {lengths[row]:.4g}, expected 1") for row in wrong]


class _Comparison:
    """The snapshot, with the journal over it, compared with the store's rows block by block.

    A missing or old snapshot is made again; one with other rows than its version has is a problem.
    """

    def __init__(self, newest: JournalledSnapshot | None, version: str | None) -> None:
        self._newest = None if newest is None or newest.version != version else newest
        self._found = 0
        self._different = ""  # what is, if anything

    def take(self, block: Mapping[str, Any]) -> None:
        """Compare some rows of the store."""
        if self._newest is None or self._different:
            return
        for part, hidden in self._newest.parts:
            names = np.array(block["id"], dtype=part.ids.dtype)
            places = np.searchsorted(part.ids, names)
            same = part.ids.take(places, mode="clip") == names if len(part) else np.zeros(len(names), dtype=bool)
            at = np.flatnonzero(same & ~np.isin(places, hidden))
            self._found += len(at)
            if not np.allclose(normalise(block["vector"][at]), part.vectors[places[at]], atol=_UNIT):
                self._different = "vectors"
            elif not _have_paths(part, places[at].tolist(), [block["path"][one] for one in at.tolist()]):
                self._different = "rows"

    def problems(self, count: int) -> list[Problem]:
        """What is wrong, once all rows of the store were compared: so many."""
        if self._newest is None:
            return []
        different = self._different or ("" if self._found == count == len(self._newest) else "ids")
        where = str(self._newest.base.folder)
        return [Problem("stale_snapshot", where, f"its {different} are not those of the store")] if different else []


def _have_paths(part: Snapshot, rows: Sequence[int], paths: Sequence[str]) -> bool:
    try:
        return all(part.row(row)["path"] == path for row, path in zip(rows, paths, strict=True))
    except (LibraryError, KeyError, TypeError):
        return False


def _twice(store: Store, ids: Set[int], paths: Set[int]) -> Iterator[Problem]:
    """The rows that share an id or a path with another, among those of these hashes; the store is read again for them.

    Nothing is read when there are none.
    """
    if not ids and not paths:
        return
    seen: set[str] = set()
    at_paths: set[str] = set()
    for identifier, path in cells(store, "id", "path"):
        if hash(identifier) in ids:
            if identifier in seen:
                yield Problem("duplicate_id", identifier, f"two rows have it, one for {path}")
            seen.add(identifier)
        if hash(path) in paths:
            if path in at_paths:
                yield Problem("duplicate_path", path, f"two rows have it, one is {identifier}")
            at_paths.add(path)
    trashed = Counter(one for one in values(store, "id", "trash") if hash(one) in ids)
    for identifier, count in trashed.items():
        if count > 1 or identifier in seen:
            yield Problem("duplicate_id", identifier, "a row in the trash has it too")


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


def _original_problems(uploads: Uploads, path: str, size: int) -> list[Problem]:
    found = uploads.size(path)
    if found is None:
        return [Problem("missing_original", path, "its file is not there")]
    if found != size:
        return [Problem("damaged_original", path, f"its file has {found:,} bytes, expected {size:,}")]
    return []
