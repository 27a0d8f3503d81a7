"""Is the file as long as its container says? For formats whose decoders refuse a cut one without a word."""

from __future__ import annotations

import io
from typing import IO

from diptych.core.errors import DataError, Reason


def check_whole(kind: str, stream: IO[bytes], name: str) -> None:
    """Raise DataError(truncated) when a WebP, AVIF or HEIF file ends early; rewinds the stream."""
    if kind not in ("WEBP", "AVIF", "HEIF"):
        return
    found = stream.seek(0, io.SEEK_END)
    stated = _riff_length(stream) if kind == "WEBP" else _boxes_length(stream, found)
    stream.seek(0)
    if found < stated:
        raise DataError(
            f"{name} is cut: it has {found} bytes, its {kind} container says {stated}; fetch it again",
            Reason.TRUNCATED,
        )


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
