"""The encoding of a text file: as the user or its byte-order mark states, else UTF-8, else guessed.

Guesses are made only where the text leaves no doubt: UTF-16 and UTF-32 without a mark, Windows-1252 where the letters
come as in a Western European language, and the usual encodings of Chinese, Japanese and Korean where decoding gives
their commonest characters. Everything else has to be named.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import io
import operator
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from diptych.core.errors import DataError, Reason, opening

WIDE = ("utf-16", "utf-32")  # encodings whose bytes do not contain those of ASCII
_BLOCK = 1 << 20  # bytes
_SAMPLE = 1 << 18  # bytes of lines with other than ASCII that a guess is made from
_LEAST_ASCII = 0.1  # share of the characters of a text without a mark, such as digits, commas and line ends
_FEW = 0.02  # share of lines; if no more are broken, they are left out and the others are read
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_RUN = re.compile(rb"[\x80-\xff]+")

# Windows-1252: letters of Western European languages, those of it that point to another code page, and what else
# stands inside words or beside them.
_WESTERN = frozenset("àâäáãåæçèéêëìíîïñòóôöõøùúûüÿœßÀÂÄÁÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÖÕØÙÚÛÜŒ")
_FOREIGN = frozenset("ðþýÐÞÝšŠžŽŸ")
_INSIDE = frozenset("’·´\u00ad–—")
_BESIDE = frozenset("“”‘’„‚…–—•™€£¥§©®°±²³´·¹º»¼½¾«¿¡×÷\u00a0¢¨ªµ‹›†‡¶¸¬¯ˆ˜‰ƒ¤¦")

# The commonest characters, of which any real text has plenty.
_SIMPLIFIED = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得着下自之年过发后作里用道行所然家种事成方多"
    "经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实狗孩男女白黑红蓝色车水山树站坐穿跑两三"
)
_TRADITIONAL = frozenset(
    "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得著下自之年過發後作裡用道行所然家種事成方多"
    "經麼去法學如都同現當沒動面起看定天分還進好小部其些主樣理心她本前開但因只從想實狗孩男女白黑紅藍色車水山樹站坐穿跑兩三隻"
)
_HANGUL = frozenset(
    "이다는에을의가고를하은로지한어기사아도나서리자인라대과만해시정수일그있부여들전게보스장제으와람위앞물개"
)
_CLEAR = 0.15  # share of the other-than-ASCII characters that must be common ones
_CLEARER = 2.0  # times the share of the next best guess


@dataclass(frozen=True, slots=True)
class Encoding:
    """The encoding by Python's name, and a remark for the user where it was guessed."""

    name: str
    remark: str = ""


def open_text(path: Path, encoding: Encoding) -> io.TextIOWrapper:
    """The file as text. Line ends stay as they are; bytes that do not fit become lone surrogates.

    A UTF-8 mark before another encoding is passed over.
    """
    stream = path.open("rb")
    if encoding.name != "utf-8-sig" and stream.peek(3)[:3] == codecs.BOM_UTF8:
        stream.seek(3)
    return io.TextIOWrapper(stream, encoding.name, "surrogateescape", newline="")


def encoding_of(path: Path, stated: str | None = None) -> Encoding:
    """The encoding of a text file. Raises DataError when it cannot be opened, is binary or has to be named."""
    with opening(path):
        status = path.stat()
        return _encoding(path, stated, status.st_size, status.st_mtime_ns)


def decoded(data: bytes, name: str, stated: str | None = None) -> tuple[str, Encoding]:
    """A short text in memory, and its encoding. Raises DataError as `encoding_of`."""
    found = _stated(data[:4], stated) or _marked(data[:4]) or _unmarked_wide(data, name, whole=True)
    if found is None or found.name in ("utf-8", "utf-8-sig"):
        found = _of_parts(data, name, _split_utf8(data), few=False)
    try:
        return data.decode(found.name).removeprefix("\ufeff"), found
    except UnicodeError as error:
        raise DataError(f"{name} is not valid {found.name}: {error}; name its encoding with --encoding") from error


@functools.lru_cache(maxsize=256)
def _encoding(path: Path, stated: str | None, size: int, modified: int) -> Encoding:
    with path.open("rb") as stream:
        start = stream.read(_BLOCK)
        sure = _stated(start, stated) or _marked(start) or _unmarked_wide(start, str(path), whole=len(start) == size)
        if sure is not None and sure.name != "utf-8-sig":
            return sure
        parts = _split_utf8(start)
        rest = stream.read(_BLOCK)
        decoder = codecs.getincrementaldecoder("utf-8")("strict")
        with contextlib.suppress(UnicodeDecodeError):
            decoder.decode(start)
            while rest:
                decoder.decode(rest)
                rest = stream.read(_BLOCK)
            decoder.decode(b"", final=True)
            return sure or Encoding("utf-8")
        while rest and len(parts.sample) < _SAMPLE:
            parts = _Parts(*map(operator.add, parts, _split_utf8(rest)))
            rest = stream.read(_BLOCK)
    return _of_parts(start, str(path), parts, few=True)


def _stated(start: bytes, stated: str | None) -> Encoding | None:
    if stated is None:
        return None
    name = codecs.lookup(stated).name
    return Encoding("utf-8-sig" if name == "utf-8" and start.startswith(codecs.BOM_UTF8) else name)


def _marked(start: bytes) -> Encoding | None:
    return next((Encoding(name) for mark, name in _MARKS if start.startswith(mark)), None)


def _unmarked_wide(start: bytes, name: str, *, whole: bool) -> Encoding | None:
    """UTF-16 or UTF-32 without a mark: zero bytes at every other place, and ASCII among the characters."""
    if b"\0" not in start:
        return None
    for encoding, width in (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2)):
        zeros = [start[place::width].count(0) for place in range(width)]
        if zeros[0 if encoding.endswith("le") else -1] * 3 > max(zeros) or (whole and len(start) % width):
            continue
        if (text := _decoded(start, encoding)) is None:
            continue
        plain = sum(" " <= character <= "~" or character in "\t\r\n" for character in text)
        controls = sum(character < " " for character in text) - sum(map(text.count, "\t\r\n"))
        if not controls and plain >= _LEAST_ASCII * len(text):
            return Encoding(encoding, f"without a byte-order mark, read as {encoding.upper()} by what it holds")
    raise DataError(f"{name} is not a UTF-8 text file: it holds zero bytes; save it as UTF-8, or name its --encoding")


class _Parts(NamedTuple):
    """What other than ASCII is in some bytes."""

    lines: int
    broken: int  # lines that are not UTF-8
    proper: int  # characters beyond ASCII that are UTF-8
    bad: int  # bytes that are not
    sample: bytes  # lines with other than ASCII


def _split_utf8(data: bytes) -> _Parts:
    lines = [line for line in data.split(b"\n") if not line.isascii()]
    proper = bad = broken = 0
    for line in lines:
        wrong = sum("\udc80" <= character <= "\udcff" for character in line.decode("utf-8", "surrogateescape"))
        bad += wrong
        broken += wrong > 0
        proper += sum(character > "\x7f" for character in line.decode("utf-8", "ignore"))
    return _Parts(data.count(b"\n") + 1, broken, proper, bad, b"\n".join(lines)[:_SAMPLE])


def _of_parts(start: bytes, name: str, parts: _Parts, *, few: bool) -> Encoding:
    marked = start.startswith(codecs.BOM_UTF8)
    utf8 = Encoding("utf-8-sig" if marked else "utf-8")
    if parts.proper - marked > parts.bad or not parts.bad:  # UTF-8, of which some is broken
        return utf8
    guess = _guessed(parts.sample.removeprefix(codecs.BOM_UTF8))
    if guess is not None:
        return Encoding(guess, f"not UTF-8, read as {_SHOWN.get(guess, guess)} by guess (--encoding says otherwise)")
    if few and parts.broken <= max(1, _FEW * parts.lines):
        return utf8
    raise DataError(
        f"{name} is not UTF-8, and what else it is cannot be told for sure; name it with --encoding, "
        "such as --encoding windows-1252 (or windows-1250, windows-1251, gb18030, big5, shift_jis, euc-kr)",
        Reason.BAD_ROW,
    )


_SHOWN = {"cp1252": "windows-1252", "cp932": "shift_jis", "cp949": "euc-kr"}


def _guessed(sample: bytes) -> str | None:
    if _is_western(sample):
        return "cp1252"
    shares = {
        encoding: share(Counter(character for character in text if character > "\x7f"))
        for encoding, share in _EAST_ASIAN.items()
        if (text := _decoded(sample, encoding)) is not None
    }
    first, second, *_ = *sorted(shares.values(), reverse=True), 0.0, 0.0
    return max(shares, key=lambda name: shares[name]) if first >= max(_CLEAR, _CLEARER * second) else None


def _decoded(sample: bytes, encoding: str) -> str | None:
    """The text, of which a character may be cut at the end; None for bytes that do not fit."""
    try:
        return codecs.getincrementaldecoder(encoding)("strict").decode(sample)
    except UnicodeDecodeError:
        return None


def _is_western(sample: bytes) -> bool:
    runs = _RUN.findall(sample)
    if not runs or sum(map(len, runs)) > 1.4 * len(runs):
        return False
    text = _decoded(sample, "cp1252")
    if text is None:
        return False
    characters = good = foreign = 0
    for before, character, after in zip(" " + text, text, text[1:] + " ", strict=False):
        if character <= "\x7f":
            continue
        characters += 1
        foreign += character in _FOREIGN
        if character in _WESTERN or character in _FOREIGN:
            good += not (character.isupper() and before.islower())
        else:
            good += character in (_INSIDE if before.isalpha() and after.isalpha() else _BESIDE)
    return good >= 0.95 * characters and foreign <= 0.1 * characters


def _share_of(common: frozenset[str], counts: Counter[str]) -> float:
    return sum(count for letter, count in counts.items() if letter in common) / max(1, counts.total())


def _share_of_kana(counts: Counter[str]) -> float:
    kana = sum(count for letter, count in counts.items() if "\u3041" <= letter <= "\u30fe" or letter in "、。")
    strange = sum(
        count for letter, count in counts.items() if "\uff61" <= letter <= "\uff9f" or "\ue000" <= letter <= "\uf8ff"
    )
    return max(0.0, (kana - 3 * strange) / max(1, counts.total()))


_EAST_ASIAN: dict[str, Callable[[Counter[str]], float]] = {
    "gb18030": functools.partial(_share_of, _SIMPLIFIED),
    "big5": functools.partial(_share_of, _TRADITIONAL),
    "cp932": _share_of_kana,
    "euc_jp": _share_of_kana,
    "cp949": functools.partial(_share_of, _HANGUL),
}
