"""What clients send, made into vectors: texts, images as data URIs or uploads, ids, sums of them."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import DataError, LimitError, Reason
from diptych.core.protocols import Preprocess
from diptych.core.shapes import UInt8
from diptych.core.text import is_blank
from diptych.data.images import ImageLimits

from . import errors
from .decoding import WHAT_CAME, Decoded, DecoderPool
from .embedding import Embedder, Vector
from .errors import ServeError
from .fetching import Fetcher
from .libraries import ServedLibrary
from .schemas import MAX_TEXT, SearchRequest, SentImage, Term

T = TypeVar("T")

DATA_URI = "data:"
_HEAD = re.compile(r"data:([\w.+/-]*)((?:;[\w.+=-]*)*),", re.ASCII)
_NEARLY_ZERO = 1e-6


def from_data_uri(uri: str, limits: ImageLimits) -> bytes:
    """The bytes of a base64 data URI (RFC 2397), checked for size before they are decoded. Raises DataError."""
    head = _HEAD.match(uri)
    if head is None or not head[2].lower().endswith(";base64"):
        raise DataError("expected an image as data:image/…;base64,…", Reason.NOT_AN_IMAGE)
    limits.check_bytes((len(uri) - head.end()) * 3 // 4 - 2, WHAT_CAME)
    try:
        return base64.b64decode(uri[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError("the data URI is not valid base64", Reason.TRUNCATED) from error


def is_image(value: str) -> bool:
    """Whether what was sent where a text or an image may stand is an image: a data URI."""
    return value[: len(DATA_URI)].lower() == DATA_URI


def checked_text(text: str, most: int, what: str = "the text") -> str:
    """The text. Raises DataError when it is blank, LimitError when it is too long."""
    if is_blank(text):
        raise DataError(f"{what} is empty; expected words", Reason.EMPTY_TEXT)
    if len(text) > most:
        raise LimitError(f"{what} has {len(text):,} characters, the limit is {most:,}")
    return text


class Inputs:
    """Turns what was sent into vectors, within the limits."""

    def __init__(self, decoders: DecoderPool, limits: ImageLimits, fetcher: Fetcher | None) -> None:
        self._decoders, self._limits, self._fetcher = decoders, limits, fetcher

    async def decoded(self, data: bytes, embedder: Embedder, name: str = WHAT_CAME) -> Decoded:
        """An image, called `name` in messages, as the model wants it. Raises DataError."""
        return await self._decoders.decode(data, embedder.model.preprocess, name=name)

    async def image_vector(self, data: bytes, embedder: Embedder, name: str = WHAT_CAME) -> Vector:
        """The vector of an encoded image. Raises DataError."""
        return await embedder.image((await self.decoded(data, embedder, name)).pixels)

    async def preview(self, data: bytes, longest: int) -> bytes:
        """A fresh JPEG of an image. Raises DataError."""
        return (await self._decoders.decode(data, None, longest)).thumb

    async def text_or_image(self, value: str, embedder: Embedder, *, ask: bool = False) -> Vector:
        """The vector of a text (that may `ask` for others), or of an image when the text is a data URI."""
        if is_image(value):
            return await self.image_vector(from_data_uri(value, self._limits), embedder)
        (vector,) = await embedder.texts([checked_text(value, MAX_TEXT)], ask=ask)
        return vector

    async def all(self, values: Sequence[str], embedder: Embedder, what: str, *, ask: bool = False) -> list[Vector]:
        """The vectors of several. The first that is bad is named by its place."""
        made = (self.text_or_image(value, embedder, ask=ask) for value in values)
        found = await asyncio.gather(*made, return_exceptions=True)
        return [_needed(one, f"{what}[{place}]") for place, one in enumerate(found)]

    async def all_pixels(
        self, uris: Sequence[str], preprocess: Preprocess, what: str
    ) -> list[UInt8[np.ndarray, "hh ww 3"]]:
        """Images given as data URIs, as a model takes them. The first that is bad is named by its place."""

        async def decoded(uri: str) -> Decoded:
            return await self._decoders.decode(from_data_uri(uri, self._limits), preprocess)

        found = await asyncio.gather(*map(decoded, uris), return_exceptions=True)
        return [_needed(one, f"{what}[{place}]").pixels for place, one in enumerate(found)]

    async def sent_image(self, image: SentImage, served: ServedLibrary) -> Vector:
        """The vector of an image of a request: data, id or url."""
        _check_image(image)
        if image.id is not None:
            return await served.vector_of(image.id)
        return await self.image_vector(await self.image_bytes(image), served.embedder)

    async def image_bytes(self, image: SentImage) -> bytes:
        """The encoded bytes of an image given as data or url."""
        _check_image(image)
        if image.data is not None:
            return from_data_uri(image.data, self._limits)
        return await self._fetched(str(image.url))

    async def query(self, asked: SearchRequest, served: ServedLibrary) -> Vector:
        """The unit vector that a search looks for."""
        if asked.text is not None:
            (vector,) = await served.embedder.texts([checked_text(asked.text, 1_000, "the query")], ask=True)
            return vector
        if asked.image is not None:
            return await self.sent_image(asked.image, served)
        if asked.vector is not None:
            return _as_query(asked.vector, served.library.card.dim)
        return await self._sum(asked.terms or [], served)

    async def _sum(self, terms: Sequence[Term], served: ServedLibrary) -> Vector:
        vectors = await asyncio.gather(*(self._term(term, served) for term in terms))
        total = np.array([term.weight for term in terms]) @ np.stack(vectors).astype(np.float64)
        if not np.linalg.norm(total) > _NEARLY_ZERO:
            raise ServeError(422, "nothing_left", "the terms cancel each other out", "Change a weight.")
        return normalise(total)

    async def _term(self, term: Term, served: ServedLibrary) -> Vector:
        if (term.text is None) == (term.image is None):
            raise ServeError(422, "bad_request", "a term has either a text or an image")
        if term.image is not None:
            return await self.sent_image(term.image, served)
        (vector,) = await served.embedder.texts([checked_text(term.text or "", 1_000, "a term")], ask=True)
        return vector

    async def _fetched(self, url: str) -> bytes:
        if self._fetcher is None:
            raise ServeError(403, "fetching_is_off", "this server does not fetch addresses",
                             "Send the image itself, or start the server with --fetch-urls.")  # fmt: skip
        return await self._fetcher.fetch(url, self._limits.max_bytes)


def _needed(found: T | BaseException, what: str) -> T:
    """What was found; an error that the client made says where."""
    if isinstance(found, DataError | LimitError | ServeError):
        error = errors.of(found)
        raise ServeError(error.status, error.code, f"{what}: {error}", error.hint, error.retry_after)
    if isinstance(found, BaseException):
        raise found
    return found


def _check_image(image: SentImage) -> None:
    given = [name for name in ("data", "id", "url") if getattr(image, name) is not None]
    if len(given) != 1:
        raise ServeError(422, "bad_request", "an image has exactly one of data, id and url")


def one_of(asked: SearchRequest) -> None:
    """Raise ServeError unless exactly one kind of query is given."""
    given = [name for name in ("text", "image", "vector", "terms") if getattr(asked, name) is not None]
    if len(given) != 1:
        raise ServeError(
            422, "bad_request", f"found {' and '.join(given) or 'no query'}; expected one of text, image, vector, terms"
        )


def _as_query(values: Sequence[float], dim: int) -> Vector:
    vector = np.asarray(values, dtype=np.float64)
    if vector.shape != (dim,) or not vector.any():
        raise ServeError(422, "bad_vector", f"the vector has {len(values)} values; expected {dim}, not all zero")
    return normalise(vector / np.abs(vector).max())  # first, so that no square overflows or vanishes
