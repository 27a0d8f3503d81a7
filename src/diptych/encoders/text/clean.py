"""Make any Python string safe to tokenise."""

from __future__ import annotations

import unicodedata


def clean(text: str) -> str:
    """Lone surrogates become U+FFFD, NULs go, Unicode is composed (NFC), whitespace becomes one space."""
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.replace("\0", "").split())
