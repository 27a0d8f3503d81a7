"""WordPiece as BERT reads it, without the package `tokenizers`: a text's words, and the pieces of a word.

`WordPieces` reads a tokenizer that `train_tokenizer` made, so that a model that ships needs nothing but NumPy. The
tests compare it with the package; the two differ in letters and punctuation that Unicode got after 2015.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diptych.core.errors import ModelError

CONTINUES = "##"  # what pieces within a word begin with
LONGEST = 100  # letters; a longer word is unknown
UNKNOWN, START, END = "[UNK]", "[CLS]", "[SEP]"
# Marks of Latin, Greek, Cyrillic, Hebrew and Arabic letters, which are dropped with the case. BERT drops those of every
# script; but in Japanese and in the scripts of India and Thailand they tell words apart: "か" and "が", "कि" and "क".
OPTIONAL_MARKS = r"[\p{Mn}&&[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670]]"
# Where words end without a space, and after 64 letters, since the library takes one of over 100 for unknown
WITHOUT_SPACES = r"[\p{Katakana}ー]{1,64}|.{64}"
# The same two for Python, which knows no properties of letters.
_OPTIONAL = re.compile("[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u065f\u0670]")
_KATAKANA = (
    "\u30a1-\u30fa\u30fd-\u30ff\u31f0-\u31ff\u32d0-\u32fe\u3300-\u3357\uff66-\uff6f\uff71-\uff9d"
    "\U0001aff0-\U0001affe\U0001b000\U0001b120-\U0001b122\U0001b155\U0001b164-\U0001b167"
)
_CUTS = re.compile(f"([{_KATAKANA}ー]{{1,64}}|.{{64}})", re.DOTALL)
_CJK = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class _Letters(dict[int, str]):
    """How a character is read, by its number: as a letter; as a word of its own; as a space; or not at all."""

    def __init__(self, lower_case: bool) -> None:
        super().__init__()
        self._lower_case = lower_case

    def __missing__(self, number: int) -> str:
        letter = chr(number)
        category = unicodedata.category(letter)
        if letter in "\t\n\r" or category in ("Zs", "Zl", "Zp"):
            found = " "
        elif category in ("Cc", "Cf", "Co") or letter in "\0\ufffd":
            found = ""
        elif category[0] == "P" or (letter.isascii() and category[0] == "S") or _is_cjk(number):
            found = f" {letter} "
        else:
            found = letter.lower() if self._lower_case else letter
        self[number] = found
        return found


def _is_cjk(number: int) -> bool:
    return any(first <= number <= last for first, last in _CJK)


_LOWER, _AS_WRITTEN = _Letters(True), _Letters(False)


def split_words(text: str, lower_case: bool = True) -> list[str]:
    """The words of a text; every punctuation mark and every Chinese character is one."""
    return text.translate(_LOWER if lower_case else _AS_WRITTEN).split()


def word_spans(text: str) -> list[tuple[int, int]]:
    """From where to where each word of `split_words` stands in the text."""
    found: list[list[int]] = []
    inside = False
    for place, letter in enumerate(text):
        read = _LOWER[ord(letter)]
        if not read.strip():
            inside = inside and not read  # what is not read does not end a word
        elif inside and read[0] != " ":
            found[-1][1] = place + 1
        else:
            found.append([place, place + 1])
            inside = read[0] != " "
    return [(start, end) for start, end in found]


def pieces_of_word(word: str, numbers: Mapping[str, int], unknown: int) -> list[int]:
    """The pieces of a word: always the longest that is known; a word that they do not cover is unknown."""
    found: list[int] = []
    start = 0
    while start < len(word) <= LONGEST:
        prefix = CONTINUES if start else ""
        end = next((end for end in range(len(word), start, -1) if prefix + word[start:end] in numbers), 0)
        if not end:
            break
        found.append(numbers[prefix + word[start:end]])
        start = end
    return [unknown] if start < len(word) else found


@dataclass(frozen=True)
class Encoding:
    """The tokens of a text, named as in the package: of each its id, itself, the number of its word (None for a first
    and a last token, which stand for no word) and where this word stands in the text.
    """

    ids: list[int]
    tokens: list[str]
    word_ids: list[int | None]
    offsets: list[tuple[int, int]]


class WordPieces:
    """A trained WordPiece tokenizer, with those methods of the package's `Tokenizer` that `TokenTower` calls.

    Args:
        described: what its tokenizer.json says. `reads` says whether it is one of this kind.
    """

    def __init__(self, described: Mapping[str, Any]) -> None:
        if not self.reads(described):
            raise ModelError("found another tokenizer than WordPiece as trained here")
        self._described = {**described, "truncation": None, "padding": None}
        self._numbers = {str(piece): int(number) for piece, number in described["model"]["vocab"].items()}
        self._pieces = {number: piece for piece, number in self._numbers.items()}
        self._steps = _steps(described["normalizer"])
        self._lower_case = bool(self._steps[-1]["lowercase"])
        self._cuts = described["pre_tokenizer"]["type"] == "Sequence"
        self._most: int | None = None
        self._known: dict[str, list[int]] = {}

    @staticmethod
    def reads(described: Mapping[str, Any]) -> bool:
        """Whether this is a tokenizer that `train_tokenizer` makes as "wordpiece"; older ones need the package."""
        try:
            *first, last = _steps(described["normalizer"])
            splitters = _parts(described["pre_tokenizer"], "pretokenizers")
            ends = [
                step["SpecialToken"]["id"] for step in described["post_processor"]["single"] if "Sequence" not in step
            ]
            return (
                described["model"]["type"] == "WordPiece"
                and {UNKNOWN, START, END} <= described["model"]["vocab"].keys()
                and ends == [START, END]
                and [step["type"] for step in first] in ([], ["NFD", "Replace", "NFC"])
                and (not first or first[1]["pattern"] == {"Regex": OPTIONAL_MARKS})
                and last["type"] == "BertNormalizer"
                and last["strip_accents"] is False
                and splitters[0] == {"type": "BertPreTokenizer"}
                and [one["pattern"] for one in splitters[1:]] in ([], [{"Regex": WITHOUT_SPACES}])
            )
        except (KeyError, TypeError, IndexError, AttributeError):
            return False

    def no_padding(self) -> None:
        """Nothing to do: rows are filled by the tower."""

    def enable_truncation(self, most: int) -> None:
        """Cut what `encode` gives to so many tokens, the first and the last among them."""
        self._most = most

    def no_truncation(self) -> None:
        """Cut nothing."""
        self._most = None

    def get_vocab(self) -> dict[str, int]:
        """The id of each piece."""
        return dict(self._numbers)

    def get_vocab_size(self) -> int:
        """How many pieces there are."""
        return len(self._numbers)

    def token_to_id(self, token: str) -> int | None:
        """The id of a piece, if there is such a one."""
        return self._numbers.get(token)

    def to_str(self) -> str:
        """The tokenizer as the package writes it."""
        return json.dumps(self._described, ensure_ascii=False, separators=(",", ":"))

    def encode_batch(self, texts: Sequence[str]) -> list[Encoding]:
        """The tokens of several texts."""
        return [self.encode(text) for text in texts]

    def encode(self, text: str) -> Encoding:
        """The tokens of a text, from the first, [CLS], to the last, [SEP]."""
        found = Encoding([self._numbers[START]], [START], [None], [(0, 0)])
        most = None if self._most is None else max(0, self._most - 2)
        word = 0
        for start, end in word_spans(text):
            for part in self._words(text[start:end]):
                for number in self._pieces_of(part):
                    if most is not None and len(found.ids) > most:
                        break
                    found.ids.append(number)
                    found.tokens.append(self._pieces[number])
                    found.word_ids.append(word)
                    found.offsets.append((start, end))
                word += 1
        found.ids.append(self._numbers[END])
        found.tokens.append(END)
        found.word_ids.append(None)
        found.offsets.append((0, 0))
        return found

    def _words(self, text: str) -> list[str]:
        if len(self._steps) > 1:
            text = unicodedata.normalize("NFC", _OPTIONAL.sub("", unicodedata.normalize("NFD", text)))
        words = split_words(text, self._lower_case)
        return [part for word in words for part in _CUTS.split(word) if part] if self._cuts else words

    def _pieces_of(self, word: str) -> list[int]:
        if (known := self._known.get(word)) is None:
            known = self._known[word] = pieces_of_word(word, self._numbers, self._numbers[UNKNOWN])
        return known


def _steps(described: Mapping[str, Any]) -> list[Any]:
    return _parts(described, "normalizers")


def _parts(described: Mapping[str, Any], name: str) -> list[Any]:
    return list(described[name]) if described["type"] == "Sequence" else [described]
