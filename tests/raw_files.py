"""RAW files made on the spot: a DNG as a camera writes one, with or without an image embedded in it."""

from __future__ import annotations

import io
import struct

import numpy as np
import PIL.Image

FORMATS = {1: "B", 3: "H", 4: "I", 5: "I", 10: "i"}  # of a TIFF's values, by type
Entry = tuple[int, int, "bytes | tuple[int, ...]"]  # tag, type, values


def directory(entries: list[Entry], at: int) -> bytes:
    """A TIFF directory that stands at this place, and what its entries point at behind it."""
    head, behind = 2 + 12 * len(entries) + 4, b""
    listed = struct.pack("<H", len(entries))
    for tag, kind, values in sorted(entries):
        raw = values if isinstance(values, bytes) else struct.pack(f"<{len(values)}{FORMATS[kind]}", *values)
        count = len(values) // (2 if kind in (5, 10) else 1)
        if len(raw) > 4:
            raw, behind = struct.pack("<I", at + head + len(behind)), behind + raw + b"\0" * (len(raw) % 2)
        listed += struct.pack("<HHI", tag, kind, count) + raw.ljust(4, b"\0")
    return listed + struct.pack("<I", 0) + behind


def dng(
    preview: str | None = "red",
    *,
    size: tuple[int, int] = (64, 48),
    preview_size: tuple[int, int] = (32, 24),
    turned: int = 1,
    taken: bytes | None = b"2024:05:01 14:30:05\0",
) -> bytes:
    """A DNG of reddish sensor values (width, height); `preview`: the colour of the JPEG in it, None for none."""
    (width, height), (across, down) = size, preview_size
    values = np.zeros((height, width), dtype="<u2")
    values[0::2, 0::2], values[0::2, 1::2], values[1::2, 0::2], values[1::2, 1::2] = 12_000, 4_000, 4_000, 2_000
    sensor, jpeg = values.tobytes(), io.BytesIO()
    if preview is not None:
        PIL.Image.new("RGB", preview_size, preview).save(jpeg, "JPEG", quality=90)
    embedded = jpeg.getvalue() + b"\0" * (len(jpeg.getvalue()) % 2)
    about: list[Entry] = [
        (271, 2, b"Diptych\0"), (272, 2, b"Diptych One\0"), (274, 3, (turned,)), (50706, 1, (1, 4, 0, 0)),
        (50707, 1, (1, 1, 0, 0)), (50708, 2, b"Diptych One\0"), (50778, 3, (21,)), (50728, 5, (1, 1, 1, 1, 1, 1)),
        (50721, 10, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1)),
    ]  # fmt: skip

    def of_sensor(at: int) -> list[Entry]:
        return [
            (254, 4, (0,)), (256, 4, (width,)), (257, 4, (height,)), (258, 3, (16,)), (259, 3, (1,)),
            (262, 3, (32_803,)), (273, 4, (at,)), (277, 3, (1,)), (278, 4, (height,)), (279, 4, (len(sensor),)),
            (284, 3, (1,)), (33_421, 3, (2, 2)), (33_422, 1, (0, 1, 1, 2)), (50_714, 4, (0,)), (50_717, 4, (16_383,)),
        ]  # fmt: skip

    def of_preview(at: int, inner: int) -> list[Entry]:
        return [
            (254, 4, (1,)), (256, 4, (across,)), (257, 4, (down,)), (258, 3, (8, 8, 8)), (259, 3, (7,)),
            (262, 3, (6,)), (273, 4, (at,)), (277, 3, (3,)), (278, 4, (down,)), (279, 4, (len(jpeg.getvalue()),)),
            (330, 4, (inner,)),
        ]  # fmt: skip

    def laid_out(exif: int, inner: int, at: int, sensor_at: int) -> list[bytes]:
        first = about + ([(34_665, 4, (exif,))] if taken else [])
        first += of_sensor(sensor_at) if preview is None else of_preview(at, inner)
        parts = [b"II*\0" + struct.pack("<I", 8), directory(first, 8)]
        parts.append(directory([(36_867, 2, taken)], exif) if taken else b"")
        parts.append(b"" if preview is None else directory(of_sensor(sensor_at), inner))
        return [*parts, embedded if preview is not None else b"", sensor]

    lengths = [len(part) for part in laid_out(0, 0, 0, 0)]
    places = np.cumsum([0, *lengths]).tolist()
    return b"".join(laid_out(places[2], places[3], places[4], places[5]))
