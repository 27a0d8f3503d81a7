"""How long a text query takes: warm in one process, and from a cold shell.

    python benchmarks/query.py LIBRARY [--queries 200] [--cold 5]

Warm: p50 and p95 of a whole `Library.search` with words, and of its two parts: the text tower, and the
search of the vectors. The first 300 queries are all different, so that nothing is answered from memory.
Cold: the wall time of `diptych search` and of `diptych --help` as processes of their own, beside that of a
Python that does nothing, medians of several; and whether the search imported torch, Lance, Arrow, Pillow or
jaxtyping. Targets: 30 ms warm, 1.0 s cold, 0.25 s for the help.
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

WARM_TARGET, COLD_TARGET, HELP_TARGET = 0.030, 1.0, 0.25  # seconds
HEAVY = ("torch", "lancedb", "pyarrow", "PIL", "jaxtyping")
RUN = ["-c", "import sys; from diptych.cli.app import run; sys.exit(run(sys.argv[1:]))"]
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


def process(arguments: list[str], times: int) -> list[float]:
    """Wall times of a Python of its own, in seconds."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return seconds


def cold(folder: Path, times: int) -> tuple[float, float, list[str]]:
    """Median seconds of `diptych search` and of `diptych --help`, and which heavy modules the search imported."""
    search = [*RUN, "search", "a dog in the snow", "--library", str(folder)]
    print("\n| cold shell | median, s | best, s |\n|---|---|---|")
    medians = []
    for name, arguments in (("search", search), ("--help", [*RUN, "--help"]), ("bare Python", ["-c", "pass"])):
        seconds = process(arguments, times)
        medians.append(statistics.median(seconds))
        print(f"| {name} | {medians[-1]:.3f} | {min(seconds):.3f} |")
    traced = subprocess.run(
        [sys.executable, "-X", "importtime", *search], check=True, capture_output=True, text=True
    ).stderr.splitlines()
    modules = {line.rpartition("|")[2].strip() for line in traced if line.startswith("import time")}
    return medians[0], medians[1], [name for name in HEAVY if name in modules]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", type=Path)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--cold", type=int, default=5, help="processes of each kind")
    arguments = parser.parse_args()
    model = load(card.read(arguments.library).model)
    library = Library.open(arguments.library, model)
    print(f"{len(library)} images, {library.card.dim} dimensions, model {library.card.model}\n")
    p50 = warm(library, model, arguments.queries)
    seconds, help_seconds, heavy = cold(arguments.library, arguments.cold)
    good = p50 <= WARM_TARGET and seconds <= COLD_TARGET and help_seconds <= HELP_TARGET and not heavy
    print(f"\nimported by the search: {', '.join(heavy) or 'none of ' + ', '.join(HEAVY)}")
    targets = f"warm {1e3 * WARM_TARGET:.0f} ms, cold {COLD_TARGET} s, help {HELP_TARGET} s"
    print(f"targets: {targets}: {'met' if good else 'missed'}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
