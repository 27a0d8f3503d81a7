"""Texts of which nothing can be seen."""

from __future__ import annotations

import unicodedata

_INVISIBLE = frozenset(["Cc", "Cf", "Zs", "Zl", "Zp"])
# Letters, marks and symbols that are drawn as nothing: Braille blank, Hangul fillers, joiners and the like.
_BLANK = frozenset("\u2800\u3164\u115f\u1160\uffa0\u034f\u17b4\u17b5\u180b\u180c\u180d\u180f\u2065")


def is_blank(value: str) -> bool:
    """Whether nothing of a text can be seen: spaces, zero-width and control characters, blank letters."""
    return all(
        unicodedata.category(sign) in _INVISIBLE
        or sign in _BLANK
        or "\ufe00" <= sign <= "\ufe0f"
        or "\U000e0000" <= sign <= "\U000e0fff"
        for sign in value
    )
