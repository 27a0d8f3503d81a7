"""The groups of Unicode's emoji-test.txt (to Emoji 17), by an emoji's first code point."""

from __future__ import annotations

import functools
import json
from pathlib import Path

# Group -> code points and inclusive ranges of them, in hexadecimal.
_RANGES = Path(__file__).with_suffix(".json")


def group_of(hexcode: str) -> str | None:
    """The group of an emoji such as "1F600" or "1F468-200D-1F373"; None for one without a group."""
    return _groups().get(int(hexcode.split("-")[0], 16))


@functools.cache
def _groups() -> dict[int, str]:
    table: dict[int, str] = {}
    for group, ranges in json.loads(_RANGES.read_text(encoding="utf-8")).items():
        for entry in ranges.split():
            first, _, last = entry.partition("-")
            table.update(dict.fromkeys(range(int(first, 16), int(last or first, 16) + 1), group))
    return table
