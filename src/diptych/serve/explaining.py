"""Why an image of a library matches some words, and the cross-encoder's tokens of its images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from diptych.core.errors import DataError, Reason
from diptych.core.protocols import Preprocess
from diptych.core.shapes import Float16, UInt8
from diptych.data.images import decode
from diptych.library import Library, RowFacts

from . import errors
from .cross_encoder import ServedCrossEncoder
from .errors import ServeError
from .generating import png_uri
from .libraries import ServedLibrary
from .schemas import ATTENTION, OCCLUSION, By, Why, WhyWord
from .service import Service

_LONGEST = 640  # pixels, longer side, of an image that is drawn upon
_GRID, _WINDOW = 8, 2  # cells of a side, as in `diptych explain`
_ACROSS = 3  # images side by side, so that a phone can show them
_DIGITS = 5


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image as a model takes it."""

    pixels: UInt8[np.ndarray, "hh ww 3"]
    jpeg: bytes  # freshly encoded, for drawing upon
    from_thumbnail: bool


async def prepared(service: Service, served: ServedLibrary, about: RowFacts, preprocess: Preprocess) -> PreparedImage:
    """An image of a library, from its file; from its thumbnail where that is gone, changed, or inside another."""
    limit = service.settings.limits.images.max_bytes
    try:
        data = await served.original(about, limit)
        decoded = await service.decoders.decode(data, preprocess, _LONGEST)
        return PreparedImage(decoded.pixels, decoded.thumb, from_thumbnail=False)
    except DataError as error:  # the thumbnail may be readable all the same
        errors.log.warning("an image of %s is explained by its thumbnail: %s", served.name, error)
    except ServeError as error:
        if error.code != "no_file":
            raise
    thumb = await served.thumbnail(about.content)
    if thumb is None:
        raise ServeError(404, "no_file", "the file of this image is not there any more, nor is its thumbnail")
    decoded = await service.decoders.decode(thumb, preprocess, _LONGEST)
    return PreparedImage(decoded.pixels, decoded.thumb, from_thumbnail=True)


def cross_encoder_of(service: Service, task: str) -> ServedCrossEncoder:
    """The cross-encoder, if it is one that can write. Raises ServeError(404)."""
    if service.cross_encoder is None or not service.cross_encoder.describes:
        raise errors.no_model(task)
    return service.cross_encoder


async def why(
    service: Service, served: ServedLibrary, identifier: str, text: str, by: By, *, draw: bool
) -> tuple[Why, bytes]:
    """How much each word counts, and where in the image; with `draw` also a PNG of it.

    Raises ServeError(404) for an image or model that is not there, DataError for a text without words.
    """
    about = await served.about(identifier)
    if "record" in about.meta and about.meta.get("width") is None:
        raise ServeError(422, "no_image", "this library holds texts; only images can be explained")
    cross_encoder = cross_encoder_of(service, "say which regions a word attends to") if by == ATTENTION else None
    model = served.embedder.model if cross_encoder is None else cross_encoder.model
    image = await prepared(service, served, about, model.preprocess)
    key = (model.fingerprint, about.content, about.meta.get("name"), image.from_thumbnail, text, draw)

    def work() -> tuple[Why, bytes]:
        if cross_encoder is None:
            return _by_occlusion(served, about, image, text, draw=draw)
        return _by_attention(cross_encoder, served.library, about, image, text, draw=draw)

    return await service.slow_queue.remembered(key, work)


def _by_occlusion(
    served: ServedLibrary, about: RowFacts, image: PreparedImage, text: str, *, draw: bool
) -> tuple[Why, bytes]:
    """By leaving out regions and words (`diptych explain`): exact for any dual encoder."""
    from diptych.inspection.explanation import draw_explanation
    from diptych.inspection.occlusion import explain_prepared

    model = served.embedder.name
    found = explain_prepared(served.embedder.model, image.pixels, text, grid=_GRID, window=_WINDOW)
    regions = found.word_regions if len(found.words) > 1 else found.regions[None]
    words = zip(found.words, found.word_drops, regions, strict=True)
    why = _why(OCCLUSION, model, "cosine", text, found.score, words, image)
    title = f"{about.meta.get('name') or 'image'}, by {model}"
    return why, draw_explanation(found, title) if draw else b""


def _by_attention(
    cross_encoder: ServedCrossEncoder, library: Library, about: RowFacts, image: PreparedImage, text: str, *, draw: bool
) -> tuple[Why, bytes]:
    """By the cross-encoder's attention (`diptych explain --by attention`)."""
    from diptych.models.cross_encoder.explain import overlay

    match = cross_encoder.explain(cross_encoder.tokens(library, about.content, image.pixels), text)
    if not match.words:
        raise DataError("the text has no words that the model knows", Reason.EMPTY_TEXT)
    words = ((one.word, one.gain, one.regions) for one in match.words)
    why = _why(ATTENTION, cross_encoder.model.name, "nats", text, match.score, words, image)
    return why, overlay(decode(image.jpeg), match, across=_ACROSS) if draw else b""


def _why(
    by: By,
    model: str,
    unit: Literal["cosine", "nats"],
    text: str,
    score: float,
    words: Iterable[tuple[str, float, Any]],  # each with its weight and the grid of its regions
    image: PreparedImage,
) -> Why:
    told = [
        WhyWord(
            word=word, weight=round(float(weight), _DIGITS), regions=np.round(regions.astype(float), _DIGITS).tolist()
        )
        for word, weight, regions in words
    ]
    rounded = round(score, _DIGITS)
    return Why(by=by, model=model, unit=unit, text=text, score=rounded, words=told, from_thumbnail=image.from_thumbnail)


def with_overlay(why: Why, png: bytes) -> Why:
    """The explanation with its image in it."""
    return why.model_copy(update={"overlay": png_uri(png)})


async def tokens_of(
    service: Service, cross_encoder: ServedCrossEncoder, served: ServedLibrary, identifier: str
) -> Float16[np.ndarray, "1 r w"]:
    """Region tokens of an image of a library: the kept ones, or made now."""
    about = await served.about(identifier)
    image = await prepared(service, served, about, cross_encoder.model.preprocess)
    return await service.slow_queue.run(lambda: cross_encoder.tokens(served.library, about.content, image.pixels))


async def keep_tokens(service: Service, served: ServedLibrary, identifier: str) -> None:
    """Make and keep the tokens of an uploaded image. Raises DataError where its file is gone already."""
    cross_encoder = served.cross_encoder
    if cross_encoder is None:
        return
    about = await served.about(identifier)
    image = await prepared(service, served, about, cross_encoder.model.preprocess)
    if image.from_thumbnail:
        raise DataError(f"the image {identifier} is gone or has changed", Reason.MISSING)
    await service.slow_queue.run(lambda: cross_encoder.keep(served.library, about.content, image.pixels))
