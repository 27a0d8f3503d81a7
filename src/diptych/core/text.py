"""Text that programs, terminals and stores accept: on one line, valid Unicode, with something visible in it."""

from __future__ import annotations

import re

_INVISIBLE = frozenset(["Cc", "Cf", "Zs", "Zl", "Zp"])
# Letters, marks and symbols that are drawn as nothing: Braille blank, Hangul fillers, joiners and the like.
_BLANK = frozenset("\u2800\u3164\u115f\u1160\uffa0\u034f\u17b4\u17b5\u180b\u180c\u180d\u180f\u2065")
_NOT_SHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
SURROGATE = re.compile("[\ud800-\udfff]")


def is_blank(value: str) -> bool:
    """Whether nothing of a text can be seen: spaces, zero-width and control characters, blank letters."""
    import unicodedata  # a megabyte that `diptych --help` does without

    return all(
        unicodedata.category(character) in _INVISIBLE
        or character in _BLANK
        or "\ufe00" <= character <= "\ufe0f"
        or "\U000e0000" <= character <= "\U000e0fff"
        for character in value
    )


def is_unicode(value: str) -> bool:
    """False for a string with lone surrogates, which UTF-8 cannot hold and tokenizers refuse."""
    return SURROGATE.search(value) is None


def number(count: int, what: str) -> str:
    """`1 image`, `1,200 images`."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def one_line(text: str) -> str:
    r"""Text as one line of a terminal, valid in UTF-8; everything that a line can show stays as it is.

    Line breaks and other control characters become `\x0a` or `\u2028`, bytes of a file's name that are not
    UTF-8 become `\xff`.
    """
    return _NOT_SHOWN.sub(escaped, text)


def escaped(match: re.Match[str]) -> str:
    r"""A character that cannot be shown, as `\xff` (a byte of a file's name that is not UTF-8 too) or `\u2028`."""
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"


def plain(text: str) -> str:
    """Text that any terminal, store or JSON file takes: lone surrogates become `\\udXXX`, everything else stays."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def plain_json(document: str) -> str:
    """A JSON document without lone surrogates: in its strings they become the text `\\udXXX`."""
    return SURROGATE.sub(lambda match: f"\\\\u{ord(match[0]):04x}", document)


def in_bytes(size: int) -> str:
    """`605 MB`: bytes for people, in powers of 1,000."""
    number, units = float(size), ("B", "kB", "MB", "GB", "TB")
    place = 0
    while number >= 999.5 and place < len(units) - 1:
        number, place = number / 1000, place + 1
    return f"{number:.0f} {units[place]}" if number >= 99.5 or not place else f"{number:.1f} {units[place]}"
