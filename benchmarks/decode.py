"""Decoding and preparing photos: Diptych against plain Pillow, in the same run on the same files.

    python benchmarks/decode.py FOLDER [--limit 300] [--rounds 7] [--size 224]

Each round times every way over all the files, one after the other in one thread, with the ways taking turns;
the table shows the median time of a photo and the median of the rounds' ratios to plain Pillow. The files are
read from disk each time, so the first round, which is not counted, also warms the disk cache.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image

from diptych.core.protocols import Preprocess
from diptych.data.images import SUFFIXES, decode, prepare, stream


def plain_pillow(paths: list[Path], preprocess: Preprocess) -> None:
    for path in paths:
        with PIL.Image.open(path) as image:
            square = image.convert("RGB").resize((preprocess.size,) * 2, PIL.Image.Resampling.BICUBIC)
        np.asarray(square)


def whole(paths: list[Path], preprocess: Preprocess) -> None:
    for path in paths:
        prepare(decode(path), preprocess)


def reduced(paths: list[Path], preprocess: Preprocess) -> None:
    for path in paths:
        prepare(decode(path, at_least=2 * preprocess.size), preprocess)


def streamed(paths: list[Path], preprocess: Preprocess) -> None:
    for _ in stream(paths, preprocess):
        pass


WAYS: dict[str, Callable[[list[Path], Preprocess], None]] = {
    "Pillow": plain_pillow,
    "decode + prepare": whole,
    "decode(at_least=2 * size) + prepare": reduced,
    "stream, 2 workers": streamed,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=300, help="photos")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=224, help="pixels")
    arguments = parser.parse_args()

    found = sorted(path for path in arguments.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    paths = found[: arguments.limit]
    if not paths:
        parser.error(f"no images under {arguments.folder}")
    preprocess = Preprocess(size=arguments.size)
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for round_number in range(arguments.rounds + 1):
        for name, way in WAYS.items():
            started = time.perf_counter()
            way(paths, preprocess)
            if round_number:
                seconds[name].append(time.perf_counter() - started)

    print(f"{len(paths)} images, {arguments.rounds} rounds, {arguments.size} pixels")
    for name, times in seconds.items():
        ratios = [base / own for base, own in zip(seconds["Pillow"], times, strict=True)]
        print(
            f"{name:38} {statistics.median(times) / len(paths) * 1e3:8.2f} ms an image "
            f"{statistics.median(ratios):6.2f} x Pillow  [{min(ratios):.2f}, {max(ratios):.2f}]"
        )


if __name__ == "__main__":
    main()
