"""File names as text: any name a file system allows becomes valid Unicode, and back again.

A name that is not UTF-8 reaches Python with lone surrogates, which no store, JSON file or
terminal accepts. Such bytes are written as `\\xff`; a backslash that would look like such an
escape becomes `\\x5c`, so that every name has exactly one written form.
"""

from __future__ import annotations

import itertools
import re

from .text import SURROGATE, escaped

_LOOKS_ESCAPED = re.compile(r"\\(?=x[0-9a-f]{2}|u[0-9a-f]{4})")
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4}))")


def _unescape_one(match: re.Match[str]) -> str:
    code = int(match[1] or match[2], 16)
    return chr(0xDC00 + code) if match[1] and code >= 0x80 else chr(code)


def escape(name: str) -> str:
    """The written form of a file name: valid Unicode, one for every name."""
    return SURROGATE.sub(escaped, _LOOKS_ESCAPED.sub(r"\\x5c", name))


def unescape(written: str) -> str:
    """The file name behind its written form, also where that was put on one line (`core.text`)."""
    return _ESCAPE.sub(_unescape_one, written)


class DistinctNames:
    """Names for the things inside one source: their label, with a number behind it where it was given before."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def give(self, label: str) -> str:
        """A name that was not given yet: "a", "a~2", "a~3"; the same labels in the same order get the same names."""
        others = (f"{label}~{number}" for number in itertools.count(2))
        name = next(name for name in itertools.chain((label,), others) if name not in self._given)
        self._given.add(name)
        return name
