"""Readers beside a writer: how much slower is a search while pictures are written, and does any go wrong?

    python benchmarks/readers_writer.py [--items 100000] [--readers 8] [--seconds 300] [--rate 5]

Makes a library of random vectors. Then each reader, a process of its own, searches `--pace` times a second; first
alone for a tenth of the time (idle), then while one writer adds, describes and deletes pictures, `--rate` calls a
second. Every answer is checked: k hits, no id twice, scores falling, nothing that was deleted before the search
began. Reported: errors, and the 50th and 99th percentile of a search, idle and beside the writer.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # the numbered pictures lie beside this file
from diptych.library import Library
from diptych.library.store.rows import Row
from item_writer import DIM, opened, picture, vector

K = 10
INVENTED = {"missing_file", "missing_thumb"}  # the pictures of the beginning are numbers only
FIRST_WRITTEN = 10_000_000  # numbers below are there from the beginning


def fill(folder: Path, items: int) -> None:
    """A library of that many pictures, laid out for searching."""
    library = opened(folder)
    store = library.opened.store()
    about = {"source": "/bench", "bytes": 1, "modified_ns": 1, "width": 4, "height": 3}
    vectors = np.random.default_rng(0).normal(size=(items, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for start in range(0, items, 10_000):
        store.write(
            [
                Row(f"{at:016x}", f"/bench/{at}.jpg", content=f"{at:032x}", vector=vectors[at], **about)
                for at in range(start, min(start + 10_000, items))
            ]
        )
    store.compact(0.0)
    library.search(vector(1), 1)


def read(folder: Path, seed: int, seconds: float, pace: float, deleted: Any, answer: Any) -> None:
    """Search for some time; the milliseconds of each search, and what went wrong."""
    library = Library.open(folder)
    library.search(vector(seed), K)
    chance = random.Random(seed)
    took: list[float] = []
    wrong: list[str] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        gone = set(deleted.keys())
        begun = time.perf_counter()
        try:
            hits = library.search(vector(chance.randrange(1000)), K)
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {error}")
            continue
        took.append(1000 * (time.perf_counter() - begun))
        ids = [hit.id for hit in hits]
        scores = [hit.score for hit in hits]
        if len(set(ids)) != K or scores != sorted(scores, reverse=True) or gone & set(ids):
            wrong.append(f"a wrong answer: {ids}")
        time.sleep(max(0.0, chance.expovariate(pace) - took[-1] / 1000))
    answer.put(("searches", took, wrong))


def write(folder: Path, seconds: float, rate: float, deleted: Any, answer: Any) -> None:
    """Add, describe and delete pictures near the readers' queries; how many calls, how long each took."""
    library = opened(folder)
    chance = random.Random(0)
    live: list[str] = []
    took: list[float] = []
    number = FIRST_WRITTEN
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.perf_counter()
        kind = chance.choices(("add", "patch", "delete"), (3, 1, 1))[0]
        if kind == "add" or not live:
            number += 1
            live.append(library.add([picture(number)]).items[0].id)
        elif kind == "patch":
            library.patch(chance.choice(live), meta={"value": number})
        else:
            gone = live.pop(chance.randrange(len(live)))
            library.delete([gone])
            deleted[gone] = True
        took.append(1000 * (time.perf_counter() - begun))
        time.sleep(max(0.0, chance.expovariate(rate) - took[-1] / 1000))
    answer.put(("writes", took, []))


def together(work: list[tuple[Callable[..., None], tuple[Any, ...]]]) -> list[tuple[str, list[float], list[str]]]:
    """Run each in a process of its own; what they answer: what they did, the milliseconds of each, what was wrong."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    processes = [context.Process(target=call, args=(*given, answer)) for call, given in work]
    for process in processes:
        process.start()
    answers = [answer.get() for _ in processes]
    for process in processes:
        process.join()
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--rate", type=float, default=5.0, help="writes a second")
    parser.add_argument("--pace", type=float, default=4.0, help="searches a second of each reader")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, multiprocessing.Manager() as manager:
        folder = Path(temporary) / "library"
        fill(folder, arguments.items)
        deleted = manager.dict()

        def readers(seconds: float) -> list[tuple[Callable[..., None], tuple[Any, ...]]]:
            return [(read, (folder, seed, seconds, arguments.pace, deleted)) for seed in range(arguments.readers)]

        idle = together(readers(max(arguments.seconds / 10, 5.0)))
        writer = (write, (folder, arguments.seconds, arguments.rate, deleted))
        busy = together([*readers(arguments.seconds), writer])
        damage = Library.open(folder).verify().kinds
    report(arguments, idle, busy, {kind: count for kind, count in damage.items() if kind not in INVENTED})


def report(arguments: argparse.Namespace, idle: Any, busy: Any, damage: dict[str, int]) -> None:
    alone = np.concatenate([took for _, took, _ in idle])
    beside = np.concatenate([took for what, took, _ in busy if what == "searches"])
    writes = np.concatenate([took for what, took, _ in busy if what == "writes"])
    wrong = [one for _, _, found in [*idle, *busy] for one in found]
    ratio = np.percentile(beside, 99) / np.percentile(alone, 99)
    print(f"| {arguments.items:,} pictures, {arguments.readers} readers, {arguments.seconds:.0f} s | |\n|---|---|")
    print(f"| searches, idle and beside the writer | {len(alone):,}, {len(beside):,} |")
    print(f"| writes acknowledged | {len(writes):,} |\n| errors | {len(wrong)} {wrong[:3] or ''} |")
    print(f"| idle p50, p99 | {np.percentile(alone, 50):.1f} ms, {np.percentile(alone, 99):.1f} ms |")
    print(f"| beside the writer p50, p99 | {np.percentile(beside, 50):.1f} ms, {np.percentile(beside, 99):.1f} ms |")
    print(f"| p99 beside the writer / idle | {ratio:.2f} |")
    print(f"| a write, p50, p99 | {np.percentile(writes, 50):.0f} ms, {np.percentile(writes, 99):.0f} ms |")
    print(f"| damage found afterwards | {json.dumps(damage)} |")
    sys.exit(1 if wrong or damage or ratio > 2 else 0)


if __name__ == "__main__":
    main()
