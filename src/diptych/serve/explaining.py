"""A second, slower look at pictures of a library: why one matches some words, and what it shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.core.errors import DataError, Reason
from diptych.core.protocols import Preprocess
from diptych.core.shapes import Float16, UInt8
from diptych.data.images import decode

from . import errors
from .cross_encoder import ServedCrossEncoder
from .decoding import Decoded
from .drawing import png_uri
from .errors import ServeError
from .libraries import Served
from .reading import About, original
from .schemas import Why, WhyWord
from .service import Service

_LONGEST = 640  # pixels, longer side, of a picture that is drawn upon
_GRID, _WINDOW = 8, 2  # cells of a side, as in `diptych explain`
_ACROSS = 3  # pictures side by side, so that a phone can show them
_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture as a model takes it."""

    pixels: UInt8[np.ndarray, "s s 3"]
    jpeg: bytes  # freshly encoded, for drawing upon
    from_thumbnail: bool


async def seen(service: Service, served: Served, about: About, preprocess: Preprocess) -> Seen:
    """A picture of a library, from its file; from its thumbnail where that is gone, changed, or inside another."""
    limit = service.settings.limits.images.max_bytes
    try:
        data = await served.read(original, about, limit)
        return _seen(await service.decoders.decode(data, preprocess, _LONGEST), from_thumbnail=False)
    except DataError as error:  # the thumbnail may be readable all the same
        errors.log.warning("a picture of %s is explained by its thumbnail: %s", served.name, error)
    except ServeError as error:
        if error.code != "no_file":
            raise
    thumb = await served.read(served.reader.thumbnail, about.content)
    if thumb is None:
        raise ServeError(404, "no_file", "the file of this picture is not there any more, nor is its thumbnail")
    return _seen(await service.decoders.decode(thumb, preprocess, _LONGEST), from_thumbnail=True)


def _seen(decoded: Decoded, *, from_thumbnail: bool) -> Seen:
    assert decoded.pixels is not None
    return Seen(decoded.pixels, decoded.thumb, from_thumbnail)


def cross_encoder_of(service: Service, task: str) -> ServedCrossEncoder:
    """The cross-encoder, if it is one that can write. Raises ServeError(404)."""
    if service.cross_encoder is None or not service.cross_encoder.describes:
        raise errors.no_model(task)
    return service.cross_encoder


async def why(
    service: Service, served: Served, identifier: str, text: str, by: str, *, draw: bool
) -> tuple[Why, bytes]:
    """What each word hangs on in a picture, and with `draw` a PNG of it.

    Raises ServeError(404) for a picture or model that is not there, DataError for a text without words.
    """
    about = await served.read(served.reader.about, identifier)
    if "record" in about.meta and about.meta.get("width") is None:
        raise ServeError(422, "not_a_picture", "this library holds texts; only pictures can be explained")
    if by == "slow":
        cross_encoder = cross_encoder_of(service, "say what a word looked at")
        shown = await seen(service, served, about, cross_encoder.preprocess)
        key = (
            cross_encoder.model.fingerprint,
            about.content,
            about.meta.get("name"),
            shown.from_thumbnail,
            text,
            draw,
        )
        return await service.workshop.remembered(
            key, lambda: _by_cross_encoder(cross_encoder, served, about, shown, text, draw=draw)
        )
    shown = await seen(service, served, about, served.embedder.model.preprocess)
    key = (served.embedder.model.fingerprint, about.content, about.meta.get("name"), shown.from_thumbnail, text, draw)
    return await service.workshop.remembered(key, lambda: _by_fast(served, about, shown, text, draw=draw))


def _by_fast(served: Served, about: About, shown: Seen, text: str, *, draw: bool) -> tuple[Why, bytes]:
    """By taking regions and words away (`diptych explain`): exact for any model."""
    from diptych.inspection.explanation import draw_explanation
    from diptych.inspection.occlusion import explain

    found = explain(served.embedder.model, shown.pixels, text, grid=_GRID, window=_WINDOW)
    regions = found.word_regions if len(found.words) > 1 else found.regions[None]
    told = Why(
        by="fast",
        model=served.embedder.name,
        unit="cosine",
        text=text,
        score=round(found.score, _DIGITS),
        words=[
            _word(word, float(drop), where)
            for word, drop, where in zip(found.words, found.word_drops, regions, strict=True)
        ],
        from_thumbnail=shown.from_thumbnail,
    )
    title = f"{about.meta.get('name') or 'picture'}, seen by {served.embedder.name}"
    return told, draw_explanation(found, title) if draw else b""


def _by_cross_encoder(
    cross_encoder: ServedCrossEncoder, served: Served, about: About, shown: Seen, text: str, *, draw: bool
) -> tuple[Why, bytes]:
    """By what the cross-encoder looked at (`diptych explain-match`)."""
    from diptych.models.cross_encoder.explain import overlay

    match = cross_encoder.explain(cross_encoder.tokens(served.library, about.content, shown.pixels), text)
    if not match.words:
        raise DataError("the text has no words that the model knows", Reason.EMPTY_TEXT)
    told = Why(
        by="slow",
        model=cross_encoder.name,
        unit="nats",
        text=text,
        score=round(match.score, _DIGITS),
        words=[_word(one.word, one.gain, one.regions) for one in match.words],
        from_thumbnail=shown.from_thumbnail,
    )
    return told, overlay(decode(shown.jpeg), match, across=_ACROSS) if draw else b""


def _word(word: str, weight: float, regions: Any) -> WhyWord:
    return WhyWord(word=word, weight=round(weight, _DIGITS), regions=np.round(regions.astype(float), _DIGITS).tolist())


def with_overlay(told: Why, png: bytes) -> Why:
    """The explanation with its picture in it."""
    return told.model_copy(update={"overlay": png_uri(png)})


async def tokens_of(
    service: Service, cross_encoder: ServedCrossEncoder, served: Served, identifier: str
) -> Float16[np.ndarray, "1 r w"]:
    """Region tokens of a picture of a library: the kept ones, or made now."""
    about = await served.read(served.reader.about, identifier)
    shown = await seen(service, served, about, cross_encoder.preprocess)
    return await service.workshop.run(lambda: cross_encoder.tokens(served.library, about.content, shown.pixels))


async def keep_tokens(service: Service, served: Served, identifier: str) -> None:
    """Make and keep the tokens of an uploaded picture. Raises DataError where its file is gone already."""
    cross_encoder = served.cross_encoder
    if cross_encoder is None:
        return
    about = await served.read(served.reader.about, identifier)
    shown = await seen(service, served, about, cross_encoder.preprocess)
    if shown.from_thumbnail:
        raise DataError(f"the picture {identifier} is gone or has changed", Reason.MISSING)
    await service.workshop.run(lambda: cross_encoder.keep(served.library, about.content, shown.pixels))
