"""Large libraries: pages behind a filter, items by id, hidden rows beside FAISS, and a write that makes a snapshot due.

    python benchmarks/listing.py FOLDER [--items 200000] [--dim 512] [--repeats 20]

FOLDER gets a library of vectors alone (clusters with noise; no image lies behind them), kept for the next time. Each
figure is a median, beside a named baseline of the same run:

- a page of 50 where half of the items pass the filter, against a page without a filter;
- `get` by id, against `get` in a library of 1,000 items;
- a search with FAISS while 1,000 items are deleted, against the exact scan of the same view, and FAISS without any
  deleted; sixteen queries at once against one after the other;
- the write that makes a new snapshot due, against the writes before it; and until when that snapshot was there.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.protocols import Preprocess
from diptych.library import Library
from diptych.library.store.rows import Row
from diptych.library.view import accelerator, snapshot

BATCH = 20_000  # rows written at once
CENTRES, NOISE = 2_000, 0.7
SMALL = 1_000  # items of the library beside it
PAGE, DELETED, MANY, K = 50, 1_000, 16, 10


class NoEncoder:
    """The model of a library that only vectors are looked for in."""

    name, fingerprint, preprocess = "none", "0" * 32, Preprocess(size=32)

    def __init__(self, dim: int) -> None:
        self.dim = dim


def vectors(count: int, dim: int, seed: int) -> np.ndarray:
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(CENTRES, dim)).astype(np.float32)
    noise = chance.normal(size=(count, dim)).astype(np.float32)
    return normalise(normalise(centres)[chance.integers(CENTRES, size=count)] + NOISE * normalise(noise))


def rows(start: int, count: int, dim: int) -> list[Row]:
    about = {"source": "/v", "content": "0" * 32, "bytes": 1, "modified_ns": 1, "width": 64, "height": 64}
    return [
        Row(id=f"{number * 2654435761 % 2**64:016x}", path=f"/v/{number % 500}/{number}.jpg", vector=vector,
            meta={"half": number % 2 == 0, "number": number}, **about)
        for number, vector in enumerate(vectors(count, dim, start), start)
    ]  # fmt: skip


def made(folder: Path, items: int, dim: int) -> Library:
    """A library of so many vectors, kept from the last time or made now."""
    if folder.exists():
        return Library.open(folder)
    library = Library.create(folder, NoEncoder(dim))  # type: ignore[arg-type]
    with library.opened.writing() as store:
        for start in range(0, items, BATCH):
            store.write(rows(start, min(BATCH, items - start), dim))
        store.compact(0.0)
        library.opened.view.refresh()
    return library


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        taken.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(taken)


def told(what: str, found: float, baseline: float, named: str) -> None:
    print(f"{what}: {found:,.1f} ms, {found / baseline:.2f} of {named} ({baseline:,.1f} ms)")


def pages(library: Library, repeats: int) -> None:
    plain = milliseconds(lambda: library.items(limit=PAGE), repeats)
    first = library.items("half", limit=PAGE)
    assert first.cursor is not None
    middle = f"{2**63:016x}"
    found = milliseconds(lambda: library.items("half", cursor=middle, limit=PAGE), repeats)
    told(f"a page of {first.total:,} that pass a filter", found, plain, "a page without a filter")


def by_id(library: Library, small: Library, repeats: int) -> None:
    for one in (library, small):
        one.get(one.items(limit=1).items[0].id)
    pace = []
    for one in (library, small):
        ids = iter([item.id for item in one.items(limit=repeats).items])
        pace.append(milliseconds(lambda one=one, ids=ids: one.get(next(ids)), repeats))  # type: ignore[misc]
    told(f"get by id among {len(library):,}", pace[0], pace[1], f"one among {len(small):,}")


def index_with_hidden_rows(library: Library, repeats: int) -> None:
    base = library.snapshot()
    if not accelerator.prepare(base, threshold=0):
        print("FAISS is not installed: pip install 'diptych[fast]'")
        return
    queries = vectors(max(MANY, repeats), base.vectors.shape[1], -1 % 2**32)
    hidden = JournalledSnapshot(
        base, "hidden", gone=frozenset(base.id(row) for row in range(0, len(base), len(base) // DELETED))
    )
    whole = JournalledSnapshot(base, "whole")

    def alone(view: JournalledSnapshot) -> float:
        asked = iter(queries)
        view.top_k(queries[:1], [K])
        return milliseconds(lambda: view.top_k(next(asked)[np.newaxis], [K]), repeats)

    with_hidden, without_hidden = alone(hidden), alone(whole)
    batched = milliseconds(lambda: hidden.top_k(queries[:MANY], [K] * MANY), max(3, repeats // 4))
    found = hidden.top_k(queries, [K] * len(queries))
    index = base.folder / accelerator.FILE
    aside = index.rename(index.with_name("aside"))
    accelerator._opened.clear()
    exact = alone(hidden)
    twin = hidden.top_k(queries, [K] * len(queries))
    aside.rename(index)
    name = f"FAISS with {len(hidden._hidden):,} deleted"
    told(name, with_hidden, exact, "the exact scan")
    told(name, with_hidden, without_hidden, "FAISS with none deleted")
    told(f"{MANY} queries at once, for each", batched / MANY, with_hidden, "one alone")
    same = [len({hit[1] for hit in one} & {hit[1] for hit in two}) / K for one, two in zip(found, twin, strict=True)]
    print(f"of the exact {K} nearest FAISS finds {np.mean(same):.3f}")


def write_that_crosses(folder: Path, source: Path, repeats: int) -> None:
    """Deletions in a copy of the library, until a new snapshot is due."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    library = Library.open(folder)
    least = max(1_000, len(library) // 100)
    ids = [item.id for item in library.items(limit=min(1_000, repeats)).items]
    library.search(np.eye(library.card.dim, dtype=np.float32)[0], 1)
    before = snapshot.in_use(library.opened.snapshots.folder)
    taken = []
    for one in ids:
        begun = time.perf_counter()
        library.delete([one])
        taken.append(1e3 * (time.perf_counter() - begun))
    rest = [identifier for block in library.opened.store().scan(["id"]) for identifier in block["id"]]
    library.delete(rest[: least - len(ids) - 1])
    due = []
    searched = []
    begun = time.perf_counter()
    for one in rest[least:]:
        start = time.perf_counter()
        library.delete([one])
        due.append(1e3 * (time.perf_counter() - start))
        start = time.perf_counter()
        library.search(np.eye(library.card.dim, dtype=np.float32)[1], K)
        searched.append(1e3 * (time.perf_counter() - start))
        if snapshot.in_use(library.opened.snapshots.folder) != before or time.perf_counter() - begun > 300:
            break
    told("the slowest write while a new snapshot is due", max(due), statistics.median(taken), "a write before")
    passed = time.perf_counter() - begun
    print(f"the new snapshot was there after {passed:.1f} s, {len(due)} writes later; searches meanwhile took "
          f"{statistics.median(searched):.1f} ms, the slowest {max(searched):.1f} ms")  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    large = options.folder / f"{options.items}.library"
    library = made(large, options.items, options.dim)
    small = made(options.folder / f"{SMALL}.library", SMALL, options.dim)
    pages(library, options.repeats)
    by_id(library, small, options.repeats)
    index_with_hidden_rows(library, options.repeats)
    write_that_crosses(options.folder / "copy.library", large, options.repeats)


if __name__ == "__main__":
    main()
