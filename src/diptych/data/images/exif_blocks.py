"""Whether an EXIF block is what it seems: its directories are counted before Pillow reads what they point at."""

from __future__ import annotations

import struct

import PIL.Image

EXIF, GPS = 0x8769, 0x8825  # tags of the first directory that point at the two others
_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
}  # of a value, by its type
_OFFSETS = (4, 13)  # types of values that point at a directory
_RAW = "Raw profile type exif"  # in which older programs put the EXIF of a PNG, in hexadecimal
_INLINE = 4  # bytes of an entry that hold the values themselves, where they fit
_CLAIMED = 2  # times the block's length that its entries may point at together


def block_of(image: PIL.Image.Image) -> bytes:
    """The block that `getexif` of this image would read, where it is not the file of a TIFF itself; empty for none."""
    block, raw = image.info.get("exif"), image.info.get(_RAW)
    if block is None and isinstance(raw, str):
        try:
            return bytes.fromhex("".join(raw.split("\n")[3:]))
        except ValueError:  # Pillow does not read it either
            return b""
    return block if isinstance(block, bytes) else b""


def is_bomb(block: bytes) -> bool:
    """Whether the entries of a block point at more bytes than it has, over and over, or hide where they point.

    The entries of a BigTIFF are not counted: it is taken for one.

    Every entry of a directory may name the same megabyte: 65,535 of them would be read into 64 GB.
    """
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return False
    version, first = struct.unpack_from(f"{order}HI", block, 2)
    if version != 42:
        return True
    claimed, pointers = _claimed(block, order, first)
    if any(kind not in _OFFSETS or length != 1 for kind, length, _ in pointers):
        return True
    claimed += sum(_claimed(block, order, at)[0] for _, _, at in pointers)
    return claimed > _CLAIMED * len(block)


def is_cut(block: bytes) -> bool:
    """Whether a block ends before one of its directories does, or before what an entry of one points at."""
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return False
    waiting = [(struct.unpack_from(f"{order}I", block, 4)[0], True)] if len(block) >= 8 else []
    if not waiting:
        return True
    for at, is_first in waiting:
        if at + 2 > len(block):
            return True
        (count,) = struct.unpack_from(f"{order}H", block, at)
        if at + 2 + 12 * count > len(block):
            return True
        for tag, kind, length, value in struct.iter_unpack(f"{order}HHII", block[at + 2 : at + 2 + 12 * count]):
            size = _BYTES.get(kind, 0) * length
            if size > _INLINE and value + size > len(block):
                return True
            if is_first and tag in (EXIF, GPS):
                waiting.append((value, False))
    return False


def _claimed(block: bytes, order: str, at: int) -> tuple[int, list[tuple[int, int, int]]]:
    """The bytes that the entries of one directory point at, and type, length and value of those for EXIF and GPS."""
    if at + 2 > len(block):
        return 0, []
    (count,) = struct.unpack_from(f"{order}H", block, at)
    end = min(at + 2 + 12 * count, len(block) - (len(block) - at - 2) % 12)
    claimed, found = 0, []
    for tag, kind, length, value in struct.iter_unpack(f"{order}HHII", block[at + 2 : end]):
        size = _BYTES.get(kind, 0) * length
        claimed += min(size, len(block)) if size > _INLINE else 0
        if tag in (EXIF, GPS):
            found.append((kind, length, value))
    return claimed, found
