"""Where an image comes from: a path, encoded bytes, a tar member, a part of a video, or pixels in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from diptych.core.errors import DataError, Reason
from diptych.core.types import BytesImage, FileImage, ImageRef, TarImage
from diptych.data.image_inputs import ImageInput, ImageLimits
from diptych.data.video import SUFFIXES as VIDEO_SUFFIXES
from diptych.data.video import VideoImage


def as_ref(source: ImageInput) -> ImageRef:
    """The reference for a path (of an image or a video), encoded bytes, or a reference itself."""
    if isinstance(source, ImageRef):
        return source
    if isinstance(source, bytes):
        return BytesImage(source)
    if isinstance(source, str | Path):
        return VideoImage(Path(source)) if is_video(source) else FileImage(Path(source))
    raise DataError(
        f"found {type(source).__name__} where an image was expected; "
        "give a path, encoded bytes, an ImageRef, a PIL image or a NumPy array",
        Reason.NOT_AN_IMAGE,
    )


def is_video(source: object) -> bool:
    """Whether this is a video: a part of one, or a path that ends as its files do."""
    if isinstance(source, str | Path):
        return Path(source).suffix.lower() in VIDEO_SUFFIXES
    return isinstance(source, VideoImage)


def name_of(source: object) -> str:
    """What a person would call this image in a message."""
    if isinstance(source, str | Path):
        return str(source)
    return source.name if isinstance(source, ImageRef) else "image"


@contextlib.contextmanager
def open_stream(ref: ImageRef, limits: ImageLimits) -> Iterator[IO[bytes]]:
    """The encoded bytes as a seekable stream, its stated length checked.

    Raises DataError: missing, not_an_image (a folder, pipe or device) or too_large.
    """
    limits.check_bytes(ref.stated_bytes() or 0, ref.name)
    with ref.open() as stream:
        try:
            yield stream
        except OSError as error:
            raise DataError(f"cannot read {ref.name}: {error.strerror or error}", Reason.MISSING) from error


def read_bytes(ref: ImageRef, limits: ImageLimits) -> bytes:
    """The encoded bytes, never more than `limits.max_bytes` of them.

    Raises DataError as `open_stream` does, and truncated when the tar around the image is cut.
    """
    with open_stream(ref, limits) as stream:
        data = stream.read(limits.max_bytes + 1)
    limits.check_bytes(len(data), ref.name)  # the file may have grown meanwhile
    if isinstance(ref, TarImage) and len(data) < ref.size:
        message = f"{ref.name} has {len(data)} of its {ref.size} bytes; the tar is cut, fetch it again"
        raise DataError(message, Reason.TRUNCATED)
    return data
