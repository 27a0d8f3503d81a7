"""RAW files of cameras: the image that the camera embedded in them, else one developed from the sensor's values.

Which files those are is told by their content. They are read by rawpy (LibRaw), which the extra [raw] brings.
"""

from __future__ import annotations

import io
import struct
from typing import IO

import PIL.Image

from diptych.core.errors import DataError, MissingExtraError, Reason
from diptych.core.extras import need
from diptych.core.text import plain
from diptych.data.image_inputs import ImageLimits

from .formats import HEAD, sniff

_MOST_ENTRIES = 512  # of a first directory that is looked at
_REDUCED, _SENSOR, _MAKE, _INNER, _DNG = 254, 262, 271, 330, 50706  # tags of a TIFF's first directory
_SENSOR_VALUES = (32803, 34892)  # photometric: behind a colour filter, linear RAW
_LIBRAW_CUT = ("LibRawIOError",)


def is_raw(stream: IO[bytes]) -> bool:
    """Whether encoded bytes are a RAW file: by its beginning or, as a TIFF, by its first directory. Rewinds."""
    stream.seek(0)
    head = stream.read(HEAD)
    kind = sniff(head)
    found = kind == "RAW" or (kind == "TIFF" and _is_raw_tiff(head, stream))
    stream.seek(0)
    return found


def image_in(data: bytes, name: str, limits: ImageLimits) -> bytes:
    """The encoded image that stands for a RAW file.

    Raises DataError: not_an_image without rawpy, too_large, truncated or malformed.
    """
    try:
        rawpy = need("rawpy", "RAW images")
    except MissingExtraError as error:
        raise DataError(f"{name} is a RAW image: it needs pip install 'diptych[raw]'", Reason.NOT_AN_IMAGE) from error
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            limits.check_size(raw.sizes.raw_width, raw.sizes.raw_height, name)
            try:
                embedded = raw.extract_thumb()
            except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
                return _encoded(raw.postprocess(use_camera_wb=True, half_size=True))
            return embedded.data if embedded.format == rawpy.ThumbFormat.JPEG else _encoded(embedded.data)
    except (rawpy.LibRawError, MemoryError, ValueError) as error:
        is_cut = type(error).__name__ in _LIBRAW_CUT
        what = "ends early or is damaged" if is_cut else "is a RAW image that cannot be read"
        refused = DataError(f"{name} {what}; fetch it again", Reason.TRUNCATED if is_cut else Reason.MALFORMED)
        refused.add_note(f"LibRaw said: {plain(str(error))}")
        raise refused from error


def _encoded(pixels: object) -> bytes:
    """Pixels as a BMP, which takes no time."""
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "BMP")  # type: ignore[arg-type]
    return stream.getvalue()


def _is_raw_tiff(head: bytes, stream: IO[bytes]) -> bool:
    """Whether the first directory of a TIFF is a DNG's, of sensor values, or of a camera's preview of inner images."""
    order = "<" if head[:2] == b"II" else ">"
    if len(head) < 8:
        return False
    version, at = struct.unpack_from(f"{order}HI", head, 2)
    stream.seek(at)
    listed = stream.read(2 + 12 * _MOST_ENTRIES)
    if version != 42 or len(listed) < 2:
        return False
    (count,) = struct.unpack_from(f"{order}H", listed)
    whole = listed[2 : 2 + 12 * min(count, (len(listed) - 2) // 12)]
    first = {tag: (kind, value) for tag, kind, _, value in struct.iter_unpack(f"{order}HHI4s", whole)}
    if _DNG in first or _number(first.get(_SENSOR), order) in _SENSOR_VALUES:
        return True
    return _MAKE in first and _INNER in first and _number(first.get(_REDUCED), order) & 1 == 1


def _number(entry: tuple[int, bytes] | None, order: str) -> int:
    """The value of an entry of one 16- or 32-bit number; 0 without one."""
    if entry is None or entry[0] not in (3, 4):
        return 0
    return int(struct.unpack(f"{order}{'H' if entry[0] == 3 else 'I'}", entry[1][: 2 if entry[0] == 3 else 4])[0])
