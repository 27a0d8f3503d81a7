"""A contact sheet: the query on top, the images found below, each with rank, score and name."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diptych.core.text import number
from diptych.core.types import Hit

from .text_thumbnails import fitted, font_for, has_character

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

_SIDE = 232  # pixels, square that an image is fitted into
_GAP = 20
_MARGIN = 32
_CAPTION = 48
_TITLE_SIZE, _RANK_SIZE, _NAME_SIZE = 26, 15, 13
_MOST_COLUMNS = 6
_MOST_ENLARGED = 1.5  # smaller images are shown as they are
_PAPER, _TILE, _INK, _FAINT, _ACCENT = "#ffffff", "#f1f2f4", "#16181d", "#6b7280", "#2563eb"

_SMALL, _SMALL_GAP, _STORY_TITLE = 112, 8, 52  # pixels: a storyboard's tiles, the gap between them, a row's title


@dataclass(frozen=True, slots=True)
class Tile:
    """A hit and its thumbnail (JPEG bytes), if it has one."""

    hit: Hit
    thumbnail: bytes | None


def contact_sheet(title: str, found: Sequence[Tile], query_images: Sequence[bytes] = ()) -> Image.Image:
    """The sheet as an RGB image. `query_images` (encoded bytes) are beside the title.

    Raises nothing for missing or damaged thumbnails and for characters that no font has: they are drawn
    as an empty tile and as boxes.
    """
    from PIL import Image, ImageDraw

    columns = _columns(len(found))
    rows = max(1, math.ceil(len(found) / columns))
    width = 2 * _MARGIN + columns * _SIDE + (columns - 1) * _GAP
    header = _MARGIN + (96 if query_images else 56)
    height = header + rows * (_SIDE + _CAPTION) + (rows - 1) * _GAP + _MARGIN
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _draw_header(sheet, draw, title, len(found), query_images, header)
    for place, one in enumerate(found):
        x = _MARGIN + place % columns * (_SIDE + _GAP)
        y = header + place // columns * (_SIDE + _CAPTION + _GAP)
        _draw_hit(sheet, draw, one, x, y)
    return sheet


def storyboard(rows: Sequence[tuple[str, Sequence[Tile]]]) -> Image.Image:
    """Several searches on one page, a row each in two columns: the query above its images, best first."""
    from PIL import Image, ImageDraw

    most = max((len(found) for _, found in rows), default=1)
    width = most * (_SMALL + _SMALL_GAP) + _MARGIN
    height = _SMALL + _STORY_TITLE
    half = math.ceil(len(rows) / 2)
    board = Image.new("RGB", (2 * width + _MARGIN, half * height + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(board)
    for place, (title, found) in enumerate(rows):
        x = _MARGIN + place // half * width
        y = _MARGIN + place % half * height
        font = font_for(title, _RANK_SIZE)
        draw.text((x, y), fitted(title, font, width - 2 * _MARGIN), font=font, fill=_INK)
        for place, one in enumerate(found):
            left = x + place * (_SMALL + _SMALL_GAP)
            draw.rounded_rectangle((left, y + 28, left + _SMALL - 1, y + 27 + _SMALL), radius=6, fill=_TILE)
            image = None if one.thumbnail is None else _open(one.thumbnail, _SMALL - 8)
            if image is not None:
                inset = ((_SMALL - image.width) // 2, (_SMALL - image.height) // 2)
                board.paste(image, (left + inset[0], y + 28 + inset[1]))
    return board


def can_draw(text: str) -> bool:
    """Whether some font here has every character of the text."""
    font = font_for(text, _RANK_SIZE)
    return all(has_character(font, character) for character in text if not character.isspace())


def _columns(count: int) -> int:
    """Near to a landscape page: 1 -> 2 (room for the title), 4 -> 3, 10 -> 4, 20 -> 5, 24 and more -> 6."""
    return min(_MOST_COLUMNS, max(2, math.ceil(math.sqrt(1.3 * count))))


def _draw_header(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, title: str, count: int, images: Sequence[bytes], bottom: int
) -> None:
    x = _MARGIN
    for data in images[:4]:
        small = _open(data, 72)
        if small is not None:
            sheet.paste(small, (x, _MARGIN))
            x += small.width + 12
    middle = _MARGIN + (24 if images else 4)
    shown = number(count, "image")
    note = font_for(shown, _NAME_SIZE)
    right = sheet.width - _MARGIN - note.getlength(shown)
    draw.text((right, middle + 10), shown, font=note, fill=_FAINT)
    font = font_for(title, _TITLE_SIZE)
    draw.text((x, middle), fitted(title, font, right - x - 24), font=font, fill=_INK)
    draw.line((_MARGIN, bottom - 16, sheet.width - _MARGIN, bottom - 16), fill=_TILE, width=2)


def _draw_hit(sheet: Image.Image, draw: ImageDraw.ImageDraw, found: Tile, x: int, y: int) -> None:
    draw.rounded_rectangle((x, y, x + _SIDE - 1, y + _SIDE - 1), radius=8, fill=_TILE)
    image = None if found.thumbnail is None else _open(found.thumbnail, _SIDE)
    if image is not None:
        sheet.paste(image, (x + (_SIDE - image.width) // 2, y + (_SIDE - image.height) // 2))
    else:
        _draw_absent(draw, x, y)
    rank = f"{found.hit.rank + 1}"
    font = font_for(rank, _RANK_SIZE)
    draw.text((x, y + _SIDE + 7), rank, font=font, fill=_ACCENT)
    score = f"{found.hit.score:.3f}"
    draw.text((x + font.getlength(rank) + 10, y + _SIDE + 7), score, font=font, fill=_INK)
    name = str(found.hit.meta.get("name") or found.hit.path or found.hit.id)
    small = font_for(name, _NAME_SIZE)
    draw.text((x, y + _SIDE + 27), fitted(name, small, _SIDE), font=small, fill=_FAINT)


def _draw_absent(draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
    text = "no thumbnail"
    font = font_for(text, _NAME_SIZE)
    draw.text((x + (_SIDE - font.getlength(text)) / 2, y + _SIDE / 2 - 8), text, font=font, fill=_FAINT)


def _open(data: bytes, side: int) -> Image.Image | None:
    """The image fitted into a square; None when it cannot be read."""
    from PIL import Image

    from diptych.core.errors import DataError
    from diptych.data.images import decode

    try:
        image = Image.fromarray(decode(data, at_least=side))
    except DataError:
        return None
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image if scale > _MOST_ENLARGED else image.resize(size, Image.Resampling.LANCZOS)


def png(sheet: Image.Image) -> bytes:
    """The sheet as PNG bytes."""
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()
