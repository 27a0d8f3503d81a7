"""A library of very many items, made quickly, for the other benchmarks.

    python benchmarks/many_items.py LIBRARY --from FOLDER [--items 100000] [--pictures 1000] [--model base]
                                    [--vectors-only]

The first `--pictures` photos of FOLDER are decoded and embedded. Each item is a crop of one of them, 96 pixels wide:
a real JPEG that the library keeps, with a thumbnail, a name and metadata of its own, as if it had been uploaded.
To save the hours that embedding them all would take, its vector is not the crop's: it is the photo's with Gaussian
noise (`--noise` of its length), so searches find what they should, in clusters. Written past `add`, which would
flush every file to disk; `diptych library verify` finds nothing wrong with it.

With `--vectors-only` no files are made, for a million items and more: an item is a member of a photo's file that is
never read, with the photo's content and thumbnail.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from diptych.core.cosine import normalise
from diptych.data.images import SUFFIXES
from diptych.library import Encoder, Library
from diptych.library.items import UPLOAD
from diptych.library.store.rows import Row, content_of, new_id
from diptych.models import load

SIDE = 96  # pixels of a crop, longer side
Maker = Callable[[Library, "Photo", int, float], Row]
BATCH = 10_000  # rows written at once
EMBEDDED = 32  # pictures at once


@dataclass(frozen=True)
class Photo:
    """What the crops of one photo share."""

    name: str
    image: PIL.Image.Image
    vector: np.ndarray
    path: Path = Path()


def photos(folder: Path, count: int, model_name: str) -> tuple[list[Photo], Encoder]:
    """The first pictures below a folder, embedded, and the model."""
    model = load(model_name)
    found = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES)
    paths = list(itertools.islice(found, count))
    if not paths:
        raise SystemExit(f"{folder} has no pictures")
    made: list[Photo] = []
    for start in range(0, len(paths), EMBEDDED):
        chosen = paths[start : start + EMBEDDED]
        for path, vector in zip(chosen, normalise(model.encode_images(chosen)), strict=True):
            with PIL.Image.open(path) as image:
                made.append(Photo(path.name, image.convert("RGB").resize((256, 256)), vector, path.absolute()))
    return made, model


def crop(photo: Photo, number: int) -> tuple[bytes, int, int]:
    """A JPEG of a part of a photo, another one for each number, and its size."""
    chance = np.random.default_rng(number)
    width, height = (int(side) for side in chance.integers(128, 256, 2))
    left, top = int(chance.integers(0, 256 - width)), int(chance.integers(0, 256 - height))
    scale = SIDE / max(width, height)
    size = (round(width * scale), round(height * scale))
    part = photo.image.resize(size, PIL.Image.Resampling.BILINEAR, (left, top, left + width, top + height))
    stream = io.BytesIO()
    part.save(stream, "JPEG", quality=70, comment=str(number))  # the comment keeps equal crops apart
    return stream.getvalue(), *size


def write_files(library: Library, path: str, content: str, data: bytes) -> None:
    """The item's picture, and the same file as its thumbnail."""
    original, thumbnail = library.uploads.file(path), library.thumbnails.path(content)
    original.write_bytes(data)
    os.link(original, thumbnail)


def row(library: Library, photo: Photo, number: int, noise: float) -> Row:
    """One item; its files are written."""
    data, width, height = crop(photo, number)
    content = content_of(data)
    path = library.uploads.path_of(content, data)
    write_files(library, path, content, data)
    vector = strayed(photo, number, noise)
    meta = {"photo": photo.name, "number": number, "album": f"album {number % 100}"}
    title = f"{Path(photo.name).stem} {number}.jpg"
    identifier = new_id(path, content, ())
    return Row(identifier, path, UPLOAD, content, len(data), 1, width, height, vector, meta=meta, title=title)


def row_without_files(library: Library, photo: Photo, number: int, noise: float) -> Row:
    """One item that shares its photo's thumbnail; as if the photo's file were a tar that holds it."""
    path, content = f"{photo.path}::{number}", content_of(photo.name.encode())
    if not library.thumbnails.path(content).is_file():
        library.thumbnails.write(content, crop(photo, 0)[0])
    meta = {"photo": photo.name, "number": number, "album": f"album {number % 100}"}
    vector = strayed(photo, number, noise)
    return Row(new_id(path, content, ()), path, str(photo.path), content, 1, 1, SIDE, SIDE, vector, meta=meta)


def strayed(photo: Photo, number: int, noise: float) -> np.ndarray:
    """The photo's vector with noise, another one for each number."""
    direction = np.random.default_rng(number).normal(size=len(photo.vector)).astype(np.float32)
    return normalise(photo.vector + noise * normalise(direction))


def rows(library: Library, found: list[Photo], items: int, noise: float, made: Maker) -> Iterator[list[Row]]:
    """All items, some at a time."""
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, items, BATCH):
            numbers = range(start, min(start + BATCH, items))
            yield list(pool.map(lambda at: made(library, found[at % len(found)], at, noise), numbers))


def fill(library: Library, found: list[Photo], items: int, noise: float, made: Maker = row) -> None:
    """Write the items, and lay them out for searching."""
    for parent in (library.uploads.folder, library.thumbnails.folder):
        for shard in range(256):
            (parent / f"{shard:02x}").mkdir(parents=True, exist_ok=True)
    with library.opened.writing() as store:
        for batch in rows(library, found, items, noise, made):
            store.write(batch)
        store.compact(0.0)
        library.opened.view.refresh()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("--from", dest="pictures", type=Path, required=True, help="a folder of photos")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--pictures", dest="count", type=int, default=1_000, help="photos that are embedded")
    parser.add_argument("--model", default="base")
    parser.add_argument("--noise", type=float, default=0.3, help="length of the noise; a vector has length 1")
    parser.add_argument("--vectors-only", action="store_true", help="no file for each item")
    options = parser.parse_args()
    started = time.perf_counter()
    found, model = photos(options.pictures, options.count, options.model)
    library = Library.create(options.library, model, options.model)
    fill(library, found, options.items, options.noise, row_without_files if options.vectors_only else row)
    seconds = time.perf_counter() - started
    print(f"{len(library):,} items in {seconds:.0f} s: crops of at most {options.count:,} photos, with the photos' "
          f"vectors and noise of length {options.noise:g}")  # fmt: skip


if __name__ == "__main__":
    main()
