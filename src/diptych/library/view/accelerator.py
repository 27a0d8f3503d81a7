"""Speed for large libraries: a FAISS index (IVF) of one snapshot, its candidates re-scored exactly.

It is in the snapshot's folder, so it can never belong to another version. Below THRESHOLD rows, or without faiss,
searching is exact: the index is a cache that is never needed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.shapes import Float32, Float64, Int64

from .exact import NONE, settle, without
from .snapshot import KEPT, Snapshot

FILE = "faiss.index"
THRESHOLD = 200_000  # rows
_CANDIDATES = 10  # re-scored exactly for each hit asked for
_LEAST_CANDIDATES = 200
_SHARE_OF_CELLS = 1 / 16  # searched for a query
_TRAINING_ROWS_PER_CELL = 64
_EXACT_BELOW = 20_000  # rows that a filter leaves: scoring them all is quick and exact

_opened: dict[Path, Any] = {}  # the index of the newest snapshot of this process


def prepare(snapshot: Snapshot, threshold: int | None = None) -> bool:
    """Build and save the index if the snapshot is large enough and faiss is there; whether there is one."""
    if len(snapshot) < (THRESHOLD if threshold is None else threshold) or not _has_faiss():
        return False
    path = snapshot.folder / FILE
    if not path.exists():
        _save(_build(snapshot.vectors, snapshot.folder.parent / KEPT), path)
    return True


def top_k(
    snapshot: Snapshot,
    queries: Float32[np.ndarray, "q d"],
    counts: Sequence[int],
    rows: Int64[np.ndarray, c] | None = None,
    hidden: Int64[np.ndarray, h] = NONE,
) -> list[tuple[Int64[np.ndarray, k], Float64[np.ndarray, k]] | None]:
    """As `exact.top_k`: exact cosines, a small chance of a missed row.

    None in the place of each query for which the index is no help: there is none, or only few rows may be found.
    """
    shown = len(snapshot) - len(hidden) if rows is None else len(without(rows, hidden))
    index = _open(snapshot) if rows is None or shown >= _EXACT_BELOW else None
    if index is None:
        return [None] * len(queries)
    faiss: Any = importlib.import_module("faiss")
    wanted = max(_LEAST_CANDIDATES, _CANDIDATES * max(counts))
    cells = max(1, math.ceil(index.nlist * _SHARE_OF_CELLS))
    if rows is not None:  # the fewer rows pass the filter, the further away the nearest of them are
        cells = min(index.nlist, math.ceil(cells * len(snapshot) / shown))
    bits = _bits(len(snapshot), rows, hidden)  # kept here: the selector only points to it
    selector = None if bits is None else faiss.IDSelectorBitmap(len(snapshot), faiss.swig_ptr(bits))
    parameters = faiss.SearchParametersIVF(nprobe=cells, sel=selector)
    _, many = index.search(np.ascontiguousarray(queries), min(wanted, len(snapshot)), params=parameters)
    found: list[tuple[Int64[np.ndarray, k], Float64[np.ndarray, k]] | None] = []
    for query, k, candidates in zip(queries, counts, many, strict=True):
        known = np.unique(candidates[candidates >= 0]).astype(np.int64)
        # too few in the cells that were searched: the exact search has them all
        found.append(settle(snapshot.vectors, query, known, k) if len(known) >= min(k, shown) else None)
    return found


def _bits(total: int, rows: Int64[np.ndarray, c] | None, hidden: Int64[np.ndarray, h]) -> Any:
    """One bit for each row, 1 where it may be found; None when all may."""
    if rows is None and not len(hidden):
        return None
    may = np.full(total, rows is None)
    if rows is not None:
        may[rows] = True
    may[hidden] = False
    return np.packbits(may, bitorder="little")


def _build(vectors: Float32[np.ndarray, "n d"], trained: Path) -> Any:
    """An index of all vectors. Its cells are fitted once and kept while the library is of about that size."""
    index = _trained(vectors, trained)
    for start in range(0, len(vectors), 65_536):
        index.add(np.ascontiguousarray(vectors[start : start + 65_536]))
    return index


def _trained(vectors: Float32[np.ndarray, "n d"], path: Path) -> Any:
    import faiss

    count, dim = vectors.shape
    cells = max(1, min(round(4 * math.sqrt(count)), count // 39))
    with contextlib.suppress(RuntimeError):
        index: Any = faiss.read_index(str(path))
        if index.d == dim and cells / 2 <= index.nlist <= cells * 2:
            return index
    index = faiss.index_factory(dim, f"IVF{cells},SQfp16", faiss.METRIC_INNER_PRODUCT)
    chosen = np.random.default_rng(0).permutation(count)[: cells * _TRAINING_ROWS_PER_CELL]
    index.train(np.ascontiguousarray(vectors[np.sort(chosen)]))
    _save(index, path)
    return index


def _save(index: Any, path: Path) -> None:
    import faiss

    descriptor, temporary = tempfile.mkstemp(prefix=f".{FILE}.", dir=path.parent)
    os.close(descriptor)
    try:
        faiss.write_index(index, temporary)
        Path(temporary).replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()


def _open(snapshot: Snapshot) -> Any:
    """The index of this snapshot, or None when there is none or it is damaged."""
    path = snapshot.folder / FILE
    if path in _opened:
        return _opened[path]
    if not path.is_file() or not _has_faiss():
        return None
    import faiss

    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
    except RuntimeError:
        return None
    if (index.ntotal, index.d) != snapshot.vectors.shape:
        return None
    _opened.clear()
    _opened[path] = index
    return index


def _has_faiss() -> bool:
    return importlib.util.find_spec("faiss") is not None
