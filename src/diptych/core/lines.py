"""Names and messages on one line, whatever is in them."""

from __future__ import annotations

import re

_NOT_SHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def one_line(text: str) -> str:
    r"""Text as one line of a terminal, valid in UTF-8; everything that a line can show stays as it is.

    Line breaks and other control characters become `\x0a` or `\u2028`, bytes of a file's name that are not
    UTF-8 become `\xff`.
    """
    return _NOT_SHOWN.sub(_written, text)


def _written(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"
