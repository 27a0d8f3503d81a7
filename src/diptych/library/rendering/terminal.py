"""Thumbnails in a terminal: two pixels a character, by half blocks in 24-bit colour."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import UInt8

from .sheet import Tile

_HALF = "▀"
_RESET = "\x1b[0m"


def preview(found: Sequence[Tile], columns: int, width: int = 24) -> str:
    """Thumbnails side by side, as many as `columns` characters hold, each with rank, score and name below."""
    across = max(1, columns // (width + 2))
    lines = []
    for start in range(0, len(found), across):
        tiles = [_tile(one, width) for one in found[start : start + across]]
        height = max(len(tile) for tile in tiles) - 1
        for row in range(height):
            lines.append("  ".join(_line(tile[:-1], row, height, width) for tile in tiles).rstrip(" "))
        lines.append("  ".join(tile[-1] for tile in tiles).rstrip(" "))
        lines.append("")
    return "\n".join(lines)


def half_blocks(pixels: UInt8[np.ndarray, "h w 3"], width: int) -> list[str]:
    """The image as lines of `width` characters; each character shows two pixels, one above the other."""
    from PIL import Image

    height = max(1, round(pixels.shape[0] * width / pixels.shape[1] / 2))
    small = np.asarray(Image.fromarray(pixels).resize((width, 2 * min(height, width)), Image.Resampling.BOX))
    return [
        "".join(
            f"\x1b[38;2;{top[0]};{top[1]};{top[2]}m\x1b[48;2;{low[0]};{low[1]};{low[2]}m{_HALF}"
            for top, low in zip(upper, lower, strict=True)
        )
        + _RESET
        for upper, lower in zip(small[::2], small[1::2], strict=True)
    ]


def _tile(found: Tile, width: int) -> list[str]:
    """The image's lines and, last, its caption, `width` characters wide."""
    from diptych.data.images import decode

    lines: list[str] = []
    if found.thumbnail is not None:
        with contextlib.suppress(DataError):
            lines = half_blocks(decode(found.thumbnail), width)
    hit = found.hit
    name = str(hit.meta.get("name") or hit.path or hit.id)
    caption = "".join(c if c.isprintable() else "?" for c in f"{hit.rank + 1:>2} {hit.score:.3f} {name}")
    return [*lines, caption[:width].ljust(width)]


def _line(tile: list[str], row: int, height: int, width: int) -> str:
    """A tile's line, tiles aligned at the bottom."""
    place = row - (height - len(tile))
    return tile[place] if place >= 0 else " " * width
