"""How long a text query takes: warm in one process, and from a cold shell.

    python benchmarks/query.py LIBRARY [--queries 200] [--cold 7]

Warm: p50 and p95 of a whole `Library.search` with words, and of its two parts: the text tower, and the
search of the vectors. The first 300 queries are all different, so that nothing is answered from memory.
Cold: the wall time of `diptych search` as a process of its own, and whether it imported torch, Lance or
Arrow. Targets: 30 ms warm, 1.5 s cold.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from diptych.library import Library, card
from diptych.models import load

WARM_TARGET, COLD_TARGET = 0.030, 1.5  # seconds
HEAVY = ("torch", "lancedb", "pyarrow")
THINGS = ("dog", "child", "man", "woman", "horse", "ball", "boat", "car", "mountain", "street")
DOINGS = ("running", "sleeping", "jumping", "standing", "playing")
PLACES = ("in the snow", "on the beach", "near a tree", "in the water", "at night", "on grass")


def queries(count: int) -> list[str]:
    """Different sentences, in a fixed order."""
    sentences = [f"a {thing} {doing} {place}" for thing in THINGS for doing in DOINGS for place in PLACES]
    np.random.default_rng(0).shuffle(sentences)
    return list(itertools.islice(itertools.cycle(sentences), count))


def row(name: str, seconds: list[float]) -> None:
    print(f"| {name} | {1e3 * statistics.median(seconds):.2f} | {1e3 * float(np.quantile(seconds, 0.95)):.2f} |")


def warm(library: Library, model: object, count: int) -> float:
    """Print the table, return the p50 of a whole query in seconds."""
    whole, text, scan = [], [], []
    for query in queries(count + 5):
        started = time.perf_counter()
        library.search(query, 10)
        whole.append(time.perf_counter() - started)
    for query in reversed(queries(count + 5)):
        started = time.perf_counter()
        vector = library.vector(query)
        text.append(time.perf_counter() - started)
        started = time.perf_counter()
        library.search(vector, 10)
        scan.append(time.perf_counter() - started)
    print("| warm | p50, ms | p95, ms |\n|---|---|---|")
    row("whole query", whole[5:])
    row("text tower", text[5:])
    row("search of the vectors", scan[5:])
    return statistics.median(whole[5:])


def cold(folder: Path, times: int) -> tuple[float, list[str]]:
    """Median wall time of `diptych search` in seconds, and which heavy modules it imported."""
    command = [sys.executable, "-c", "import sys; from diptych.cli.app import run; sys.exit(run(sys.argv[1:]))"]
    arguments = ["search", "a dog in the snow", "--library", str(folder)]
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        subprocess.run([*command, *arguments], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    traced = subprocess.run(
        [sys.executable, "-X", "importtime", *command[1:], *arguments], check=True, capture_output=True, text=True
    )
    modules = {line.rpartition("|")[2].strip() for line in traced.stderr.splitlines() if line.startswith("import time")}
    print("\n| cold shell | s |\n|---|---|")
    print(f"| median of {times} | {statistics.median(seconds):.2f} |\n| best | {min(seconds):.2f} |")
    return statistics.median(seconds), [name for name in HEAVY if name in modules]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", type=Path)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--cold", type=int, default=7, help="processes")
    arguments = parser.parse_args()
    model = load(card.read(arguments.library).model)
    library = Library.open(arguments.library, model)
    print(f"{len(library)} pictures, {library.card.dim} dimensions, model {library.card.model}\n")
    p50 = warm(library, model, arguments.queries)
    seconds, heavy = cold(arguments.library, arguments.cold)
    good = p50 <= WARM_TARGET and seconds <= COLD_TARGET and not heavy
    print(f"\nimported when cold: {', '.join(heavy) or 'none of ' + ', '.join(HEAVY)}")
    print(f"targets: warm {1e3 * WARM_TARGET:.0f} ms, cold {COLD_TARGET} s: {'met' if good else 'missed'}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
