"""From the bytes of uploads to vectors and thumbnails."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import DataError, ModelError
from diptych.core.shapes import Float32, UInt8
from diptych.core.types import BytesImage, Skipped
from diptych.data.images import ImageLimits, decode_for, prepare, read_header, thumbnail
from diptych.library.encoder import Encoder
from diptych.library.items import NewItem, Prepared
from diptych.library.rendering.thumbnails import SIZE

_BATCH = 32  # pictures embedded at once


def embedded(pixels: UInt8[np.ndarray, "b s s 3"], encoder: Encoder) -> Float32[np.ndarray, "b d"]:
    """Unit vectors of prepared pixels. Raises ModelError when the model gives something else."""
    if not len(pixels):
        return np.empty((0, encoder.dim), dtype=np.float32)
    vectors = normalise(encoder.encode_pixels(pixels))
    if vectors.shape != (len(pixels), encoder.dim) or not np.isfinite(vectors).all():
        raise ModelError(
            f"model {encoder.name!r} gave vectors of shape {vectors.shape}, "
            f"{int((~np.isfinite(vectors)).sum())} values not finite; expected finite vectors of shape "
            f"{(len(pixels), encoder.dim)}; use another model"
        )
    return vectors


def prepare_all(
    items: Sequence[NewItem], encoder: Encoder | None, limits: ImageLimits
) -> tuple[dict[int, Prepared], tuple[Skipped, ...]]:
    """Position -> what is ready to be stored, in order; and the pictures that cannot be read, with the reason."""
    ready = {at: item.prepared for at, item in enumerate(items) if item.prepared is not None}
    skipped: list[Skipped] = []
    waiting: list[tuple[int, UInt8[np.ndarray, "s s 3"], bytes, tuple[int, int]]] = []
    for at, item in enumerate(items):
        if item.prepared is None and encoder is not None:
            name = item.name or f"picture {at + 1}"
            try:
                waiting.append((at, *_decoded(BytesImage(item.data, name), encoder, limits)))
            except DataError as error:
                skipped.append(Skipped(name, error.reason, str(error)))
        if encoder is not None and (len(waiting) == _BATCH or (at == len(items) - 1 and waiting)):
            vectors = embedded(np.stack([pixels for _, pixels, _, _ in waiting]), encoder)
            for (place, _, jpeg, (width, height)), vector in zip(waiting, vectors, strict=True):
                ready[place] = Prepared(vector, jpeg, width, height)
            waiting = []
    return dict(sorted(ready.items())), tuple(skipped)


def _decoded(
    image: BytesImage, encoder: Encoder, limits: ImageLimits
) -> tuple[UInt8[np.ndarray, "s s 3"], bytes, tuple[int, int]]:
    header = read_header(image, limits)
    pixels = decode_for(image, encoder.preprocess, limits)
    return (
        prepare(pixels, encoder.preprocess),
        thumbnail(pixels, SIZE),
        header.upright(is_wide=pixels.shape[1] > pixels.shape[0]),
    )
