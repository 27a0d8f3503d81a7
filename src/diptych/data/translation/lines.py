"""Texts of several lines through an engine that takes one line at a time."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence


def by_lines(texts: Sequence[str], translate: Callable[[list[str]], Sequence[str]]) -> list[str]:
    """`translate` on all lines of all texts that are not blank; each text gets its own lines back.

    Lines come without control characters and with single blanks. A blank line stays blank.
    """
    lines = [_one_line(line) for text in texts for line in text.split("\n")]
    translated = iter(translate([line for line in lines if line]))
    done = iter([next(translated) if line else "" for line in lines])
    return ["\n".join(next(done) for _ in text.split("\n")) for text in texts]


def _one_line(text: str) -> str:
    return " ".join("".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in text).split())
