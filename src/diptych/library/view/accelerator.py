"""Speed for large libraries: a FAISS index (IVF) of one snapshot, its candidates re-scored exactly.

It is in the snapshot's folder, with what was chosen for it, so it can never belong to another version. Below THRESHOLD
rows where nothing was chosen, or without faiss, searching is exact: the index is a cache that is never needed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError
from diptych.core.files import write_json
from diptych.core.shapes import Float32, Float64, Int64
from diptych.library.index_choice import IndexChoice, from_json, pq_bytes

from .exact import NONE, settle, without
from .snapshot import KEPT, Snapshot

FILE, CHOICE = "faiss.index", "index.json"
THRESHOLD = 200_000  # rows from which on there is an index that nobody chose
LEAST_ROWS = 10_000  # of one that somebody chose
_USUAL = IndexChoice()
_HITS_OF_CANDIDATES = 20  # hits for which the stated number of candidates is re-scored; for more, more are
_TRAINING_ROWS_PER_CELL = 64
_EXACT_BELOW = 20_000  # rows that a filter leaves: scoring them all is quick and exact
_BLOCK = 65_536  # rows

_opened: dict[Path, tuple[Any, IndexChoice]] = {}  # the index of the newest snapshot of this process


def prepare(snapshot: Snapshot, choice: IndexChoice | None = None, threshold: int | None = None) -> bool:
    """Build and save the index if the snapshot is large enough and faiss is there; whether there is one.

    `choice` is what was chosen for the library; None for the usual index, in a library of THRESHOLD rows and more.
    """
    least = (THRESHOLD if threshold is None else threshold) if choice is None else LEAST_ROWS
    chosen = choice or _USUAL
    if len(snapshot) < least or chosen.kind == "exact" or not has_faiss():
        return False
    path = snapshot.folder / FILE
    if not path.exists():
        write_json(snapshot.folder / CHOICE, asdict(chosen))
        _save(_build(snapshot.vectors, chosen, snapshot.folder.parent), path)
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
    opened = opened_index(snapshot) if rows is None or shown >= _EXACT_BELOW else None
    if opened is None:
        return [None] * len(queries)
    return nearest(*opened, snapshot.vectors, queries, counts, rows, hidden, shown)


def nearest(
    index: Any,
    choice: IndexChoice,
    vectors: Float32[np.ndarray, "n d"],
    queries: Float32[np.ndarray, "q d"],
    counts: Sequence[int],
    rows: Int64[np.ndarray, c] | None = None,
    hidden: Int64[np.ndarray, h] = NONE,
    shown: int | None = None,
) -> list[tuple[Int64[np.ndarray, k], Float64[np.ndarray, k]] | None]:
    """What an index over these vectors finds, re-scored; `shown` is how many rows may be found."""
    faiss: Any = importlib.import_module("faiss")
    total = len(vectors)
    shown = total if shown is None else shown
    wanted = math.ceil(choice.candidates * max(1.0, max(counts) / _HITS_OF_CANDIDATES))
    cells = choice.probes(index.nlist)
    if rows is not None:  # the fewer rows pass the filter, the further away the nearest of them are
        cells = min(index.nlist, math.ceil(cells * total / shown))
    bits = _bits(total, rows, hidden)  # kept here: the selector only points to it
    selector = None if bits is None else faiss.IDSelectorBitmap(total, faiss.swig_ptr(bits))
    parameters = faiss.SearchParametersIVF(nprobe=cells, sel=selector)
    _, many = index.search(first_numbers(queries, index.d), min(wanted, total), params=parameters)
    found: list[tuple[Int64[np.ndarray, k], Float64[np.ndarray, k]] | None] = []
    for query, k, candidates in zip(queries, counts, many, strict=True):
        known = np.unique(candidates[candidates >= 0]).astype(np.int64)
        # too few in the cells that were searched: the exact search has them all
        found.append(settle(vectors, query, known, k) if len(known) >= min(k, shown) else None)
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


def first_numbers(vectors: Float32[np.ndarray, "n d"], width: int) -> Float32[np.ndarray, "n w"]:
    """The first numbers of unit vectors, as unit vectors."""
    cut = vectors if vectors.shape[1] == width else normalise(vectors[:, :width])
    return np.ascontiguousarray(cut, dtype=np.float32)


def _build(vectors: Float32[np.ndarray, "n d"], choice: IndexChoice, kept: Path) -> Any:
    """An index of all vectors. Its cells are fitted once and kept while the library is of about that size."""
    index = _trained(vectors, choice, kept)
    for start in range(0, len(vectors), _BLOCK):
        index.add(first_numbers(vectors[start : start + _BLOCK], index.d))
    return index


def cells_for(count: int) -> int:
    """How many cells an index of so many rows has."""
    return max(1, min(round(4 * math.sqrt(count)), count // 39))


def _trained(vectors: Float32[np.ndarray, "n d"], choice: IndexChoice, kept: Path) -> Any:
    """An index without rows: as the last one was trained, or with its cells, or trained now."""
    width = choice.width(vectors.shape[1])
    own = kept / f"{KEPT}{'' if choice.code == _USUAL.code else f'{choice.code}.'}faiss"
    quantizer = None
    for path in sorted(kept.glob(f"{KEPT}*faiss"), key=lambda one: one != own):
        with contextlib.suppress(RuntimeError):
            if (quantizer := _cells_of(index := _read(path), width, len(vectors))) is not None:
                if path == own:
                    return index
                break
    chosen = training_rows(vectors, width)
    index = empty(trained_cells(chosen, len(vectors)) if quantizer is None else quantizer, choice.code)
    index.train(chosen)
    _save(index, own)
    for path in set(kept.glob(f"{KEPT}*faiss")) - {own}:
        path.unlink(missing_ok=True)
    return index


def _cells_of(index: Any, width: int, count: int) -> Any:
    """The cells of an index, for another one; None where they do not fit."""
    faiss: Any = importlib.import_module("faiss")
    cells = cells_for(count)
    if index.d != width or not cells / 2 <= index.nlist <= cells * 2:
        return None
    return faiss.clone_index(faiss.downcast_index(index.quantizer))


def training_rows(vectors: Float32[np.ndarray, "n d"], width: int) -> Float32[np.ndarray, "m w"]:
    """Rows drawn by chance that an index is trained on."""
    count = len(vectors)
    chosen = np.random.default_rng(0).permutation(count)[: cells_for(count) * _TRAINING_ROWS_PER_CELL]
    return first_numbers(vectors[np.sort(chosen)], width)


def trained_cells(chosen: Float32[np.ndarray, "m w"], count: int) -> Any:
    """Cells fitted to some rows, for an index of `count`."""
    faiss: Any = importlib.import_module("faiss")
    width = chosen.shape[1]
    index = faiss.index_factory(width, f"IVF{cells_for(count)},Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(chosen)
    return faiss.clone_index(faiss.downcast_index(index.quantizer))


def empty(quantizer: Any, code: str) -> Any:
    """An index over these cells, not yet trained."""
    import faiss

    place = (quantizer, quantizer.d, quantizer.ntotal)
    product = faiss.METRIC_INNER_PRODUCT
    if code == "fp32":
        return faiss.IndexIVFFlat(*place, product)
    if code == "pq":
        return faiss.IndexIVFPQ(*place, pq_bytes(quantizer.d), 8, product)
    kinds = {"fp16": faiss.ScalarQuantizer.QT_fp16, "int8": faiss.ScalarQuantizer.QT_8bit}
    return faiss.IndexIVFScalarQuantizer(*place, kinds[code], product, True)


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


def _read(path: Path, flags: int = 0) -> Any:
    import faiss

    return faiss.read_index(str(path), flags)


def opened_index(snapshot: Snapshot) -> tuple[Any, IndexChoice] | None:
    """The index of this snapshot and what was chosen for it, or None when there is none or it is damaged."""
    path = snapshot.folder / FILE
    if path in _opened:
        return _opened[path]
    if not path.is_file() or not has_faiss():
        return None
    import faiss

    try:
        index = _read(path, faiss.IO_FLAG_MMAP)
        choice = from_json(json.loads((snapshot.folder / CHOICE).read_bytes())) or _USUAL
        width = choice.width(snapshot.vectors.shape[1])
    except FileNotFoundError:  # made by an earlier version, which had the usual one alone
        choice, width = _USUAL, snapshot.vectors.shape[1]
    except (RuntimeError, OSError, ValueError, TypeError, ConfigError):
        return None
    if (index.ntotal, index.d) != (len(snapshot), width):
        return None
    _opened.clear()
    _opened[path] = index, choice
    return index, choice


def has_faiss() -> bool:
    """Whether the extra `fast` is installed."""
    return importlib.util.find_spec("faiss") is not None
