"""What a file that is no image holds, in words for people."""

from __future__ import annotations

import codecs

# The first bytes and what people call such a file. Longer beginnings stand before those that they begin with.
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer instead of the file; run: git lfs pull"),
    (b"%PDF", "a PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "a compressed archive"),
    (b"BZh", "a compressed archive"),
    (b"\xfd7zXZ", "a compressed archive"),
    (b"7z\xbc\xaf\x27\x1c", "a compressed archive"),
    (b"Rar!", "a compressed archive"),
    (b"SIMPLE  =", "a FITS image"),
    (b"8BPS", "a Photoshop image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\0\0\x01\0", "an icon"),
    (b"\x1a\x45\xdf\xa3", "a video"),
    (b"OggS", "sound or a video"),
    (b"ID3", "sound"),
    (b"fLaC", "sound"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)
_RIFF = {b"AVI ": "a video", b"WAVE": "sound"}
_MARKUP = ((b"<svg", "an SVG drawing"), (b"<!doctype html", "a web page"), (b"<html", "a web page"))


def described(head: bytes) -> str:
    """What a file with these first bytes is, as the second half of a sentence."""
    return f"it holds {_content(head)}" if head else "it is empty"


def _content(head: bytes) -> str:
    for beginning, what in _BEGINNINGS:
        if head.startswith(beginning):
            return what
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12], "data of an unknown kind")
    if head[4:8] == b"ftyp":
        return "a video or sound"
    return _text(head)


def _text(head: bytes) -> str:
    if not head.strip(b"\0"):
        return "only zeros, as after a copy that broke off"
    lowered = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    for beginning, what in _MARKUP:
        if lowered.startswith(beginning) or (lowered.startswith(b"<?xml") and beginning in lowered):
            return what
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "text"
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # a letter may be cut at the end
    except UnicodeDecodeError:
        return "data of an unknown kind"
    return "text" if all(letter.isprintable() or letter.isspace() for letter in text) else "data of an unknown kind"
