"""Why an image matched a text: which regions each word attended to, and how much likelier the image made it."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Float, Float32, UInt8
from diptych.data.images import ImageInput, decode

from .encoder import TrainedCrossEncoder
from .vocabulary import both_directions

_SIDE = 224  # pixels of a tile
_ACROSS = 5  # tiles in a row
_CAPTION = 34  # pixels below a tile
_MARGIN = 8


@dataclass(frozen=True)
class WordMatch:
    """One word of the text.

    `regions` sums to 1; of a video it is the sum over the frames. `gain` is log p(word | image) - log p(word | no
    image), both directions added, in nats: how much likelier the image makes the word. Large gains made the match;
    negative ones are against it.
    """

    word: str
    regions: Float32[np.ndarray, "rows columns"]
    gain: float


@dataclass(frozen=True)
class Match:
    """A text against an image, word by word."""

    text: str
    score: float  # h
    words: tuple[WordMatch, ...]
    unread: int = 0  # word pieces beyond the most that the cross-encoder reads


def explain_match(cross_encoder: TrainedCrossEncoder, image: ImageInput, text: str) -> Match:
    """Which regions each word of `text` attends to, and how much likelier the image makes it.

    The attention is that of the last layer at the place where the word is about to be read, the mean over
    heads and both directions. Raises DataError for an image that cannot be read, or a text without words;
    ConfigError for a cross-encoder that was not trained by captioning.
    """
    tokens = cross_encoder.encode_images([image], workers=1)
    return explain_tokens(cross_encoder, tokens, text)


def explain_tokens(cross_encoder: TrainedCrossEncoder, tokens: Float[np.ndarray, "1 r w"], text: str) -> Match:
    """As `explain_match`, from the image's tokens."""
    if len(tokens) != 1:
        raise DataError(f"found tokens of {len(tokens)} images, expected one")
    backend, words = cross_encoder.backend, cross_encoder.words
    most = backend.max_tokens
    (pieces,) = words.encode([text], most)
    inputs, targets = (one[None] for one in both_directions([pieces]))
    shown, nothing = (backend.keys_values(given) for given in (tokens, backend.empty()))
    maps = backend.attention(inputs, shown)[0]
    seen, unseen = (backend.word_likelihoods(inputs, targets, given)[0] for given in (shown, nothing))
    count = len(pieces)
    # place p of the forward reading is about to read piece p; of the backward one, piece count - 1 - p
    attention = (maps[0, :count] + maps[1, :count][::-1]) / 2
    gain = (seen - unseen)[:, :count]
    gains = gain[0] + gain[1][::-1]
    found = []
    for word, places in words.words(text, most):
        by_frame = attention[places].mean(0).reshape(-1, *cross_encoder.grid)
        regions = by_frame.sum(0).astype(np.float32)
        found.append(WordMatch(word, regions, float(gains[places].sum())))
    unread = words.count([text])[0] - count
    return Match(text, float(cross_encoder.score(tokens, text)[0]), tuple(found), unread)


def overlay(image: ImageInput, match: Match, *, across: int = _ACROSS) -> bytes:
    """A PNG: the image once a word, darkened where the word has little attention, with the word and its gain below.

    At most `across` of them in a row.
    """
    import PIL.Image
    import PIL.ImageDraw

    whole = PIL.Image.fromarray(decode(image)).resize((_SIDE, _SIDE), PIL.Image.Resampling.BICUBIC)
    plain = np.asarray(whole, dtype=np.float32)
    across = min(across, len(match.words) + 1)
    down = -(-(len(match.words) + 1) // across)
    width = across * (_SIDE + _MARGIN) + _MARGIN
    sheet = PIL.Image.new("RGB", (width, down * (_SIDE + _CAPTION + _MARGIN) + _MARGIN), "white")
    pen = PIL.ImageDraw.Draw(sheet)
    tiles = [(plain, f"h = {match.score:.1f}"), *((_darkened(plain, one.regions), _label(one)) for one in match.words)]
    for number, (tile, label) in enumerate(tiles):
        left = _MARGIN + number % across * (_SIDE + _MARGIN)
        top = _MARGIN + number // across * (_SIDE + _CAPTION + _MARGIN)
        sheet.paste(PIL.Image.fromarray(tile.astype(np.uint8)), (left, top))
        pen.text((left + 2, top + _SIDE + 4), label, fill="black", font_size=18)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _label(one: WordMatch) -> str:
    return f"{one.word[:18]}  {one.gain:+.1f}"


def _darkened(
    plain: Float32[np.ndarray, "s s 3"], regions: Float32[np.ndarray, "rows columns"]
) -> UInt8[np.ndarray, "s s 3"]:
    """The image darkened by an attention map: full brightness where it is strongest, a quarter where it is 0."""
    import PIL.Image

    strength = regions / max(float(regions.max()), 1e-9)
    brightness = PIL.Image.fromarray((255 * strength).astype(np.uint8)).resize(
        (_SIDE, _SIDE), PIL.Image.Resampling.BICUBIC
    )
    return (plain * (0.25 + 0.75 * np.asarray(brightness, dtype=np.float32)[..., None] / 255)).astype(np.uint8)
