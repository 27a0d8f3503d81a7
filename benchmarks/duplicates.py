"""Copies of one image in a library: how many of each kind are found, how many that are found are wrong, and how long.

    python benchmarks/duplicates.py PHOTOS FOLDER [--photos 300] [--kinds cropped turned] [--sizes 1000 10000]
    python benchmarks/duplicates.py PHOTOS FOLDER --photos 7000 --among 1000 --reported    # a part of what is there

PHOTOS is a folder of photos. FOLDER gets copies of some of them (chosen by chance, always the same) and a library of
all, both kept for the next time: the same bytes, JPEG of quality 40 to 95, PNG, WebP, resizing by 0.25 to 2, crops that
keep 80 to 100 % of the area, mirrored, turned by quarters. For each kind, the library's originals and copies of that
kind are searched together, for each half of the photos by itself: thresholds are chosen on the first, the second is
what counts (`--reported`: it alone). With `--among` so many of the photos are measured. Target: precision 0.99 at
recall 0.97 for each kind.

- recall: the share of copies that are in the group of their photo;
- precision: of all pairs within groups, the share that is of one photo. Two photos taken one after the other may be
  the same to the eye: pairs of different photos are printed, to be looked at, and all counted as wrong.

With --sizes, so many vectors and hashes made by chance are searched for candidates, without any pixels: seconds, peak
memory and the exponent of the growth. Reading and comparing thumbnails comes to it, in proportion to the images.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import resource
import shutil
import time
from collections import Counter
from pathlib import Path

import numpy as np
import PIL.Image

from diptych.core.cosine import normalise
from diptych.core.protocols import SILENT
from diptych.library import Library
from diptych.library.duplicates.candidates import Look, candidates
from diptych.library.duplicates.finder import find

KINDS = ("exact", "jpeg", "png", "webp", "resized", "cropped", "mirrored", "turned")
ORIGINAL, QUALITY = "original", 92
TURNS = (PIL.Image.Transpose.ROTATE_90, PIL.Image.Transpose.ROTATE_180, PIL.Image.Transpose.ROTATE_270)


def copy(photo: Path, target: Path, kind: str, chance: random.Random) -> None:
    if kind in (ORIGINAL, "exact"):
        shutil.copyfile(photo, target)
        return
    image, quality = PIL.Image.open(photo).convert("RGB"), QUALITY
    if kind == "jpeg":
        quality = chance.randint(40, 95)
    elif kind == "webp":
        target, quality = target.with_suffix(".webp"), chance.randint(40, 95)
    elif kind == "png":
        target = target.with_suffix(".png")
    elif kind == "resized":
        factor = 2 ** chance.uniform(-2, 1)
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        image = image.resize(size, PIL.Image.Resampling.LANCZOS)
    elif kind == "cropped":
        image = cropped(image, chance)
    elif kind == "mirrored":
        image = image.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
    elif kind == "turned":
        image = image.transpose(chance.choice(TURNS))
    image.save(target, quality=quality)


def cropped(image: PIL.Image.Image, chance: random.Random) -> PIL.Image.Image:
    """A window of any shape and place that keeps 80 to 100 % of the area."""
    area = chance.uniform(0.8, 1)
    share = area ** chance.uniform(0, 1)
    width, height = math.ceil(image.width * share), math.ceil(image.height * area / share)
    left, top = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def make(photos: Path, folder: Path, count: int) -> None:
    chosen = sorted(path for path in photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    random.Random(0).shuffle(chosen)
    for kind in (ORIGINAL, *KINDS):
        chance, target = random.Random(kind), folder / kind
        target.mkdir(parents=True)
        for photo in chosen[:count]:
            copy(photo, target / f"{photo.stem}.jpg", kind, chance)


def measure(library: Library, kinds: list[str], most: int | None, *, reported: bool) -> None:
    paths = [path for block in library.opened.view.scan(["path"]) for path in block["path"]]
    photos = sorted({Path(path).stem for path in paths})
    photos = sorted(random.Random(1).sample(photos, most or len(photos)))
    halves = {"chosen on": set(photos[::2]), "reported": set(photos[1::2])}
    if reported:
        del halves["chosen on"]
    print("kind      half       photos  recall  precision  compared  CPU seconds")
    wrong: Counter[tuple[str, ...]] = Counter()
    for kind, (half, among) in itertools.product(kinds, halves.items()):
        ids = [
            identifier
            for block in library.opened.view.scan(["id", "path"])
            for identifier, path in zip(block["id"], block["path"], strict=True)
            if Path(path).stem in among and Path(path).parent.name in (ORIGINAL, kind)
        ]
        started = time.process_time()
        found = find(library.opened, ids, SILENT)
        taken = time.process_time() - started
        right = pairs = 0
        for group in found.groups:
            stems = [Path(one.path).stem for one in (group.best, *group.others)]
            for pair in itertools.combinations(stems, 2):
                pairs += 1
                right += pair[0] == pair[1]
                if pair[0] != pair[1]:
                    wrong[tuple(sorted(pair))] += 1
        precision = right / pairs if pairs else float("nan")
        print(
            f"{kind:<9} {half:<9} {len(among):>7} {right / len(among):>7.4f} {precision:>10.4f} "
            f"{found.compared:>9} {taken:>12.1f}",
            flush=True,
        )
    print(f"{len(wrong)} pairs of different photos, to be looked at:", *map(" ".join, wrong), sep="\n  ")


def grow(sizes: list[int], dim: int = 256) -> None:
    chance, seconds = np.random.default_rng(0), []
    print("images   CPU seconds  candidates  peak memory of the process")
    for size in sizes:
        centres = chance.normal(size=(max(size // 50, 1), dim)).astype(np.float32)
        noise = chance.normal(size=(size, dim)).astype(np.float32)
        vectors = normalise(centres[chance.integers(len(centres), size=size)] + noise).astype(np.float16)
        curves = np.sort(chance.random((size, 3, 15)), axis=2).reshape(size, 45).astype(np.float32)
        hashes = chance.integers(0, 2**64, (size, 2), dtype=np.uint64)
        looks = [Look(tuple(own.tolist()), colours, grey=False) for own, colours in zip(hashes, curves, strict=True)]
        started = time.process_time()
        first, _ = candidates(looks, vectors)
        seconds.append(time.process_time() - started)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{size:>7,} {seconds[-1]:>12.1f} {len(first):>11,} {peak:>8.2f} GB", flush=True)
    if len(sizes) > 1:
        print(f"seconds grow with images ** {np.polyfit(np.log(sizes), np.log(seconds), 1)[0]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", dest="count", type=int, default=300)
    parser.add_argument("--model", default="base")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    parser.add_argument("--among", type=int, help="photos to measure; all without it")
    parser.add_argument("--reported", action="store_true")
    parser.add_argument("--sizes", nargs="*", type=int, default=[])
    given = parser.parse_args()
    if given.kinds:
        copies, folder = given.folder / f"copies-{given.count}", given.folder / f"library-{given.count}"
        if not copies.exists():
            make(given.photos, copies, given.count)
        library = Library.open(folder) if folder.exists() else Library.create(folder, given.model)
        if len(library) == 0:
            library.index(copies)
        measure(library, given.kinds, given.among, reported=given.reported)
    if given.sizes:
        grow(given.sizes)


if __name__ == "__main__":
    main()
