"""Whether an EXIF block is what it seems: its directories are counted before Pillow reads what they point at."""

from __future__ import annotations

import struct

EXIF, GPS = 0x8769, 0x8825  # tags of the first directory that point at the two others
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # of a value, by its type
_INLINE = 4  # bytes of an entry that hold the values themselves, where they fit
_CLAIMED = 2  # times the block's length that its entries may point at together


def is_bomb(block: bytes) -> bool:
    """Whether the entries of a block point at more bytes than it has, over and over; a BigTIFF's are not counted.

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
    claimed, (inside, pointers) = 0, _claimed(block, order, first)
    for tag in (EXIF, GPS):
        claimed += _claimed(block, order, pointers[tag])[0] if tag in pointers else 0
    return claimed + inside > _CLAIMED * len(block)


def _claimed(block: bytes, order: str, at: int) -> tuple[int, dict[int, int]]:
    """The bytes that the entries of one directory point at, and tag -> value of its entries."""
    if at + 2 > len(block):
        return 0, {}
    (count,) = struct.unpack_from(f"{order}H", block, at)
    end = min(at + 2 + 12 * count, len(block) - (len(block) - at - 2) % 12)
    claimed, found = 0, {}
    for tag, kind, length, value in struct.iter_unpack(f"{order}HHII", block[at + 2 : end]):
        size = _BYTES.get(kind, 0) * length
        claimed += min(size, len(block)) if size > _INLINE else 0
        found[tag] = value
    return claimed, found
