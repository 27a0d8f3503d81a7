"""Why an image and a text match: what the cosine loses when a region or a word is taken away.

Works for any two encoders, because it only asks them again: windows of the image are painted over
with its mean colour (Zeiler and Fergus 2014), words and phrases are left out of the text. A drop
above zero means that the part speaks for the match, below zero that it speaks against it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32, UInt8
from diptych.core.text import is_blank
from diptych.data.images import ImageInput, as_image, as_prepared, prepared
from diptych.library.encoder import Encoder
from diptych.models import load

_BATCH = 32
_LONGEST_PHRASE = 4  # words
_MOST_PARTS = 60  # that a text is taken apart into; a longer one goes by several words at a time
# Scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, Japanese kana, Chinese characters.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UNSPACED += "\U00020000-\U0003ffff"
_BEHIND = "\u0e30\u0e32\u0e33\u0e45\u0e46\u0eb0\u0eb2\u0eb3"  # Thai and Lao vowels that belong to the letter before
# Katakana spell one foreign word; vowels before a Thai or Lao consonant, and signs above it, belong to it
_PART = re.compile(
    rf"[\u30a1-\u30fa\u30fc]+|[\u0e40-\u0e44\u0ec0-\u0ec4]?[{_UNSPACED}]|(?:(?![{_UNSPACED}])\S)+",
)


@dataclass(frozen=True)
class Explanation:
    """How much each region and each word contributes to a match; all drops in cosine.

    `regions` is a square grid over the image as the tower sees it. `word_regions[w]` is how much of
    each region's drop goes away with word w: where the model sees that word.
    """

    pixels: UInt8[np.ndarray, "hh ww 3"]
    score: float
    regions: Float32[np.ndarray, "g g"]
    words: tuple[str, ...]
    word_drops: Float32[np.ndarray, " w"]
    word_regions: Float32[np.ndarray, "w g g"]
    phrases: tuple[tuple[str, float], ...]  # runs of two to four words with their drop, largest first
    gaps: tuple[str, ...]  # what stands behind each word: a space, or nothing
    together: int = 1  # words of the text that make one of `words`, where it is long

    def to_json(self) -> dict[str, Any]:
        """JSON-ready numbers."""
        return {
            "score": round(self.score, 5),
            "words": [
                {"word": word, "drop": round(float(drop), 5)}
                for word, drop in zip(self.words, self.word_drops, strict=True)
            ],
            "phrases": [{"phrase": phrase, "drop": round(drop, 5)} for phrase, drop in self.phrases],
            "words_together": self.together,
            "regions": np.round(self.regions.astype(float), 5).tolist(),
        }


def explain(
    encoder: Encoder | str | Path,
    image: ImageInput,
    text: str,
    *,
    grid: int = 8,
    window: int = 2,
    progress: Progress = SILENT,
) -> Explanation:
    """Measure which regions of an image and which words of a text make them match.

    Windows of `window` x `window` cells of a `grid` x `grid` grid are painted over, one at a time, every
    cell in turn at each place in the window; a cell's drop is the mean over the windows that cover it.
    Costs (grid + window - 1)^2 images. Raises DataError for an unreadable image or an empty text.
    """
    encoder = load(encoder) if isinstance(encoder, str | Path) else encoder
    pixels = prepared(image, encoder.preprocess)
    return explain_prepared(encoder, pixels, text, grid=grid, window=window, progress=progress)


def explain_prepared(
    encoder: Encoder,
    pixels: UInt8[np.ndarray, "hh ww 3"],
    text: str,
    *,
    grid: int = 8,
    window: int = 2,
    progress: Progress = SILENT,
) -> Explanation:
    """As `explain`, of an image that was prepared as the encoder wants it: it is not prepared a second time."""
    if not (2 <= grid <= 32 and 1 <= window <= grid):
        raise ConfigError(f"the grid must have 2 to 32 cells a side and the window fit in it, found {grid}, {window}")
    words, gaps, together = words_and_gaps(text)
    boxes = windows(grid, window)
    shown = as_image(pixels, encoder.preprocess)
    masked = [as_prepared(paint_over(shown, box, grid), encoder.preprocess) for box in boxes]
    batches = [np.stack([pixels, *masked][start : start + _BATCH]) for start in range(0, 1 + len(masked), _BATCH)]
    images = np.concatenate([encoder.encode_pixels(batch) for batch in progress.track(batches, "regions")])
    spans = [(at, at + 1) for at in range(len(words))]
    if len(words) > 2:
        lengths = range(2, min(_LONGEST_PHRASE, len(words) - 1) + 1)
        spans += [(at, at + length) for length in lengths for at in range(len(words) - length + 1)]
    texts = encoder.encode_texts([text, *(text_without(words, span, gaps) for span in spans)])
    scores = images @ texts.T  # images: whole, then masked; texts: whole, then shortened
    drops = scores[0] - scores[1:]  # of every window under every text
    by_text = np.stack([mean_per_cell(drops[:, column], boxes, grid) for column in range(1 + len(words))])
    word_drops = scores[0, 0] - scores[0, 1:]
    return Explanation(
        shown,
        float(scores[0, 0]),
        by_text[0],
        words,
        word_drops[: len(words)],
        by_text[0] - by_text[1:],
        _phrases(words, spans[len(words) :], word_drops[len(words) :], gaps),
        gaps,
        together,
    )


def words_and_gaps(text: str) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """The words of a text, what stands behind each (a space or nothing), and how many words each of them holds.

    Where a script writes without spaces a word is a character, with the signs that belong to it. A text of more than
    60 words is taken apart into runs of several, as equal as can be. Raises DataError for an empty text.
    """
    found: list[tuple[str, str]] = []
    for chunk in text.split():
        parts: list[str] = []
        for part in _PART.findall(chunk):
            marks = all(unicodedata.category(sign)[0] in "MP" or sign in _BEHIND for sign in part)
            if parts and marks:
                parts[-1] += part
            else:
                parts.append(part)
        found += [(part, "") for part in parts[:-1]] + [(parts[-1], " ")]
    if is_blank(text):
        raise DataError("the text is empty; expected words that the image may match", Reason.EMPTY_TEXT)
    together = -(-len(found) // _MOST_PARTS)
    runs = [found[start : start + together] for start in range(0, len(found), together)]
    words = tuple("".join(word + gap for word, gap in run[:-1]) + run[-1][0] for run in runs)
    return words, tuple(run[-1][1] for run in runs), together


def text_without(words: Sequence[str], span: tuple[int, int], gaps: Sequence[str]) -> str:
    """The text without the words of a span."""
    return _joined([*words[: span[0]], *words[span[1] :]], [*gaps[: span[0]], *gaps[span[1] :]])


def _joined(words: Sequence[str], gaps: Sequence[str]) -> str:
    return "".join(word + gap for word, gap in zip(words, gaps, strict=True)).strip()


def windows(grid: int, window: int) -> list[tuple[int, int, int, int]]:
    """(top, left, bottom, right) in cells of every window; those at the edge are cut off by it."""
    edges = [(max(0, start), min(grid, start + window)) for start in range(1 - window, grid)]
    return [(top, left, bottom, right) for top, bottom in edges for left, right in edges]


def paint_over(
    pixels: UInt8[np.ndarray, "h w 3"], box: tuple[int, int, int, int], grid: int
) -> UInt8[np.ndarray, "h w 3"]:
    """The image with a window in its mean colour."""
    height, width = pixels.shape[:2]
    top, left, bottom, right = (round(edge * side / grid) for edge, side in zip(box, (height, width) * 2, strict=True))
    painted = pixels.copy()
    painted[top:bottom, left:right] = pixels.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    return painted


def mean_per_cell(
    drops: Float32[np.ndarray, " n"], boxes: Sequence[tuple[int, int, int, int]], grid: int
) -> Float32[np.ndarray, "g g"]:
    """For each cell the mean drop of the windows that cover it."""
    total, count = np.zeros((grid, grid), dtype=np.float32), np.zeros((grid, grid), dtype=np.float32)
    for drop, (top, left, bottom, right) in zip(drops, boxes, strict=True):
        total[top:bottom, left:right] += drop
        count[top:bottom, left:right] += 1
    return np.asarray(total / count, dtype=np.float32)


def _phrases(
    words: Sequence[str], spans: Sequence[tuple[int, int]], drops: Float32[np.ndarray, " p"], gaps: Sequence[str]
) -> tuple[tuple[str, float], ...]:
    order = np.argsort(-drops, kind="stable")
    return tuple((_joined(words[slice(*spans[at])], gaps[slice(*spans[at])]), float(drops[at])) for at in order)
