"""The first bytes of a file: which format it has, who opens it, whether it is whole, and what it is if no image.

Nothing but these formats is ever tried. The plugins are called directly, not through `PIL.Image.open`: that function
tries EPS, FITS and forty more, hides why a file was refused, and has one process-wide size limit that only warns.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable
from typing import IO

from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from diptych.core.errors import DataError, Reason

HEAD = 64  # first bytes, enough to recognise a format

_BMP_HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}
_AVIF_BRANDS = {b"avif", b"avis"}
# RAW files that are no TIFF: of Fuji, Panasonic and Leica, Olympus, Minolta, Sigma, older Canon
_RAW = (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"\0MRM", b"FOVb", b"II\x1a\0\0\0HEAPCCDR")
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
    if head.startswith(_RAW) or head[8:11] == b"CR\x02":
        return "RAW"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    # "BM" alone would also take a text that begins with BMW
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    if head[4:8] == b"ftyp":
        return _sniff_boxes(head)
    return None


def _sniff_boxes(head: bytes) -> str | None:
    """HEIF, AVIF and CR3 share a container: the brands in its first box say which it is."""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12]} | {head[at : at + 4] for at in range(16, length - 3, 4)}
    if b"crx " in brands:  # of Canon, CR3
        return "RAW"
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


class _JpegFile(JpegImagePlugin.JpegImageFile):
    """Read without its EXIF, which Pillow reads for the dots per inch before anybody could look at its size."""

    def _read_dpi_from_exif(self) -> None:
        pass


OPENERS: dict[str, Callable[[IO[bytes]], ImageFile]] = {
    "JPEG": _JpegFile,
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "AVIF": _open_avif,
    "HEIF": _open_heif,
}


def check_whole(kind: str, stream: IO[bytes], name: str) -> None:
    """Raise DataError(truncated) when a WebP, AVIF or HEIF file ends early; rewinds the stream."""
    if kind not in ("WEBP", "AVIF", "HEIF"):
        return
    found = stream.seek(0, io.SEEK_END)
    stated = _riff_length(stream) if kind == "WEBP" else _boxes_length(stream, found)
    stream.seek(0)
    if found < stated:
        message = f"{name} is cut: it has {found} bytes, its {kind} container says {stated}; fetch it again"
        raise DataError(message, Reason.TRUNCATED)


def _riff_length(stream: IO[bytes]) -> int:
    stream.seek(4)
    return int.from_bytes(stream.read(4), "little") + 8


def _boxes_length(stream: IO[bytes], found: int) -> int:
    """Where the last of the top-level boxes ends (ISO/IEC 14496-12, section 4.2)."""
    at = 0
    while at + 8 <= found:
        stream.seek(at)
        length = int.from_bytes(stream.read(4), "big")
        if length == 1:  # a 64-bit length follows the box's name
            stream.seek(4, io.SEEK_CUR)
            length = int.from_bytes(stream.read(8), "big")
        if length < 8:  # 0: to the end of the file; else not a box at all, the decoder will complain
            return found
        at += length
    return at


# The first bytes and what people call such a file. Longer beginnings stand before those that they begin with.
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer instead of the file; run: git lfs pull"),
    (b"%PDF", "a PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "a compressed archive"),
    (b"BZh", "a compressed archive"),
    (b"\xfd7zXZ", "a compressed archive"),
    (b"7z\xbc\xaf\x27\x1c", "a compressed archive"),
    (b"Rar!", "a compressed archive"),
    (b"SIMPLE  =", "a FITS image"),
    (b"8BPS", "a Photoshop image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\0\0\x01\0", "an icon"),
    (b"\x1a\x45\xdf\xa3", "a video"),
    (b"OggS", "sound or a video"),
    (b"ID3", "sound"),
    (b"fLaC", "sound"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)
_RIFF = {b"AVI ": "a video", b"WAVE": "sound"}
_MARKUP = ((b"<svg", "an SVG file"), (b"<!doctype html", "a web page"), (b"<html", "a web page"))


def describe_bytes(head: bytes) -> str:
    """What a file with these first bytes is, as the second half of a sentence."""
    return f"it holds {_content(head)}" if head else "it is empty"


def _content(head: bytes) -> str:
    for beginning, what in _BEGINNINGS:
        if head.startswith(beginning):
            return what
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12], "data of an unknown kind")
    if head[4:8] == b"ftyp":
        return "a video or sound"
    return _text(head)


def _text(head: bytes) -> str:
    if not head.strip(b"\0"):
        return "only zeros, as after a copy that broke off"
    lowered = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    for beginning, what in _MARKUP:
        if lowered.startswith(beginning) or (lowered.startswith(b"<?xml") and beginning in lowered):
            return what
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "text"
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # a letter may be cut at the end
    except UnicodeDecodeError:
        return "data of an unknown kind"
    return "text" if all(letter.isprintable() or letter.isspace() for letter in text) else "data of an unknown kind"
