"""An explanation as an image: regions shaded over the image, words shaded in the text, and the regions of each word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import PIL.Image
from PIL import ImageDraw

from diptych.core.shapes import Float32, UInt8
from diptych.library.rendering import fitted, font_for, png

from .figures import FAINT, INK
from .occlusion import Explanation

MATCH_KEY = ("speaks for the match", "against it")
_FOR, _AGAINST = (232, 89, 12), (37, 99, 235)  # what speaks for the match, and against it
_PAPER = "#ffffff"
_MARGIN, _GAP, _LARGE, _SMALL = 28, 20, 380, 150  # pixels
_SHOWN_WORDS, _WORTH_SHOWING = 5, 0.1  # at most; share of the strongest word's drop
_STRONGEST = 0.78  # opacity of the strongest region


def draw_explanation(explanation: Explanation, title: str = "", key: tuple[str, ...] = MATCH_KEY) -> bytes:
    """The figure as PNG bytes; `key` says what each colour means, the first one for numbers above 0."""
    width = 2 * _MARGIN + 2 * _LARGE + _GAP
    lines = list(_lines(explanation, width - 2 * _MARGIN))
    shown = _strongest_words(explanation)
    text_top = _MARGIN + 44 + _LARGE + 26
    small_top = text_top + 40 * len(lines) + (64 if shown else 44)
    height = small_top + (_SMALL + 56 if shown else 0) + _MARGIN
    canvas = PIL.Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    head = title or "Why they match"
    _write(draw, (_MARGIN, _MARGIN), fitted(head, font_for(head, 20), width - 200), 20, INK)
    score = f"cosine {explanation.score:.3f}"
    _write(draw, (width - _MARGIN - int(font_for(score, 15).getlength(score)), _MARGIN + 3), score, 15, FAINT)
    canvas.paste(_image(explanation.pixels, _LARGE), (_MARGIN, _MARGIN + 44))
    canvas.paste(shaded(explanation.pixels, explanation.regions, _LARGE), (_MARGIN + _LARGE + _GAP, _MARGIN + 44))
    _draw_words(draw, explanation, lines, text_top)
    _draw_key(draw, text_top + 40 * len(lines) + 4, key, words=bool(shown))
    for place, at in enumerate(shown):
        x = _MARGIN + place * (_SMALL + 9)
        canvas.paste(shaded(explanation.pixels, explanation.word_regions[at], _SMALL), (x, small_top + 24))
        word = explanation.words[at]
        _write(draw, (x, small_top), fitted(word, font_for(word, 14), _SMALL), 14, INK)
        _write(draw, (x, small_top + 28 + _SMALL), f"{explanation.word_drops[at]:+.3f}", 13, FAINT)
    return png(canvas)


def shaded(pixels: UInt8[np.ndarray, "h w 3"], regions: Float32[np.ndarray, "g g"], side: int) -> PIL.Image.Image:
    """The image, greyed, with the regions over it: the strongest is nearly opaque, zero is clear."""
    image = _image(pixels, side)
    grey = np.asarray(image.convert("L").convert("RGB"), dtype=np.float32) * 0.75 + 60
    scale = float(np.abs(regions).max()) or 1.0
    heat = PIL.Image.fromarray(np.asarray(regions / scale, dtype=np.float32))
    smooth = np.asarray(heat.resize(image.size, PIL.Image.Resampling.BICUBIC)).clip(-1, 1)
    colour = np.where(smooth[..., None] > 0, np.array(_FOR, dtype=np.float32), np.array(_AGAINST, dtype=np.float32))
    opacity = _STRONGEST * np.abs(smooth[..., None])
    return PIL.Image.fromarray((grey.clip(0, 255) * (1 - opacity) + colour * opacity).astype(np.uint8))


def _image(pixels: UInt8[np.ndarray, "h w 3"], side: int) -> PIL.Image.Image:
    """The image with its longer side at `side` pixels."""
    height, width = pixels.shape[:2]
    size = (max(1, round(side * width / max(height, width))), max(1, round(side * height / max(height, width))))
    return PIL.Image.fromarray(pixels).resize(size, PIL.Image.Resampling.BICUBIC)


def _strongest_words(explanation: Explanation) -> list[int]:
    """The words that carry most of the match, in the order of the text; none for one word, or without their regions."""
    if len(explanation.words) < 2 or not explanation.word_regions.any():
        return []
    order = np.argsort(-explanation.word_drops, kind="stable")[:_SHOWN_WORDS]
    least = _WORTH_SHOWING * explanation.word_drops[order[0]]
    return sorted(int(at) for at in order if explanation.word_drops[at] > max(0.0, least))


def _lines(explanation: Explanation, width: int) -> Iterator[list[tuple[int, int]]]:
    """(word, x) of each line of the text."""
    line: list[tuple[int, int]] = []
    x = 0
    for at, word in enumerate(explanation.words):
        wide = int(font_for(word, 18).getlength(word)) + 12
        if line and x + wide > width:
            yield line
            line, x = [], 0
        line.append((at, x))
        x += wide + (8 if explanation.gaps[at] else 2)
    yield line


def _draw_words(draw: ImageDraw.ImageDraw, explanation: Explanation, lines: Any, top: int) -> None:
    scale = float(np.abs(explanation.word_drops).max(initial=0)) or 1.0
    for number, line in enumerate(lines):
        for at, x in line:
            word, drop = explanation.words[at], float(explanation.word_drops[at]) / scale
            font = font_for(word, 18)
            base = np.array(_FOR if drop > 0 else _AGAINST)
            colour = tuple(int(value) for value in 255 - (255 - base) * _STRONGEST * abs(drop))
            left, y = _MARGIN + x, top + 40 * number
            box = (left, y, left + int(font.getlength(word)) + 12, y + 32)
            draw.rounded_rectangle(box, radius=6, fill=colour)
            draw.text((left + 6, y + 5), word, font=font, fill=INK)


def _draw_key(draw: ImageDraw.ImageDraw, y: int, key: tuple[str, ...], *, words: bool) -> None:
    x = _MARGIN
    for colour, text in zip((_FOR, _AGAINST), key, strict=False):
        draw.rounded_rectangle((x, y + 3, x + 12, y + 15), radius=3, fill=colour)
        _write(draw, (x + 18, y), text, 13, FAINT)
        x += 18 + int(font_for(text, 13).getlength(text)) + 20
    if words:
        note = "Below: the regions that count for each word, and what the cosine loses without it."
        _write(draw, (_MARGIN, y + 22), note, 13, FAINT)


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, colour: str) -> None:
    draw.text(place, text, font=font_for(text, size), fill=colour)
