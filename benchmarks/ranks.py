"""Exact ranks of 5,000 images against 25,000 texts, both ways: blockwise against the plain full matrix.

    python benchmarks/ranks.py
    python benchmarks/ranks.py --images 1000 --repeats 5

The baseline is what evaluation scripts usually do: the whole score matrix, `argsort` of every row,
then a search for the relevant items. Each side runs in a process of its own, so that its peak
memory is its own; the inputs' memory is in both peaks. Both must give the same ranks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from diptych.core.cosine import normalise
from diptych.evaluation import Positives, ranks_from_embeddings

TEXTS_PER_IMAGE = 5
Task = tuple[np.ndarray, np.ndarray, np.ndarray]  # images, texts, owner


def make_task(images: int, dimension: int) -> Task:
    generator = np.random.default_rng(0)
    image_vectors = normalise(generator.standard_normal((images, dimension), dtype=np.float32))
    owner = np.repeat(np.arange(images), TEXTS_PER_IMAGE)
    noise = generator.standard_normal((len(owner), dimension), dtype=np.float32)
    return image_vectors, normalise(image_vectors[owner] + noise * np.float32(0.25)), owner


def blockwise(task: Task) -> list[np.ndarray]:
    images, texts, owner = task
    numbers = np.arange(len(images))
    return [
        ranks_from_embeddings(images, texts, Positives.from_labels(numbers, owner)).best,
        ranks_from_embeddings(texts, images, Positives.from_labels(owner, numbers)).best,
    ]


def full_matrix(task: Task) -> list[np.ndarray]:
    images, texts, owner = task
    scores = images @ texts.T
    by_image = np.argsort(-scores, axis=1)
    first_text = np.array([np.flatnonzero(owner[order] == image)[0] for image, order in enumerate(by_image)])
    del by_image
    by_text = np.argsort(-scores.T, axis=1)
    return [first_text, np.argmax(by_text == owner[:, None], axis=1)]


SIDES: dict[str, Callable[[Task], list[np.ndarray]]] = {"blockwise": blockwise, "full_matrix": full_matrix}


def measure(side: str, images: int, dimension: int, repeats: int) -> dict[str, float | str]:
    """Best of the repeats in seconds, peak memory of the process in MiB, and the ranks' hash."""
    task = make_task(images, dimension)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        ranks = SIDES[side](task)
        seconds.append(time.perf_counter() - start)
    digest = hashlib.sha256(b"".join(one.astype(np.int64).tobytes() for one in ranks)).hexdigest()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << (20 if sys.platform == "darwin" else 10))
    return {"seconds": min(seconds), "peak_mib": peak, "ranks": digest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help="measure this one here, and print JSON")
    wanted = parser.parse_args()
    if wanted.side:
        print(json.dumps(measure(wanted.side, wanted.images, wanted.dimension, wanted.repeats)))
        return
    sizes = ["--images", str(wanted.images), "--dimension", str(wanted.dimension)]
    found = {}
    for side in SIDES:
        command = [sys.executable, __file__, "--side", side, "--repeats", str(wanted.repeats), *sizes]
        found[side] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        print(f"{side:12} {found[side]['seconds']:7.2f} s   peak {found[side]['peak_mib']:7.0f} MiB")
    ours, plain = found["blockwise"], found["full_matrix"]
    print(
        f"{'ratio':12} {plain['seconds'] / ours['seconds']:6.1f} x        {plain['peak_mib'] / ours['peak_mib']:6.1f} x"
    )
    if ours["ranks"] != plain["ranks"]:
        sys.exit("the two sides disagree on the ranks")


if __name__ == "__main__":
    main()
