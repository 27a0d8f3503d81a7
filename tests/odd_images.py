"""A hundred small encoded images of all shapes, modes and formats, the same in every run."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import PIL.Image

# (width, height): strips of one pixel, panoramas, odd sizes, tiny ones, sizes that models take, and two large ones
SHAPES = [
    (1, 60), (60, 1), (90, 30), (30, 90), (31, 93), (93, 31), (33, 47), (47, 33), (5, 3), (3, 5), (2, 2), (1, 1),
    (32, 32), (64, 64), (40, 40), (35, 41), (41, 35), (39, 32), (32, 39), (67, 32), (33, 33), (100, 99), (99, 100),
    (38, 17), (124, 67), (2100, 210), (300, 2200),
]  # fmt: skip
_BLOCK = 3  # pixels of a side of one colour: sharp edges show a wrong filter
_ORIENTATION = 0x0112  # EXIF tag


def odd_images() -> dict[str, tuple[bytes, bool]]:
    """Name to (encoded image, whether every library reads it alike).

    The others have an orientation, transparency, a palette, four inks or more than 8 bits, which libraries read in
    their own ways: comparisons of what comes after start from our pixels there.
    """
    draw = np.random.default_rng(0)
    found: dict[str, tuple[bytes, bool]] = {}

    def add(name: str, image: PIL.Image.Image, kind: str, alike: bool, **options: Any) -> None:
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        found[f"{name} {image.mode} {image.width}x{image.height}.{kind.lower()}"] = (stream.getvalue(), alike)

    for width, height in SHAPES:
        add("shape", _blocks(draw, width, height), "PNG", True)
    for width, height in SHAPES[2:26]:
        add("photo", _blocks(draw, width, height), "JPEG", True, quality=90)
    for number in range(9):
        image = _blocks(draw, *(int(side) for side in draw.integers(20, 120, 2)))
        add(f"odd {number}", image, ("JPEG", "PNG", "WEBP")[number % 3], True)
    for orientation in range(1, 9):
        exif = PIL.Image.Exif()
        exif[_ORIENTATION] = orientation
        add(f"turned {orientation}", _blocks(draw, 50, 70), "JPEG", orientation == 1, exif=exif)
    for mode in ("L", "LA", "P", "RGBA", "1"):
        for width, height in ((70, 45), (30, 88), (33, 33)):
            image = _blocks(draw, width, height)
            if mode.endswith("A"):
                image.putalpha(_blocks(draw, width, height).convert("L"))
            add("mode", image.convert(mode), "PNG", mode == "L")
    for width, height in ((70, 45), (30, 88), (33, 33)):
        image = _blocks(draw, width, height)
        add("mode", image.convert("CMYK"), "JPEG", False)
        add("mode", image.convert("L"), "JPEG", True)
        add("mode", image, "GIF", False)
        add("mode", _alpha(image), "WEBP", False, lossless=True)
        deep = np.asarray(image.convert("L")).astype(np.uint16) * 257
        add("mode", PIL.Image.fromarray(deep), "PNG", False)
    return found


def _blocks(draw: np.random.Generator, width: int, height: int) -> PIL.Image.Image:
    """Blocks of saturated colours."""
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    small = draw.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    return PIL.Image.fromarray(np.ascontiguousarray(small.repeat(_BLOCK, 0).repeat(_BLOCK, 1)[:height, :width]))


def _alpha(image: PIL.Image.Image) -> PIL.Image.Image:
    clear = image.copy()
    clear.putalpha(image.convert("L"))
    return clear
