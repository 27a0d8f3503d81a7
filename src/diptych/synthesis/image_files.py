"""Images to disk: as one grid, or as files of their own, written as they are made."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from diptych.core.errors import ConfigError
from diptych.core.files import write_bytes, write_json
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import UInt8
from diptych.synthesis.sampling import TOGETHER, SavedGenerator
from diptych.synthesis.words import TextArrays

ABOUT = "generate.json"
_COLUMNS = 16
_GAP = 2  # pixels between images of a grid


def draw_grid(images: UInt8[np.ndarray, "n h w 3"], columns: int) -> bytes:
    """The images row by row on white, as an encoded PNG."""
    count, height, width, _ = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    sheet = np.full((rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), 255, dtype=np.uint8)
    for number, image in enumerate(images):
        top = _GAP + number // columns * (height + _GAP)
        left = _GAP + number % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = image
    return _png(sheet)


def write_grid(
    generator: SavedGenerator,
    texts: Sequence[str],
    count: int,
    path: Path,
    *,
    seed: int = 0,
    to: str = "",
    like: Sequence[Path] = (),
) -> int:
    """A PNG with `count` images a text, all columns with their own noise; or a way from one text to another.

    After the texts come the images that others are to be like, one row each. One row alone is broken into rows of 16.
    Returns how many images there are.
    """
    if to:
        one, other = generator.read([texts[0]]), generator.read([to])
        noise = np.repeat(generator.noise(1, seed), count, axis=0)
        images = generator.sample(generator.between(one, other, count), noise)
    else:
        noise = generator.noise(count, seed)
        given = [*([generator.read(texts)] if texts else []), *([generator.read_images(like)] if like else [])]
        rows = [_repeated(read, row, count) for read in given for row in range(len(read))]
        images = np.concatenate([generator.sample(row, noise) for row in rows])
    columns = count if len(texts) + len(like) > 1 else min(count, _COLUMNS)
    write_bytes(path, draw_grid(images, columns))
    return len(images)


def write_folder(
    generator: SavedGenerator,
    texts: Sequence[str],
    count: int,
    folder: Path,
    *,
    seed: int = 0,
    progress: Progress = SILENT,
) -> int:
    """`count` images of each text as `folder/TEXT-NUMBER.png`, both from 0, beside generate.json.

    Memory does not grow with the count. Called again with the same arguments, it goes on where it was
    interrupted. Returns how many images there are. Raises ConfigError for a folder with other things in it.
    """
    about = {
        "model": generator.config.name,
        "fingerprint": generator.config.fingerprint,
        "texts": list(texts),
        "seed": seed,
        "size": generator.size,
    }
    _claim(folder, about)
    read = generator.read(texts)
    for row in progress.track(range(len(texts)), "texts", total=len(texts)):
        for start, noise in _noises(generator, count, seed):
            names = [folder / f"{row:04d}-{number:06d}.png" for number in range(start, start + len(noise))]
            if all(name.exists() for name in names):
                continue
            for name, image in zip(names, generator.sample(_repeated(read, row, len(noise)), noise), strict=True):
                write_bytes(name, _png(image))
    return count * len(texts)


def _png(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _noises(generator: SavedGenerator, count: int, seed: int) -> Iterator[tuple[int, np.ndarray]]:
    draw = np.random.default_rng(seed)
    for start in range(0, count, TOGETHER):
        size = min(TOGETHER, count - start)
        yield start, draw.standard_normal((size, generator.config.noise), dtype=np.float32)


def _repeated(texts: TextArrays, row: int, count: int) -> TextArrays:
    return TextArrays(
        *(np.repeat(part[row : row + 1], count, axis=0) for part in (texts.sentence, texts.words, texts.mask))
    )


def _claim(folder: Path, about: dict[str, object]) -> None:
    path = folder / ABOUT
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if found != about:
            raise ConfigError(f"{folder} holds images of another command (see {ABOUT}); choose another --folder")
        return
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; choose another --folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, about)
