"""What a photo says about itself: when and where it was taken, with what, its title, rating and keywords.

It is read from EXIF, XMP and IPTC, in this order: the first that says something is taken; keywords are those of all.
Nothing is guessed. A date without a zone stays without one. The date of a scan or of an edit is not taken.
A value that cannot be right is left out and named, and the image is as good as any other.

References: CIPA DC-008 (Exif 3.0); Adobe, XMP Specification Part 2; IPTC-IIM 4.2.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import PIL.Image
from PIL.ImageFile import ImageFile
from PIL.IptcImagePlugin import getiptcinfo

from diptych.core.text import plain
from diptych.data.image_inputs import DEFAULT_LIMITS, EncodedImage, ImageLimits

from .decode import Header, header_of, opened
from .exif_blocks import EXIF, GPS, block_of, is_bomb, is_cut
from .raw import is_raw
from .sources import as_ref, read_bytes

MOST_CHARACTERS = 200  # of a title, or of a camera's or a lens's name
MOST_KEYWORDS, MOST_KEYWORD = 100, 100  # keywords of an image, characters of one
_MOST_XMP = 1_000_000  # bytes
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_XMP, _DC = "{http://ns.adobe.com/xap/1.0/}", "{http://purl.org/dc/elements/1.1/}"
_X_EXIF, _X_TIFF = "{http://ns.adobe.com/exif/1.0/}", "{http://ns.adobe.com/tiff/1.0/}"
_AUX, _EXIF_EX = "{http://ns.adobe.com/exif/1.0/aux/}", "{http://cipa.jp/exif/1.0/}"
_PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"
_MAKE, _MODEL, _RATING, _XP_TITLE, _XP_KEYWORDS = 0x010F, 0x0110, 0x4746, 0x9C9B, 0x9C9E  # of the first directory
_TAKEN, _ZONE, _FRACTION, _LENS = 0x9003, 0x9011, 0x9291, 0xA434  # of the EXIF directory
_MOST_ZONE = 1400  # hours and minutes from UTC
_DATE = re.compile(
    r"(\d{4})(?:[-:]?(\d\d)(?:[-:]?(\d\d)(?:[T ]?(\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d{1,9})\d*)?)?)?)?)?"
    r"\s*(Z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
_YEARS = range(1700, 2200)  # nanoseconds from 1970 to any of them fit into 64 bits
_DEGREES = re.compile(r"(\d{1,3}),(\d{1,2}(?:\.\d{1,12})?)(?:,(\d{1,2}(?:\.\d{1,12})?))?([NSEW])", re.ASCII)

# What is left out, in the words of a report.
BLOCKS = {"exif": "EXIF that cannot be read", "xmp": "XMP that cannot be read", "iptc": "IPTC that cannot be read"}
BOMB = "EXIF whose entries point at more bytes than it has"
CUT = "EXIF that ends early, what is behind its end"
BAD_DATE, BAD_ZONE = "a date that is none", "a zone that is none"
BAD_PLACE, BAD_RATING = "a place that is none on earth", "a rating other than -1 to 5"
LONG = f"a text, cut at {MOST_CHARACTERS} characters"
MANY = f"keywords beyond {MOST_KEYWORDS}, or cut at {MOST_KEYWORD} characters"


@dataclass(frozen=True, slots=True)
class Photo:
    """What a photo says, JSON-ready, and what of it was left out, in words.

    `said` has only those keys that the photo speaks of: `taken` (ISO 8601 as its clock showed it, as exact as it is
    written), `taken_zone` ("+02:00"), `camera`, `lens`, `latitude` and `longitude` (degrees, WGS 84), `rating` (-1 to
    5; -1 is rejected), `title`, `keywords` (a list).
    """

    said: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def read_photo(source: EncodedImage, limits: ImageLimits = DEFAULT_LIMITS) -> Photo:
    """What an encoded image says about itself; nothing is decoded. Raises DataError as `read_beginning`."""
    return read_beginning(source, limits)[1]


def read_beginning(source: EncodedImage, limits: ImageLimits = DEFAULT_LIMITS) -> tuple[Header, Photo]:
    """The header of an encoded image and what it says about itself; it is opened once, and nothing is decoded.

    Raises DataError as `read_header` does, for what is no image; never for what is written beside the pixels.
    """
    ref = as_ref(source)
    data = read_bytes(ref, limits)
    with opened(io.BytesIO(data), ref.name, limits) as image:
        return header_of(image), _Reading(image, data).photo()


class _Reading:
    """One image, its blocks read as far as they can be."""

    def __init__(self, image: ImageFile, data: bytes) -> None:
        self._left_out: list[str] = []
        self._exif: Mapping[int, Any] = {}
        self._inner: Mapping[int, Any] = {}  # the EXIF directory inside
        self._gps: Mapping[int, Any] = {}
        self._xmp: dict[str, list[str]] = {}
        self._iptc: Mapping[Any, Any] = {}
        for kind, read in (("exif", self._read_exif), ("xmp", self._read_xmp), ("iptc", self._read_iptc)):
            try:
                read(image, data)
            except Exception:  # Pillow and the parser raise whatever the bytes made them stumble over
                self._left_out.append(BLOCKS[kind])

    def photo(self) -> Photo:
        """All facts."""
        said: dict[str, Any] = {}
        for facts in (self._when(), self._with_what(), self._where(), self._described()):
            said |= {key: value for key, value in facts.items() if value is not None and value != []}
        return Photo(said, tuple(dict.fromkeys(self._left_out)))

    # -- blocks ------------------------------------------------------------------------------------

    def _read_exif(self, image: ImageFile, data: bytes) -> None:
        if data.startswith((b"II*\0", b"MM\0*")) and is_raw(io.BytesIO(data)):
            self._read_exif_of_raw(data)
            return
        if is_bomb(block_of(image) or (data if image.format == "TIFF" else b"")):
            self._left_out.append(BOMB)
            return
        if is_cut(block_of(image)):
            self._left_out.append(CUT)
        # a PNG's own method would decode the image, to find what stands behind its pixels
        exif = super(type(image), image).getexif() if image.format == "PNG" else image.getexif()
        self._exif = dict(exif)
        self._inner, self._gps = exif.get_ifd(EXIF), exif.get_ifd(GPS)

    def _read_exif_of_raw(self, data: bytes) -> None:
        """Of a RAW file that is a TIFF: its own, which says more than that of the image inside."""
        if is_bomb(data):
            self._left_out.append(BOMB)
            return
        exif = PIL.Image.Exif()
        exif.load(data)
        self._exif, self._inner, self._gps = dict(exif), exif.get_ifd(EXIF), exif.get_ifd(GPS)

    def _read_xmp(self, image: ImageFile, data: bytes) -> None:
        from defusedxml.ElementTree import fromstring

        block = image.info.get("xmp") or b""
        block = block.encode() if isinstance(block, str) else bytes(block)
        block = block.rstrip(b"\0 \n\r\t")
        if len(block) > _MOST_XMP:
            raise ValueError("too long")
        if not block:
            return
        for node in fromstring(block, forbid_dtd=True).iter(f"{_RDF}Description"):
            for name, value in node.attrib.items():
                self._xmp.setdefault(name, [value])
            for child in node:
                listed = [one.text or "" for one in child.iter(f"{_RDF}li")]
                self._xmp.setdefault(child.tag, listed or [child.text or ""])

    def _read_iptc(self, image: ImageFile, data: bytes) -> None:
        self._iptc = getiptcinfo(image) or {}

    # -- facts -------------------------------------------------------------------------------------

    def _when(self) -> dict[str, Any]:
        candidates = (
            (_text(self._inner.get(_TAKEN)), _text(self._inner.get(_ZONE)), _text(self._inner.get(_FRACTION))),
            (self._of_xmp(f"{_X_EXIF}DateTimeOriginal"), "", ""),
            (self._of_xmp(f"{_PHOTOSHOP}DateCreated"), "", ""),
            (f"{self._of_iptc(2, 55)} {self._of_iptc(2, 60)}".strip(), "", ""),
        )
        for written, zone, fraction in candidates:
            if not written.strip(" :"):  # as cameras write that they do not know it
                continue
            found = _moment(written, fraction)
            if found is None:
                self._left_out.append(BAD_DATE)
                continue
            taken, own_zone = found
            zone = own_zone or zone
            shown = _zone(zone)
            if zone and shown is None:
                self._left_out.append(BAD_ZONE)
            return {"taken": taken, "taken_zone": shown}
        return {}

    def _with_what(self) -> dict[str, Any]:
        make = self._short(_text(self._exif.get(_MAKE)) or self._of_xmp(f"{_X_TIFF}Make"))
        model = self._short(_text(self._exif.get(_MODEL)) or self._of_xmp(f"{_X_TIFF}Model"))
        first = [name.split()[0].casefold() if name else "" for name in (make, model)]
        camera = model if first[0] == first[1] or not make else f"{make} {model}".strip()
        lens = _text(self._inner.get(_LENS)) or self._of_xmp(f"{_EXIF_EX}LensModel") or self._of_xmp(f"{_AUX}Lens")
        return {"camera": self._short(camera) or None, "lens": self._short(lens) or None}

    def _where(self) -> dict[str, Any]:
        written = [self._gps.get(tag) for tag in (2, 4)]
        if any(part is not None for part in written):
            found = [_degrees(self._gps.get(at), self._gps.get(at - 1)) for at in (2, 4)]
        else:
            texts = [self._of_xmp(f"{_X_EXIF}{name}") for name in ("GPSLatitude", "GPSLongitude")]
            if not any(texts):
                return {}
            found = [_written_degrees(text) for text in texts]
        latitude, longitude = found
        if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
            self._left_out.append(BAD_PLACE)
            return {}
        return {"latitude": round(latitude, 7), "longitude": round(longitude, 7)}

    def _described(self) -> dict[str, Any]:
        title = self._of_xmp(f"{_DC}title") or self._of_iptc(2, 5) or _wide(self._exif.get(_XP_TITLE))
        return {"rating": self._rating(), "title": self._short(title) or None, "keywords": self._keywords()}

    def _rating(self) -> int | None:
        written = self._of_xmp(f"{_XMP}Rating") or self._exif.get(_RATING)
        if written is None:
            return None
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            if -1 <= float(written) <= 5 and float(written).is_integer():
                return int(float(written))
        self._left_out.append(BAD_RATING)
        return None

    def _keywords(self) -> list[str]:
        found: dict[str, None] = {}
        for word in self._all_keywords():
            if len(found) == MOST_KEYWORDS and word not in found:
                self._left_out.append(MANY)
                break
            found[self._short(word, MOST_KEYWORD, MANY)] = None
        found.pop("", None)
        return list(found)

    def _all_keywords(self) -> Iterator[str]:
        yield from map(_text, self._xmp.get(f"{_DC}subject", []))
        listed = self._iptc.get((2, 25), [])
        yield from map(_text, listed if isinstance(listed, list) else [listed])
        yield from _wide(self._exif.get(_XP_KEYWORDS)).split(";")

    # -- texts -------------------------------------------------------------------------------------

    def _of_xmp(self, name: str) -> str:
        return _text(next(iter(self._xmp.get(name, [])), ""))

    def _of_iptc(self, record: int, number: int) -> str:
        value = self._iptc.get((record, number), b"")
        return _text(value[0] if isinstance(value, list) else value)

    def _short(self, text: str, most: int = MOST_CHARACTERS, told: str = LONG) -> str:
        if len(text) > most:
            self._left_out.append(told)
        return text[:most].strip()


def _text(value: Any) -> str:
    """A value as one line of text: no NUL or other control character, no run of spaces; "" for what is no text."""
    if isinstance(value, bytes):
        value = _of_bytes(value)
    elif isinstance(value, str):
        with contextlib.suppress(UnicodeError):
            value = value.encode("latin-1").decode()  # Pillow reads UTF-8 as Latin-1
    else:
        return ""
    return _line(value)


def _wide(value: Any) -> str:
    """The same of Windows' own tags: bytes of UTF-16, or a list of them."""
    if isinstance(value, tuple):
        value = bytes(value) if all(isinstance(one, int) and 0 <= one < 256 for one in value) else b""
    return _line(value.decode("utf-16-le", "replace")) if isinstance(value, bytes) else ""


def _line(value: str) -> str:
    shown = "".join(sign if sign.isprintable() else " " for sign in plain(value[: 100 * MOST_CHARACTERS]))
    return " ".join(shown.split())


def _of_bytes(value: bytes) -> str:
    with contextlib.suppress(UnicodeError):
        return value.decode()
    return value.decode("latin-1")


def _moment(written: str, fraction: str) -> tuple[str, str] | None:
    """A written date as ISO 8601 without its zone, and the zone that stands behind it; None for what is no date."""
    match = _DATE.fullmatch(written)
    if match is None:
        return None
    *parts, own_fraction, zone = match.groups()
    given = [int(part) for part in parts if part is not None]
    try:
        is_possible = datetime(*(given + [1, 1, 1][len(given) :])).year in _YEARS  # type: ignore[arg-type]
    except ValueError:
        return None
    if not is_possible:
        return None
    shown = "-".join(part for part in parts[:3] if part is not None)
    if parts[3] is not None:
        shown += "T" + ":".join(part for part in parts[3:] if part is not None)
    fraction = own_fraction or (fraction if fraction.isascii() and fraction.isdigit() else "")
    if parts[5] is not None and fraction:
        shown += f".{fraction[:9]}"
    return shown, zone or ""


def _zone(written: str) -> str | None:
    """A zone as "+02:00"; None for none."""
    if written == "Z":
        return "+00:00"
    match = re.fullmatch(r"([+-])(\d\d):?(\d\d)", written, re.ASCII)
    if match is None or int(match[3]) > 59 or int(match[2] + match[3]) > _MOST_ZONE:
        return None
    return f"{match[1]}{match[2]}:{match[3]}"


def _degrees(parts: Any, side: Any) -> float | None:
    """Degrees, minutes and seconds as EXIF has them; None for what is no number, or on no side."""
    sign = {"N": 1, "E": 1, "S": -1, "W": -1}.get(_text(side).upper())
    try:
        values = [float(part) for part in parts]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if sign is None or len(values) != 3 or not all(math.isfinite(one) and one >= 0 for one in values):
        return None
    return sign * (values[0] + values[1] / 60 + values[2] / 3600)


def _written_degrees(text: str) -> float | None:
    """The same as XMP writes it: "35,20.4N" or "35,20,24N"."""
    match = _DEGREES.fullmatch(text)
    return None if match is None else _degrees((match[1], match[2], match[3] or 0), match[4])
