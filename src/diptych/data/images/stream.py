"""Many images, decoded and prepared in threads ahead of the consumer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diptych.core.batched import batched
from diptych.core.errors import ConfigError, DataError
from diptych.core.protocols import Preprocess
from diptych.core.shapes import UInt8
from diptych.core.threads import map_ahead
from diptych.core.types import BytesImage, Skipped
from diptych.data.cache import content_key
from diptych.data.image_inputs import DEFAULT_LIMITS, ImageInput, ImageLimits
from diptych.data.video import VideoImage

from .prepare import decode_for, prepare
from .sources import as_ref, name_of, read_bytes

Also = Callable[[UInt8[np.ndarray, "*f h w 3"]], Any]


@dataclass(frozen=True, slots=True)
class PixelBatch:
    """The next images of a stream. `indices`, `pixels` and `extras` run in parallel, in input order.

    `indices` are positions in the input; `extras` holds what `also` returned (None without it);
    `skipped` pairs the position of each unreadable image with the reason. Of a stream with `once`, `keys` has the
    key of the bytes of every image that was read, by position; those in `repeated`, and those that were known, were
    not decoded.
    """

    indices: list[int]
    pixels: UInt8[np.ndarray, "b hh ww 3"] = field(repr=False)
    extras: list[Any] = field(repr=False)
    skipped: list[tuple[int, Skipped]]
    keys: dict[int, bytes] = field(default_factory=dict, repr=False)
    repeated: list[int] = field(default_factory=list)


def stream(
    refs: Iterable[ImageInput],
    preprocess: Preprocess,
    *,
    batch_size: int = 32,
    workers: int = 2,
    limits: ImageLimits = DEFAULT_LIMITS,
    also: Also | None = None,
    once: bool = False,
    known: Container[bytes] = (),
) -> Iterator[PixelBatch]:
    """Batches of prepared pixels, each covering the next `batch_size` inputs (the last may be smaller).

    Up to two batches are decoded ahead in `workers` threads while the consumer works on one, so memory stays
    bounded and `refs` may be endless. A bad image lands in `skipped` and never raises. `also` runs in the
    worker on the decoded pixels; of a large JPEG it sees a reduced version (shorter side 256 pixels or more).
    With `once` the inputs must be encoded images: each is read once, and equal bytes are decoded once; those whose
    key is in `known` are not decoded at all.
    Closing the iterator stops the workers.

    Raises ConfigError for a batch size or worker count below 1; what `also` raises comes through.
    """
    if batch_size < 1 or workers < 1:
        raise ConfigError(f"batch_size and workers must be at least 1, found {batch_size} and {workers}")
    return _stream(refs, _Work(preprocess, limits, also, once, known), batch_size, workers)


@dataclass(frozen=True, slots=True)
class _Result:
    """What became of one image: it was prepared, skipped, or neither when its bytes came before or are known."""

    key: bytes = b""
    pixels: UInt8[np.ndarray, "hh ww 3"] | None = None
    extra: Any = None
    skipped: Skipped | None = None


@dataclass(frozen=True, slots=True)
class _Work:
    """What a worker does to one image."""

    preprocess: Preprocess
    limits: ImageLimits
    also: Also | None
    once: bool
    known: Container[bytes]
    _first: dict[bytes, object] = field(default_factory=dict)  # key -> a mark of the call that decodes these bytes

    def __call__(self, source: ImageInput) -> _Result:
        key, mark = b"", object()
        try:
            if self.once:
                ref = as_ref(source)
                if isinstance(ref, VideoImage):
                    key = content_key(ref.content())
                else:
                    data = read_bytes(ref, self.limits)
                    key, source = content_key(data), BytesImage(data, name_of(source))
                if key in self.known or self._first.setdefault(key, mark) is not mark:
                    return _Result(key)
            pixels = decode_for(source, self.preprocess, self.limits)
        except DataError as error:
            notes = tuple(getattr(error, "__notes__", ()))
            return _Result(key, skipped=Skipped(name_of(source), error.reason, str(error), notes))
        extra = None if self.also is None else self.also(pixels)
        return _Result(key, prepare(pixels, self.preprocess), extra)


def _stream(refs: Iterable[ImageInput], work: _Work, batch_size: int, workers: int) -> Iterator[PixelBatch]:
    # a batch for the consumer and two more under way
    results = map_ahead(work, refs, workers=workers, depth=3 * batch_size, name="decode")
    with contextlib.closing(results):  # type: ignore[type-var]  # a generator: stops the threads
        for finished in batched(enumerate(results), batch_size):
            yield _collect(finished, work.preprocess.shape)


def _collect(finished: list[tuple[int, _Result]], shape: tuple[int, int, int]) -> PixelBatch:
    good = [(index, result) for index, result in finished if result.pixels is not None]
    pixels = np.empty((len(good), *shape), dtype=np.uint8)
    for row, (_, result) in enumerate(good):
        pixels[row] = np.asarray(result.pixels)
    return PixelBatch(
        indices=[index for index, _ in good],
        pixels=pixels,
        extras=[result.extra for _, result in good],
        skipped=[(index, result.skipped) for index, result in finished if result.skipped is not None],
        keys={index: result.key for index, result in finished if result.key},
        repeated=[index for index, result in finished if result.pixels is None and result.skipped is None],
    )
