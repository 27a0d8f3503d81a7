"""Turns images into the input of a tower, and into thumbnails. Equal bytes give equal pixels, whatever the source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import simplejpeg

from diptych.core.protocols import Preprocess
from diptych.core.shapes import UInt8
from diptych.core.types import ImageRef
from diptych.data.image_inputs import DEFAULT_LIMITS, EncodedImage, ImageInput, ImageLimits
from diptych.data.sounds import probe, spectrogram
from diptych.data.video import VideoImage

from .decode import Header, decode
from .patches import fitted, pack
from .photo import Photo, read_beginning
from .sources import as_ref, read_bytes

_REDUCING_GAP = 2.0  # shrink by whole steps first, down to twice the target; the rest is filtered
_THUMBNAIL_QUALITY = 85  # JPEG quality, 0..100


# A JPEG is decoded to at least this many times the tower's size. At 1 the pixels of a detailed photo differ
# from those of a full decode by 2.3 grey levels on average, at 2 by 0.4, for a quarter more time.
_SPARE = 2
SPARE_PIXELS = 256  # in the shorter side, at least, where the file has them: enough for a thumbnail too


def prepare(pixels: UInt8[np.ndarray, "*f h w 3"], preprocess: Preprocess) -> UInt8[np.ndarray, "hh ww 3"]:
    """An array of `preprocess.shape`, made as `Preprocess` says, by an antialiased filter and in one step.

    `pixels` are of an image or, where several frames are wanted, may be of so many frames. Pixels that have the right
    size already are handed back untouched. A sound's spectrogram is cut, or black behind its end.
    """
    if preprocess.is_of_sounds:
        return np.pad(pixels[:, : preprocess.size], ((0, 0), (0, max(0, preprocess.size - pixels.shape[1])), (0, 0)))
    if preprocess.frames > 1:
        shown = pixels if pixels.ndim == 4 else pixels[np.newaxis]
        made = [prepare(frame, preprocess.of_frame) for frame in shown]
        return np.concatenate(made if pixels.ndim == 4 else made * preprocess.frames)
    height, width = pixels.shape[:2]
    size = preprocess.size
    if preprocess.mode == "patches":
        rows, columns = fitted(height, width, preprocess)
        return pack(_filtered(pixels, (rows * preprocess.patch, columns * preprocess.patch), preprocess), preprocess)
    if preprocess.mode == "crop":
        side = min(width, height)
        if (height, width) == (size, size):
            return pixels
        box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
        return _filtered(pixels, (size, size), preprocess, box)
    return _cut(_filtered(pixels, _resized_sides(height, width, preprocess), preprocess), preprocess)


def _resized_sides(height: int, width: int, preprocess: Preprocess) -> tuple[int, int]:
    """Rows and columns of the image after resizing, rounded as torchvision and timm do it."""
    target = preprocess.resize or preprocess.size
    if preprocess.mode == "shortest":
        short, long = sorted((height, width))
        longer = int(target * long / short)
        return (target, longer) if height <= width else (longer, target)
    if preprocess.mode == "longest":
        ratio = max(height, width) / target
        return max(1, round(height / ratio)), max(1, round(width / ratio))
    return target, target


def _cut(pixels: UInt8[np.ndarray, "h w 3"], preprocess: Preprocess) -> UInt8[np.ndarray, "s s 3"]:
    """The central square, padded where a side is shorter."""
    size, (height, width) = preprocess.size, pixels.shape[:2]
    if (height, width) == (size, size):
        return pixels
    top, left = (_margin(side - size, preprocess.rounding) for side in (height, width))
    shown = pixels[top : top + size, left : left + size]
    square = np.empty((size, size, 3), dtype=np.uint8)
    square[:] = preprocess.fill
    height, width = shown.shape[:2]
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = shown
    return square


def _margin(spare: int, rounding: str) -> int:
    """Pixels to cut off on the upper or the left side, of those that a side has to spare."""
    return max(0, spare // 2 if rounding == "down" else round(spare / 2))


def _filtered(
    pixels: UInt8[np.ndarray, "h w 3"],
    sides: tuple[int, int],
    preprocess: Preprocess,
    box: tuple[float, float, float, float] | None = None,
) -> UInt8[np.ndarray, "hh ww 3"]:
    """Resized to these rows and columns, unless it has them already."""
    height, width = sides
    if sides == pixels.shape[:2]:
        return pixels
    gap = None if preprocess.exact else _REDUCING_GAP
    return resized(
        pixels, width, height, box, interpolation=preprocess.interpolation, reducing_gap=gap,
        width_first=preprocess.width_first,
    )  # fmt: skip


def thumbnail(pixels: UInt8[np.ndarray, "h w 3"], longest: int = 256) -> bytes:
    """A fresh JPEG, longer side at most `longest` pixels: no metadata, nothing else of the original file."""
    height, width = pixels.shape[:2]
    scale = min(1.0, longest / max(height, width))
    if scale < 1.0:
        pixels = resized(pixels, max(1, round(width * scale)), max(1, round(height * scale)))
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=_THUMBNAIL_QUALITY)
    return encoded


def resized(
    pixels: UInt8[np.ndarray, "h w 3"],
    width: int,
    height: int,
    box: tuple[float, float, float, float] | None = None,
    *,
    interpolation: str = "bicubic",
    reducing_gap: float | None = _REDUCING_GAP,
    width_first: bool = False,
) -> UInt8[np.ndarray, "hh ww 3"]:
    """Resize with an antialiased filter; `box` is the part of the image to take (left, top, right, bottom).

    With a `reducing_gap`, large images are first reduced by whole factors, down to that many times the target.
    `width_first` is that of `Preprocess`.
    """
    image = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    filtering = PIL.Image.Resampling[interpolation.upper()]
    if width_first:
        left, top, right, bottom = box or (0, 0, *image.size)
        image = image.resize((width, image.height), filtering, (left, 0, right, image.height), reducing_gap)
        box = (0, top, width, bottom)
    return np.array(image.resize((width, height), filtering, box, reducing_gap))


def decode_for(
    source: ImageInput, preprocess: Preprocess, limits: ImageLimits = DEFAULT_LIMITS
) -> UInt8[np.ndarray, "*f h w 3"]:
    """The decoded pixels that `prepare` takes; of a large JPEG a reduced version, its shorter side 256 or more.

    Where the preprocessing is to be exact, the whole image. Of a video, as many frames as the preprocessing wants: one
    (h, w, 3), in its middle, or several (f, h, w, 3). Raises DataError as `decode` does, or as `VideoImage.frames`.
    Of a sound, the spectrogram as far as it is read; not_a_sound for anything else.
    """
    if preprocess.is_of_sounds:
        ref = as_ref(source)
        return spectrogram(read_bytes(ref, limits), ref.name, preprocess.size)
    if isinstance(source, str | Path | ImageRef):
        source = as_ref(source)
    if isinstance(source, VideoImage):
        clip = source.clip(preprocess.frames)
        return clip if preprocess.frames > 1 else clip[0]
    if preprocess.exact:
        return decode(source, limits)
    return decode(source, limits, at_least=max(_SPARE * preprocess.size, SPARE_PIXELS))


def beginning_for(
    source: EncodedImage, preprocess: Preprocess, limits: ImageLimits = DEFAULT_LIMITS
) -> tuple[Header, Photo | None]:
    """What an encoded image, or a sound, says before it is decoded: a sound is as wide as it has frames of 10 ms.

    Of an image also what it says about itself, for which it is not opened again.
    """
    if not preprocess.is_of_sounds:
        return read_beginning(source, limits)
    ref = as_ref(source)
    return Header(probe(read_bytes(ref, limits), ref.name).frames, preprocess.shape[0], False), None


def prepared(
    source: ImageInput, preprocess: Preprocess, limits: ImageLimits = DEFAULT_LIMITS
) -> UInt8[np.ndarray, "hh ww 3"]:
    """The pixels that a tower takes, as indexing, uploads, queries, evaluation and explanations make them."""
    return prepare(decode_for(source, preprocess, limits), preprocess)
