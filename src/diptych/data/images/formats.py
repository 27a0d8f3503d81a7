"""Which formats are read, told by their first bytes, and who opens each. Nothing else is ever tried.

The plugins are called directly, not through `PIL.Image.open`: that function tries EPS, FITS and forty more,
hides why a file was refused, and has one process-wide size limit that only warns at first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

from diptych.core.errors import DataError, Reason

HEAD = 64  # bytes that are enough to tell a format

_BMP_HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def sniff(head: bytes) -> str | None:
    """The format that the first bytes announce, or None when it is none of ours."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    # "BM" alone would also take a text that begins with BMW
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    if head[4:8] == b"ftyp":
        return _sniff_boxes(head)
    return None


def _sniff_boxes(head: bytes) -> str | None:
    """HEIF and AVIF share a container: the brands in its first box tell them apart."""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12]} | {head[at : at + 4] for at in range(16, length - 3, 4)}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIF" if brands & _HEIF_BRANDS else None


def _open_avif(stream: IO[bytes]) -> ImageFile:
    try:
        from PIL import AvifImagePlugin
    except ImportError as error:
        raise DataError("AVIF needs: pip install 'pillow>=11.3'", Reason.NOT_AN_IMAGE) from error
    if not AvifImagePlugin.SUPPORTED:
        raise DataError("this build of Pillow cannot read AVIF", Reason.NOT_AN_IMAGE)
    return AvifImagePlugin.AvifImageFile(stream)


def _open_heif(stream: IO[bytes]) -> ImageFile:
    try:
        from pillow_heif.as_plugin import HeifImageFile
    except ImportError as error:
        raise DataError("HEIC needs: pip install 'diptych[heif]'", Reason.NOT_AN_IMAGE) from error
    image: ImageFile = HeifImageFile(stream)
    return image


OPENERS: dict[str, Callable[[IO[bytes]], ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "AVIF": _open_avif,
    "HEIF": _open_heif,
}
