"""Which index finds the nearest quickly enough and rightly enough: measured on the library's own vectors and texts.

Half of the queries choose, for each way of holding the vectors, the fewest cells that reach the recall; the other half
say what that setting gives, and only those numbers are reported. FAISS makes and searches the indexes.
"""

from __future__ import annotations

import gc
import importlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import ConfigError, LibraryError
from diptych.core.extras import need
from diptych.core.notes import Note
from diptych.core.protocols import Progress
from diptych.core.shapes import Float32, Float64, Int64
from diptych.evaluation.bootstrap import percentile_interval
from diptych.library.embedding import checked
from diptych.library.encoder import as_queries
from diptych.library.index_choice import CODES, IndexChoice, code_bytes
from diptych.library.opened import Opened
from diptych.library.view import Snapshot, accelerator, exact

PREFER = ("speed", "size")
OWN_TEXTS, OWN_VECTORS, GIVEN = "texts of the library", "vectors of the library", "given queries"
EXACT = IndexChoice(kind="exact")
_LEAST_QUERIES = 20  # of a kind, in each half
_CANDIDATES = (50, 200, 800)
_LARGEST_SHARE = 1 / 4  # of the cells: with more, comparing all vectors is as quick
_STEP = 1.5  # from one number of cells to the next
_CUTS = (2, 4)  # a half and a quarter of the numbers
_CUT_CODES = ("int8", "pq")
_RESAMPLES = 1000
_EMBEDDED = 32  # texts at once
_AT_ONCE = 64  # queries compared with all vectors
_TIMED, _TIMED_EXACTLY = 30, 7
_AS_QUICK = 1.15  # times as long as the quickest: then the smaller one is better
_SHARE_OF_MEMORY = 0.5


@dataclass(frozen=True, slots=True)
class Measured:
    """One index, on the held-out queries."""

    index: IndexChoice
    recall: float  # share of the exact k nearest that it finds; of the kind of query for which it finds least
    interval: tuple[float, float]  # of that, 95 %, by resampling the queries
    by_kind: dict[str, float]
    time: float  # CPU time of one query, as a share of what the exact search takes
    milliseconds: float
    bytes_a_vector: float  # of the index, in memory once all of it was searched
    reaches: bool  # the recall that was asked for


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was measured, and what is best of it."""

    images: int
    dim: int
    recall: float
    k: int
    queries: dict[str, int]  # held-out queries of each kind; as many chose
    exact_milliseconds: float
    measured: tuple[Measured, ...]
    skipped: tuple[str, ...]
    chosen: IndexChoice
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class _Queries:
    """Queries with what the exact search finds: only whether a score is among the k highest matters."""

    vectors: Float32[np.ndarray, "q d"]
    kinds: np.ndarray[Any, Any]  # of texts
    own: Int64[np.ndarray, q]  # row of the query itself, which does not count; -1 for none
    least: Float64[np.ndarray, q]  # the k-th highest score

    def of(self, chosen: np.ndarray[Any, Any]) -> _Queries:
        return _Queries(self.vectors[chosen], self.kinds[chosen], self.own[chosen], self.least[chosen])


def tune(
    opened: Opened,
    recall: float,
    *,
    queries: Sequence[str] | np.ndarray[Any, Any] | None,
    k: int,
    count: int,
    prefer: str,
    seed: int,
    progress: Progress,
) -> Tuning:
    """Measure, and recommend; nothing is changed. See `Maintenance.tune`."""
    if not 0 < recall < 1:
        raise ConfigError(f"found the recall {recall:g}; expected more than 0 and less than 1, such as 0.99")
    if prefer not in PREFER:
        raise ConfigError(f"unknown preference {prefer!r}; choose from {', '.join(PREFER)}")
    check_local(opened)
    need("faiss", "an index over vectors")
    snapshot = opened.snapshots.newest().base
    if len(snapshot) < accelerator.LEAST_ROWS:
        raise ConfigError(
            f"the library has {len(snapshot):,} vectors; all of fewer than {accelerator.LEAST_ROWS:,} are compared in "
            "a few milliseconds, so there is no index to choose"
        )
    made, notes = _with_truth(snapshot, k, *_asked(opened, snapshot, queries, count, seed))
    halves = _halves(made, seed)
    tuner = _Tuner(snapshot, *halves, k=k, recall=recall, seed=seed)
    measured, skipped = tuner.run(progress)
    held_out = halves[1]
    kinds = {str(kind): int((held_out.kinds == kind).sum()) for kind in np.unique(held_out.kinds)}
    chosen = _best(measured, prefer)
    return Tuning(
        len(snapshot), snapshot.vectors.shape[1], recall, k, kinds, tuner.exact_ms(), measured, skipped, chosen, notes
    )  # fmt: skip


def check_local(opened: Opened) -> None:
    """Raise ConfigError where a server searches."""
    if opened.place.has_own_search:
        raise ConfigError(
            f"the rows are on {opened.card.store}, whose server searches by an index of its own: it is named when the "
            "collection is made, as in ?index=HNSW behind the address (FLAT, the usual one, is exact)"
        )


def _asked(
    opened: Opened, snapshot: Snapshot, given: Sequence[str] | np.ndarray[Any, Any] | None, count: int, seed: int
) -> tuple[list[tuple[str, Float32[np.ndarray, "q d"], Int64[np.ndarray, q]]], tuple[Note, ...]]:
    """(kind, vectors, own rows) of what is asked: what was given, else texts and vectors of rows drawn by chance."""
    dim = snapshot.vectors.shape[1]
    if given is not None:
        vectors = (
            np.array([checked(one, dim) for one in given])
            if isinstance(given, np.ndarray)
            else _embedded(opened, given)
        )
        return [(GIVEN, vectors, np.full(len(vectors), -1))], ()
    rows = np.random.default_rng(seed).choice(len(snapshot), min(count, len(snapshot)), replace=False)
    found = [(OWN_VECTORS, np.asarray(snapshot.vectors[np.sort(rows)], dtype=np.float32), np.sort(rows))]
    texts = [text for row in rows.tolist() for text in snapshot.row(row)["meta"].get("texts", ())[:1]]
    if len(texts) >= 2 * _LEAST_QUERIES:
        vectors = _embedded(opened, texts)
        return [(OWN_TEXTS, vectors, np.full(len(vectors), -1)), *found], ()
    detail = (
        "its images have hardly any texts, so this was measured with vectors of the library alone; words lie further "
        "from them: give searches of yours with --queries FILE"
    )
    return found, (Note("no_texts", 1, detail),)


def _embedded(opened: Opened, texts: Sequence[str]) -> Float32[np.ndarray, "q d"]:
    model = opened.required_model()
    encode, dim = as_queries(model), opened.card.dim
    some = (encode(texts[start : start + _EMBEDDED]) for start in range(0, len(texts), _EMBEDDED))
    return np.array([checked(vector, dim) for vectors in some for vector in vectors])


def _with_truth(
    snapshot: Snapshot,
    k: int,
    asked: list[tuple[str, Float32[np.ndarray, "q d"], Int64[np.ndarray, q]]],
    notes: tuple[Note, ...],
) -> tuple[_Queries, tuple[Note, ...]]:
    vectors = np.concatenate([vectors for _, vectors, _ in asked])
    kinds = np.concatenate([np.full(len(vectors), kind) for kind, vectors, _ in asked])
    own = np.concatenate([rows for *_, rows in asked]).astype(np.int64)
    least = []
    for start in range(0, len(vectors), _AT_ONCE):
        some = vectors[start : start + _AT_ONCE]
        for (rows, scores), itself in zip(
            exact.top_k(snapshot.vectors, some, [k + 1] * len(some)), own[start : start + _AT_ONCE], strict=True
        ):
            least.append(scores[rows != itself][:k][-1])
    return _Queries(vectors, kinds, own, np.array(least)), notes


def _halves(queries: _Queries, seed: int) -> tuple[_Queries, _Queries]:
    """Those that choose and those that are held out, half of each kind. Raises ConfigError for too few."""
    random, halves = np.random.default_rng(seed + 1), np.zeros(len(queries.kinds), dtype=bool)
    for kind in np.unique(queries.kinds):
        places = random.permutation(np.flatnonzero(queries.kinds == kind))
        if len(places) < 2 * _LEAST_QUERIES:
            raise ConfigError(
                f"found {len(places)} {kind}; expected {2 * _LEAST_QUERIES} or more: half of them choose, half measure"
            )
        halves[places[: len(places) // 2]] = True
    return queries.of(halves), queries.of(~halves)


class _Tuner:
    """One measurement of all indexes over one snapshot."""

    def __init__(
        self, snapshot: Snapshot, choosing: _Queries, held_out: _Queries, *, k: int, recall: float, seed: int
    ) -> None:
        self._snapshot, self._vectors = snapshot, snapshot.vectors
        self._choosing, self._held_out = choosing, held_out
        self._k, self._recall = k, recall
        self._random = np.random.default_rng(seed + 2)
        self._exact: list[float] = []  # milliseconds
        self._skipped: list[str] = []

    def run(self, progress: Progress) -> tuple[tuple[Measured, ...], tuple[str, ...]]:
        dim = self._vectors.shape[1]
        plans = [(code, 0) for code in CODES] + [(code, dim // part) for part in _CUTS for code in _CUT_CODES]
        found: list[Measured] = []
        self._time_exactly()
        for (code, cut), index in progress.track(self._indexes(plans), "measuring indexes", total=len(plans)):
            if index is not None:
                found += self._measured(index, code, cut)
        self._time_exactly()
        exact_ms = self.exact_ms()
        return tuple(replace(one, time=one.milliseconds / exact_ms) for one in found), tuple(self._skipped)

    def exact_ms(self) -> float:
        """Milliseconds of one query that is compared with all vectors."""
        return statistics.median(self._exact)

    def _time_exactly(self) -> None:
        vectors = self._held_out.vectors
        self._exact += _milliseconds(
            lambda query: exact.top_k(self._vectors, query[np.newaxis], [self._k]), vectors[:_TIMED_EXACTLY]
        )

    def _indexes(self, plans: list[tuple[str, int]]) -> Iterator[tuple[tuple[str, int], Any]]:
        """Each plan with its index, or None where it is skipped. Cells and assignments are shared."""
        width, cells, assigned, training = 0, None, None, None
        useless: set[int] = set()
        for code, cut in plans:
            wanted = cut or self._vectors.shape[1]
            index = None
            if cut not in useless and self._fits(code, wanted):
                if cut and wanted != width and not self._cut_helps(cut):
                    useless.add(cut)
                else:
                    if wanted != width:
                        cells = assigned = None
                        gc.collect()
                        training = accelerator.training_rows(self._vectors, wanted)
                        cells, assigned, width = *self._cells(training, wanted), wanted
                    index = self._filled(cells, assigned, training, code)
            yield (code, cut), index

    def _fits(self, code: str, width: int) -> bool:
        """Whether an index of this code fits into the memory that is free."""
        needed, free = len(self._vectors) * (code_bytes(code, width) + 8), _free_bytes()
        if free is None or needed < _SHARE_OF_MEMORY * free:
            return True
        self._skipped.append(
            f"{code}: {needed / 1e9:.1f} GB, more than half of the memory that is free ({free / 1e9:.1f} GB)"
        )
        return False

    def _cut_helps(self, cut: int) -> bool:
        """Whether the first numbers alone put the nearest among the candidates, were all vectors compared by them."""
        import faiss

        index = faiss.index_factory(cut, "SQfp16", faiss.METRIC_INNER_PRODUCT)
        index.train(accelerator.training_rows(self._vectors, cut)[:100])
        for block in self._blocks(cut):
            index.add(block)
        most = self._recalls(index, None, self._choosing, _CANDIDATES[-1:])[0]
        reached = _least(self._choosing, most)
        if reached >= self._recall:
            return True
        self._skipped.append(
            f"the first {cut} of {self._vectors.shape[1]} numbers: the {_CANDIDATES[-1]} nearest by them hold "
            f"{reached:.3f} of the {self._k} nearest, whatever the index"
        )
        return False

    def _blocks(self, width: int) -> Iterator[Float32[np.ndarray, "b w"]]:
        for start in range(0, len(self._vectors), exact.BLOCK):
            yield accelerator.first_numbers(self._vectors[start : start + exact.BLOCK], width)

    def _cells(self, training: Float32[np.ndarray, "m w"], width: int) -> tuple[Any, Int64[np.ndarray, n]]:
        """The cells, and the cell of each row: those of the snapshot's own index where it has the same vectors."""
        import faiss

        own = accelerator.opened_index(self._snapshot)
        if own is not None and own[0].d == width:
            index = own[0]
            assigned = np.empty(index.ntotal, dtype=np.int64)
            for cell in range(index.nlist):
                size = index.invlists.list_size(cell)
                if size:
                    assigned[faiss.rev_swig_ptr(index.invlists.get_ids(cell), size)] = cell
            return faiss.clone_index(faiss.downcast_index(index.quantizer)), assigned
        cells = accelerator.trained_cells(training, len(self._vectors))
        assigned = np.concatenate([cells.search(block, 1)[1][:, 0] for block in self._blocks(width)])
        return cells, assigned.astype(np.int64)

    def _filled(self, cells: Any, assigned: Any, training: Any, code: str) -> Any:
        import faiss

        index = accelerator.empty(cells, code)
        index.train(training)
        start = 0
        for block in self._blocks(cells.d):
            places = np.ascontiguousarray(assigned[start : start + len(block)])
            index.add_core(len(block), faiss.swig_ptr(block), None, faiss.swig_ptr(places))
            start += len(block)
        return index

    def _measured(self, index: Any, code: str, cut: int) -> Iterator[Measured]:
        """The quickest settings that reach the recall, one for each number of candidates; else the best."""
        ladder = _ladder(index.nlist)
        open_ = dict.fromkeys(_CANDIDATES, 0)  # candidates -> place on the ladder
        waiting, settled = set(_CANDIDATES), set()
        for place, probes in enumerate(ladder):
            for candidates, found in zip(_CANDIDATES, self._recalls(index, probes, self._choosing), strict=True):
                if candidates in waiting:
                    open_[candidates] = place
                    if self._surely(self._choosing, found):
                        waiting.discard(candidates)
                        settled.add(candidates)
            if not waiting or (settled and place > 3 + max(open_[one] for one in settled)):
                break
        for candidates in sorted(settled or {_CANDIDATES[-1]}):
            yield self._held(index, IndexChoice("ivf", code, 1.0, candidates, cut), ladder[open_[candidates] :])

    def _held(self, index: Any, choice: IndexChoice, ladder: Sequence[int]) -> Measured:
        """What held-out queries say; with more cells where they say that it is too little."""
        place = _CANDIDATES.index(choice.candidates)
        for probes in ladder:
            found = self._recalls(index, probes, self._held_out)[place]
            if reached := _least(self._held_out, found) >= self._recall:
                break
        choice = replace(choice, share=_rounded_up(probes / index.nlist))
        kinds = {str(kind): found[self._held_out.kinds == kind] for kind in np.unique(self._held_out.kinds)}
        of_kind = min(kinds.values(), key=lambda values: float(values.mean()))
        taken = _milliseconds(
            lambda query: accelerator.nearest(index, choice, self._vectors, query[np.newaxis], [self._k]),
            self._held_out.vectors[:_TIMED],
        )
        return Measured(
            index=choice,
            recall=float(of_kind.mean()),
            interval=self._interval(of_kind),
            by_kind={kind: float(values.mean()) for kind, values in kinds.items()},
            time=0.0,
            milliseconds=statistics.median(taken),
            bytes_a_vector=_bytes(index),
            reaches=bool(reached),
        )  # fmt: skip

    def _recalls(
        self, index: Any, probes: int | None, queries: _Queries, candidates: Sequence[int] = _CANDIDATES
    ) -> list[Float64[np.ndarray, q]]:
        """For each number of candidates the share of the k nearest that each query finds. None: an index without cells.

        A row whose score is as high as the k-th counts as found, whichever of several that are alike.
        """
        faiss: Any = importlib.import_module("faiss")
        parameters = None if probes is None else faiss.SearchParametersIVF(nprobe=probes)
        asked = accelerator.first_numbers(queries.vectors, index.d)
        _, many = index.search(asked, max(candidates) + 1, params=parameters)
        shares = np.zeros((len(candidates), len(asked)))
        for at, (query, own, least) in enumerate(zip(queries.vectors, queries.own, queries.least, strict=True)):
            rows = many[at][(many[at] >= 0) & (many[at] != own)]
            right = exact.rescore(self._vectors, query, rows) >= least
            for place, count in enumerate(candidates):
                shares[place, at] = min(self._k, int(right[:count].sum())) / self._k
        return list(shares)

    def _surely(self, queries: _Queries, found: Float64[np.ndarray, q]) -> bool:
        """Whether the recall is reached for each kind of query, at the low end of its interval."""
        return all(self._interval(found[queries.kinds == kind])[0] >= self._recall for kind in np.unique(queries.kinds))

    def _interval(self, values: Float64[np.ndarray, q]) -> tuple[float, float]:
        counts = self._random.multinomial(len(values), np.full(len(values), 1 / len(values)), size=_RESAMPLES)
        interval = percentile_interval(counts @ values / len(values))
        return interval.low, interval.high


def _least(queries: _Queries, found: Float64[np.ndarray, q]) -> float:
    """The recall of the kind of query for which it is lowest."""
    return min(float(found[queries.kinds == kind].mean()) for kind in np.unique(queries.kinds))


def _ladder(cells: int) -> list[int]:
    """Numbers of cells that are tried, fewest first."""
    most, tried = max(1, int(cells * _LARGEST_SHARE)), [1]
    while tried[-1] < most:
        tried.append(min(most, max(tried[-1] + 1, int(tried[-1] * _STEP))))
    return tried


def _rounded_up(share: float) -> float:
    return float(np.ceil(share * 1e6) / 1e6)


def _bytes(index: Any) -> float:
    """Bytes of an index for each of its vectors: code, number, and its part of the cells and of the book of codes."""
    book = 256 * index.d if hasattr(index, "pq") else 0
    return float(index.code_size + 8 + 4 * (index.nlist * index.d + book) / index.ntotal)


def _milliseconds(work: Callable[[Float32[np.ndarray, d]], object], queries: Float32[np.ndarray, "q d"]) -> list[float]:
    """CPU time of each query, whatever else the machine does, after two that warm up."""
    taken = []
    for query in [*queries[:2], *queries]:
        begun = time.process_time()
        work(query)
        taken.append(1e3 * (time.process_time() - begun))
    return taken[2:]


def _best(measured: Sequence[Measured], prefer: str) -> IndexChoice:
    """The quickest that reaches the recall, or the smallest; the exact search where none is quicker than it."""
    able = [one for one in measured if one.reaches and one.time < 1]
    if not able:
        return EXACT
    quickest = min(one.time for one in able)
    if prefer == "speed":
        able = [one for one in able if one.time <= _AS_QUICK * quickest]
    return min(able, key=lambda one: (round(one.bytes_a_vector), one.time)).index


def _free_bytes() -> float | None:
    """Memory that is free or can be freed; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemAvailable:")), None)


def apply(opened: Opened, choice: IndexChoice | None) -> bool:
    """Keep a choice in the library's card and make its index; whether there is one now. None is the usual index.

    Raises ConfigError for a library on a server, or a cut that leaves nothing.
    """
    from diptych.library import card

    check_local(opened)
    if choice is not None:
        choice.width(opened.card.dim)
        if choice.kind != "exact":
            need("faiss", "an index over vectors")
    with opened.writing():
        about = replace(card.read(opened.folder), index=choice)
        card.rewrite(about, opened.folder)
        opened.card = about
        try:
            opened.view.rewrite()
        except OSError as error:
            raise LibraryError(
                f"the index is noted, but could not be made: {error}; run diptych library compact"
            ) from error
    return accelerator.opened_index(opened.snapshots.newest().base) is not None
