"""From the bytes of uploads to vectors and thumbnails."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import UInt8
from diptych.core.types import BytesImage, Skipped
from diptych.data.images import ImageLimits, Photo, beginning_for, decode_for, prepare, thumbnail
from diptych.library.rendering.thumbnails import SIZE

from .embedding import embedded
from .encoder import Encoder
from .items import NewItem, Prepared

_BATCH = 32  # images embedded at once


def prepare_all(
    items: Sequence[NewItem], encoder: Encoder | None, limits: ImageLimits
) -> tuple[dict[int, Prepared], tuple[Skipped, ...]]:
    """Position -> what is ready to be stored, in order; and the images that cannot be read, with the reason."""
    ready = {at: item.prepared for at, item in enumerate(items) if item.prepared is not None}
    skipped: list[Skipped] = []
    waiting: list[tuple[int, UInt8[np.ndarray, "hh ww 3"], bytes, tuple[int, int], Photo]] = []
    for at, item in enumerate(items):
        if item.prepared is None and encoder is not None:
            name = item.name or f"image {at + 1}"
            try:
                waiting.append((at, *_decoded(BytesImage(item.data, name), encoder, limits)))
            except DataError as error:
                skipped.append(Skipped(name, error.reason, str(error)))
        if encoder is not None and (len(waiting) == _BATCH or (at == len(items) - 1 and waiting)):
            vectors = embedded(np.stack([pixels for _, pixels, *_ in waiting]), encoder)
            for (place, _, jpeg, (width, height), photo), vector in zip(waiting, vectors, strict=True):
                ready[place] = Prepared(vector, jpeg, width, height, photo)
            waiting = []
    return dict(sorted(ready.items())), tuple(skipped)


def _decoded(
    image: BytesImage, encoder: Encoder, limits: ImageLimits
) -> tuple[UInt8[np.ndarray, "hh ww 3"], bytes, tuple[int, int], Photo]:
    header, photo = beginning_for(image, encoder.preprocess, limits)
    pixels = decode_for(image, encoder.preprocess, limits)
    return (
        prepare(pixels, encoder.preprocess),
        thumbnail(pixels, SIZE),
        header.upright(is_wide=pixels.shape[1] > pixels.shape[0]),
        photo or Photo(),
    )
