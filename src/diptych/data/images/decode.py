"""Any image to RGB pixels, or a DataError that says why not.

Plain JPEG goes through libjpeg-turbo (simplejpeg), everything else through Pillow. The header is read
first; nothing is decoded that is larger than the limits.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
import PIL.Image
import simplejpeg
from PIL.ImageFile import ImageFile

from diptych.core.errors import DataError, Reason
from diptych.core.shapes import UInt8
from diptych.data.image_inputs import DEFAULT_LIMITS, EncodedImage, ImageInput, ImageLimits

from .formats import HEAD, OPENERS, check_whole, describe_bytes, sniff
from .pixels import QUARTER_TURNS, array_to_rgb, orientation, to_rgb, upright
from .raw import image_in, is_raw
from .sources import as_ref, open_stream, read_bytes

# A progressive JPEG has about ten scans; each one more visits every block again, so a small file could
# keep a decoder busy for hours.
_MAX_SCANS = 200
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # TIFF tags

_CUT_WORDS = ("truncat", "broken", "premature", "checksum", "end of file", "end of data", "not enough")
_SENTENCES = {
    Reason.TRUNCATED: "{name} ends early or is damaged ({kind}); fetch it again",
    Reason.TOO_LARGE: "{name} is too large to be decoded ({kind}); save it smaller",
    Reason.MALFORMED: "{name} cannot be decoded ({kind}); save it again with another program",
}
_CUT_ERRORS = (OSError, SyntaxError, EOFError, IndexError, struct.error)


def decode(
    source: ImageInput, limits: ImageLimits = DEFAULT_LIMITS, *, at_least: int | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """RGB pixels of the first frame: EXIF orientation applied, transparency on white; of a RAW file its embedded image.

    Greys of 16 bits come out as viewers show them (value / 257), float and 32-bit greys by their range.

    With `at_least` (pixels) a JPEG may come out at 1/2, 1/4 or another n/8 of its size, as long as its
    shorter side keeps that many pixels; this is several times faster for photos from a camera.

    Raises DataError with a Reason: missing, not_an_image, truncated, too_large, malformed or bad_aspect.
    """
    if isinstance(source, np.ndarray):
        if source.ndim in (2, 3):
            limits.check_size(source.shape[1], source.shape[0], "array")
        return array_to_rgb(source)
    if isinstance(source, PIL.Image.Image):
        limits.check_size(*source.size, "image")
        return _load(source, "image")
    ref = as_ref(source)
    return _decode_bytes(read_bytes(ref, limits), ref.name, limits, at_least)


def read_size(source: ImageInput, limits: ImageLimits = DEFAULT_LIMITS) -> tuple[int, int]:
    """(width, height) in pixels as stored, before any EXIF turn; encoded images: from the header only.

    Raises DataError as `decode` does, except for damage beyond the header.
    """
    if isinstance(source, np.ndarray):
        if source.ndim not in (2, 3):
            raise DataError(f"found an array of shape {source.shape}; expected an image", Reason.MALFORMED)
        limits.check_size(source.shape[1], source.shape[0], "array")
        return source.shape[1], source.shape[0]
    if isinstance(source, PIL.Image.Image):
        limits.check_size(*source.size, "image")
        return source.size
    header = read_header(source, limits)
    return header.width, header.height


@dataclass(frozen=True, slots=True)
class Header:
    """What an encoded image says before it is decoded: its size in pixels, as stored.

    `turned`: whether EXIF turns it by a quarter; None where only decoding tells.
    """

    width: int
    height: int
    turned: bool | None

    def upright(self, *, is_wide: bool) -> tuple[int, int]:
        """(width, height) of the whole image as it is shown; `is_wide`: whether its decoded pixels are."""
        turned = self.turned
        if turned is None:
            turned = (self.width > self.height) != is_wide
        return (self.height, self.width) if turned else (self.width, self.height)


def read_header(source: EncodedImage, limits: ImageLimits = DEFAULT_LIMITS) -> Header:
    """The header of an encoded image. Raises DataError as `decode` does, except for damage beyond it."""
    ref = as_ref(source)
    with open_stream(ref, limits) as stream, opened(stream, ref.name, limits) as image:
        return header_of(image)


def header_of(image: ImageFile) -> Header:
    """The header of an image that is open, not yet decoded."""
    # Only a JPEG is ever decoded to fewer pixels than it has, so that its shape might no longer tell.
    turned = orientation(image) in QUARTER_TURNS if image.format == "JPEG" else None
    return Header(*image.size, turned)


def _decode_bytes(data: bytes, name: str, limits: ImageLimits, at_least: int | None) -> UInt8[np.ndarray, "h w 3"]:
    if is_raw(io.BytesIO(data)):
        data = image_in(data, name, limits)
    with opened(io.BytesIO(data), name, limits) as image:
        if image.format == "JPEG":
            _check_scans(data, image, name)
            pixels = _decode_jpeg(data, image, name, at_least)
            if pixels is not None:
                return upright(pixels, orientation(image))
            if at_least is not None:
                image.draft(None, (at_least, at_least))
        return _load(image, name)


def _decode_jpeg(data: bytes, image: ImageFile, name: str, at_least: int | None) -> UInt8[np.ndarray, "h w 3"] | None:
    """The pixels by libjpeg-turbo; None for a file that Pillow has to decode."""
    if image.mode not in ("RGB", "L"):
        return None
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        if (width, height) != image.size:  # two headers: believe the one whose limits were checked
            return None
        floor = at_least or 0
        pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=floor, min_width=floor)
    except ValueError as error:
        if "remature end" in str(error):  # Pillow would let a cut file pass if it ends with an end marker
            raise _refused(name, "JPEG", error, Reason.TRUNCATED) from error
        return None
    except MemoryError as error:
        raise _refused(name, "JPEG", error, Reason.TOO_LARGE) from error
    return np.asarray(pixels, dtype=np.uint8)


def _check_scans(data: bytes, image: ImageFile, name: str) -> None:
    # inside compressed data every 0xFF is followed by 0x00 or a restart marker, so this counts scan headers
    if image.info.get("progressive") and data.count(b"\xff\xda") > _MAX_SCANS:
        raise DataError(f"{name} is a JPEG of more than {_MAX_SCANS} scans, slow to decode", Reason.MALFORMED)


@contextlib.contextmanager
def opened(stream: IO[bytes], name: str, limits: ImageLimits) -> Iterator[ImageFile]:
    """The image with its header read and its limits checked, not yet decoded; of a RAW file the one that it holds."""
    head = stream.read(HEAD)
    stream.seek(0)
    kind = sniff(head)
    if is_raw(stream):
        stream = io.BytesIO(image_in(stream.read(limits.max_bytes + 1), name, limits))
        head = stream.getvalue()[:HEAD]
        kind = sniff(head)
    if kind is None or kind not in OPENERS:
        refused = DataError(f"{name} is not an image: {describe_bytes(head)}", Reason.NOT_AN_IMAGE)
        refused.add_note(f"its first bytes: {head!r}; expected {', '.join(OPENERS)}")  # shown with --debug
        raise refused
    check_whole(kind, stream, name)
    with _translated(name, kind, opening=True):
        image = OPENERS[kind](stream)
    with image:
        limits.check_size(*image.size, name)
        if kind == "TIFF":
            _check_tiles(image, limits, name)
        yield image


def _check_tiles(image: ImageFile, limits: ImageLimits, name: str) -> None:
    """A tile is decoded whole, even when the image is a corner of it."""
    tags = getattr(image, "tag_v2", {})
    width, length = tags.get(_TILE_WIDTH), tags.get(_TILE_LENGTH)
    if isinstance(width, int) and isinstance(length, int) and width > 0 and length > 0:
        limits.check_size(width, length, f"a tile of {name}")


def _load(image: PIL.Image.Image, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Decode fully (`verify()` would pass a cut JPEG) and put upright."""
    with _translated(name, image.format or "image", opening=False):
        image.load()
    with _translated(name, image.format or "image", opening=True):
        pixels = to_rgb(image)
    return upright(pixels, orientation(image))


@contextlib.contextmanager
def _translated(name: str, kind: str, *, opening: bool) -> Iterator[None]:
    """Turn whatever a decoder raises on bad bytes into a DataError."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{name}: {error}", error.reason) from error
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning, MemoryError) as error:
        raise _refused(name, kind, error, Reason.TOO_LARGE) from error
    # Pillow's own fuzzers expect OSError, SyntaxError, ValueError, OverflowError, NotImplementedError
    # and the three above; plugins add struct.error, zlib.error, EOFError, TypeError and more.
    except Exception as error:
        cut = any(word in str(error).lower() for word in _CUT_WORDS)
        cut = cut or (not opening and isinstance(error, _CUT_ERRORS))
        raise _refused(name, kind, error, Reason.TRUNCATED if cut else Reason.MALFORMED) from error


def _refused(name: str, kind: str, error: Exception, reason: Reason) -> DataError:
    """An error that says what happened in a sentence; the decoder's own message is a note, which --debug shows."""
    refused = DataError(_SENTENCES.get(reason, _SENTENCES[Reason.MALFORMED]).format(name=name, kind=kind), reason)
    refused.add_note(f"the decoder said: {str(error) or type(error).__name__}")
    return refused
