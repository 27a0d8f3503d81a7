"""Indexing against the bare backbone, in the same process, taking turns.

    python benchmarks/index.py FOLDER --model base [--limit 500] [--rounds 3]

The baseline is `model.encode_pixels` on pixels that lie ready in memory: nothing is read, decoded or
stored. Indexing does all of it: walk, hash, decode, thumbnail, embed, write, flush, snapshot. The
target is at least 85% of the baseline's pictures a second.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from diptych.data.images import SUFFIXES, stream
from diptych.library import IndexOptions, Library
from diptych.models import DualEncoder, load

TARGET = 0.85
BATCH = 32


def photos(folder: Path, limit: int) -> list[Path]:
    found = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES)
    return list(itertools.islice(found, limit))


def bare(model: DualEncoder, batches: list[np.ndarray]) -> float:
    """Seconds to embed pixels that are ready."""
    started = time.perf_counter()
    for pixels in batches:
        model.encode_pixels(pixels)
    return time.perf_counter() - started


def indexing(model: DualEncoder, paths: list[Path], workers: int) -> float:
    """Seconds to index the files into a new library."""
    with tempfile.TemporaryDirectory() as folder:
        library = Library.create(Path(folder) / "library", model)
        started = time.perf_counter()
        report = library.index(paths, options=IndexOptions(batch_size=BATCH, workers=workers))
        seconds = time.perf_counter() - started
        if report.embedded != len(paths):
            sys.exit(f"{report.embedded} of {len(paths)} pictures were embedded: {report.reasons}; copies count once")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="base")
    parser.add_argument("--limit", type=int, default=500, help="photos")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="decoding threads")
    arguments = parser.parse_args()
    model = load(arguments.model)
    paths = photos(arguments.folder, arguments.limit)
    batches = [batch.pixels for batch in stream(paths, model.preprocess, batch_size=BATCH)]
    indexing(model, paths[: 2 * BATCH], arguments.workers)  # loads Lance and the tower, warms the disk cache
    rows = []
    print(f"{len(paths)} photos of {arguments.folder}, model {model.name}, {arguments.workers} decoding threads\n")
    print("| round | bare backbone, images/s | indexing, images/s | ratio |\n|---|---|---|---|")
    for number in range(1, arguments.rounds + 1):
        before = bare(model, batches)
        indexed = indexing(model, paths, arguments.workers)
        after = bare(model, batches)  # both sides of it, so that a change of the machine's load shows
        rate, bare_rate = len(paths) / indexed, 2 * len(paths) / (before + after)
        rows.append(rate / bare_rate)
        print(f"| {number} | {bare_rate:.1f} | {rate:.1f} | {rate / bare_rate:.3f} |")
    ratio = statistics.median(rows)
    print(f"\nmedian ratio {ratio:.3f}, target {TARGET}: {'met' if ratio >= TARGET else 'missed'}")
    sys.exit(0 if ratio >= TARGET else 1)


if __name__ == "__main__":
    main()
