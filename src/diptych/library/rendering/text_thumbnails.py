"""Texts drawn as images: a thumbnail for a text, a font that has its characters, and texts cut to a width."""

from __future__ import annotations

import bisect
import contextlib
import io
import math
from functools import cache
from typing import Any

from .thumbnails import SIZE

# Tried by name in the system's font folders; the first that has the most of a text's characters wins.
_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "NotoSansArabic-Regular.ttf",
    "Arial Unicode.ttf",
    "arialuni.ttf",
    "msyh.ttc",
    "PingFang.ttc",
)


_PAPER, _INK, _FONT, _LINES = "#fbf7ef", "#23201a", 18, 8
_LONG = 40  # characters; most words are shorter, and are measured at once
_MOST_DRAWN = 300  # characters; more do not fit, and fitting them takes long


def text_thumbnail(text: str) -> bytes:
    """The text drawn as an image (JPEG), to be shown where thumbnails of images are shown."""
    from PIL import Image, ImageDraw

    card = Image.new("RGB", (SIZE, SIZE), _PAPER)
    text = text if len(text) <= _MOST_DRAWN else text[:_MOST_DRAWN] + " …"
    font = font_for(text, _FONT)
    margin, line_height = 18, _FONT + 8
    rows = wrapped(text, font, SIZE - 2 * margin, _LINES)
    draw = ImageDraw.Draw(card)
    top = (SIZE - line_height * len(rows)) // 2
    for number, line in enumerate(rows):
        draw.text((margin, top + number * line_height), line, fill=_INK, font=font)
    data = io.BytesIO()
    card.save(data, "JPEG", quality=88)
    return data.getvalue()


def fitted(text: str, font: Any, width: float) -> str:
    """The text, cut in the middle when it is too wide: both ends of a file name say something."""
    text = _drawable(text, font)
    if font.getlength(text) <= width:
        return text
    fitting = bisect.bisect_right(range(1, len(text)), width, key=lambda keep: font.getlength(_cut(text, keep)))
    return _cut(text, max(1, fitting))  # the longest cut that fits


def wrapped(text: str, font: Any, width: float, most: int) -> list[str]:
    """The text in lines no wider than `width` pixels, at most `most`; the last says with … that some is left out."""
    lines: list[str] = []
    line = ""
    for word in _drawable(text, font).split():
        longer = f"{line} {word}".lstrip()
        if font.getlength(longer) <= width:
            line = longer
            continue
        lines += [line] if line else []
        while len(lines) <= most and (keep := _fitting(word, font, width)) < len(word):  # scripts without spaces
            lines.append(word[:keep])
            word = word[keep:]
        line = word
    lines += [line] if line else []
    return (
        lines if len(lines) <= most else [*lines[: most - 1], fitted(" ".join(lines[most - 1 :]) + " …", font, width)]
    )


def _fitting(word: str, font: Any, width: float) -> int:
    """How many characters from the first on fit; at least one. Of a long word it measures only what a line can hold."""
    if len(word) <= _LONG and font.getlength(word) <= width:
        return len(word)
    keep = 1
    while keep < len(word) and font.getlength(word[: keep + 1]) <= width:
        keep += 1
    return keep


def _drawable(text: str, font: Any) -> str:
    """The text on one line and without characters that cannot be drawn."""
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    try:
        font.getlength(text)
    except RuntimeError:  # the layout engine gives up on some mixtures of scripts
        return text.encode("ascii", "replace").decode("ascii")
    return text


def _cut(text: str, keep: int) -> str:
    return text[: math.ceil(keep / 2)] + "…" + text[len(text) - keep // 2 :]


def font_for(text: str, size: int) -> Any:
    """The font that has most of the text's characters."""
    fonts = _fonts(size)
    characters = {character for character in text if not character.isspace()}
    return max(fonts, key=lambda font: sum(has_character(font, character) for character in characters))


@cache
def _fonts(size: int) -> tuple[Any, ...]:
    from PIL import ImageFont

    found: list[Any] = []
    for name in _FONTS:
        with contextlib.suppress(OSError):
            found.append(ImageFont.truetype(name, size))
    found.append(ImageFont.load_default(size))
    return tuple(found)


@cache
def has_character(font: Any, character: str) -> bool:
    """Whether a font draws this character otherwise than one that no font has."""
    return bool(bytes(font.getmask(character)) != bytes(font.getmask("\U0010ffff")))
