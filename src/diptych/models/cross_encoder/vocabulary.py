"""Word pieces learnt from the training texts, kept as tokenizer.json in the model's folder.

The file is a WordPiece tokenizer of the package `tokenizers`, lower case with accents kept. It is learnt and read here
without that package, so that a model needs nothing but NumPy. The tests compare the two; they differ in punctuation
that Unicode got after 2015, which is a word of its own here.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import DataError, ModelError
from diptych.core.files import write_bytes
from diptych.core.shapes import Int64
from diptych.encoders.text.pieces import learn_pieces

FILE = "tokenizer.json"
PAD, UNKNOWN, FORWARD, BACKWARD, END = range(5)
_SPECIALS = ("[PAD]", "[UNK]", "[FWD]", "[BWD]", "[END]")
CONTINUES = "##"  # what pieces within a word begin with
_LONGEST = 100  # letters; a longer word is unknown
_NORMALIZER = {
    "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": False,
    "lowercase": True,
}  # fmt: skip
_SPLITTER = {"type": "BertPreTokenizer"}
_CJK = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class _Letters(dict[int, str]):
    """How a character is read, by its number: in lower case; as a word of its own; as a space; or not at all."""

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
            found = letter.lower()
        self[number] = found
        return found


def _is_cjk(number: int) -> bool:
    return any(first <= number <= last for first, last in _CJK)


_LETTERS = _Letters()


class Vocabulary:
    """Texts to piece numbers and back; `pieces` are all pieces in the order of their numbers."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self._pieces = tuple(pieces)
        if (found := self._pieces[: len(_SPECIALS)]) != _SPECIALS:
            raise ModelError(f"the tokenizer starts with {found}; expected {_SPECIALS}: it is not one of ours")
        self._numbers = {piece: number for number, piece in enumerate(self._pieces)}
        self._known: dict[str, list[int]] = {}

    @classmethod
    def learn(cls, texts: Iterable[str], size: int) -> Vocabulary:
        """WordPiece of up to `size` pieces, lower case, accents kept. Give it training texts only."""
        counts = Counter(word for text in texts for word in _split(text))
        return cls([*_SPECIALS, *learn_pieces(counts, size - len(_SPECIALS))])

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """The vocabulary in a file. Raises ModelError when it is missing or damaged, or of another kind."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            kind = (values["normalizer"], values["pre_tokenizer"], values["model"]["type"])
            numbers = {str(piece): int(number) for piece, number in values["model"]["vocab"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"cannot read the tokenizer {path}: {error}; copy the whole folder again") from error
        if kind != (_NORMALIZER, _SPLITTER, "WordPiece") or sorted(numbers.values()) != list(range(len(numbers))):
            raise ModelError(f"the tokenizer {path} is not one of ours: expected WordPiece in lower case")
        return cls(sorted(numbers, key=numbers.__getitem__))

    def write(self, path: Path) -> None:
        """Write it as JSON, atomically."""
        model = {
            "type": "WordPiece", "unk_token": _SPECIALS[UNKNOWN], "continuing_subword_prefix": CONTINUES,
            "max_input_chars_per_word": _LONGEST, "vocab": self._numbers,
        }  # fmt: skip
        values: dict[str, Any] = {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": _NORMALIZER,
            "pre_tokenizer": _SPLITTER, "post_processor": None,
            "decoder": {"type": "WordPiece", "prefix": CONTINUES, "cleanup": True}, "model": model,
        }  # fmt: skip
        write_bytes(path, json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode())

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def pieces(self) -> list[str]:
        """Each piece at its number; the first `specials` stand for no text."""
        return list(self._pieces)

    @property
    def specials(self) -> int:
        """How many pieces stand for no text."""
        return len(_SPECIALS)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Pieces of each text before any cut."""
        return [sum(len(self._of_word(word)) for word in _split(text)) for text in texts]

    def encode(self, texts: Sequence[str], most: int) -> list[list[int]]:
        """Piece numbers of each text, cut after `most`. Raises DataError for a text without any piece."""
        found = [[number for word in _split(text) for number in self._of_word(word)][:most] for text in texts]
        for text, pieces in zip(texts, found, strict=True):
            if not pieces:
                raise DataError(f"the text {text[:40]!r} has no words; expected at least one")
        return found

    def words(self, text: str, most: int) -> list[tuple[str, list[int]]]:
        """The words of a text as they stand in it, each with the places of its pieces; as far as `most` pieces go."""
        found: list[tuple[str, list[int]]] = []
        place = 0
        for start, end in _spans(text):
            (word,) = _split(text[start:end])
            places = list(range(place, min(most, place + len(self._of_word(word)))))
            place += len(self._of_word(word))
            if places:
                found.append((text[start:end], places))
        return found

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of piece numbers; special pieces are left out."""
        text = " ".join(self._pieces[number] for number in numbers if number >= len(_SPECIALS))
        text = text.replace(f" {CONTINUES}", "")
        for mark in ".?!,'":
            text = text.replace(f" {mark}", mark)
        return text

    def _of_word(self, word: str) -> list[int]:
        """The pieces of a word: always the longest that is known; a word that they do not cover is unknown."""
        if (known := self._known.get(word)) is not None:
            return known
        found: list[int] = []
        start = 0
        while start < len(word) <= _LONGEST:
            prefix = CONTINUES if start else ""
            end = next((end for end in range(len(word), start, -1) if prefix + word[start:end] in self._numbers), 0)
            if not end:
                break
            found.append(self._numbers[prefix + word[start:end]])
            start = end
        if start < len(word):
            found = [UNKNOWN]
        self._known[word] = found
        return found


def _split(text: str) -> list[str]:
    """The words of a text; every punctuation mark and every Chinese character is one."""
    return text.translate(_LETTERS).split()


def _spans(text: str) -> list[tuple[int, int]]:
    """From where to where each word of `_split` stands in the text."""
    found: list[list[int]] = []
    inside = False
    for place, letter in enumerate(text):
        read = _LETTERS[ord(letter)]
        if not read.strip():
            inside = inside and not read  # what is not read does not end a word
        elif inside and read[0] != " ":
            found[-1][1] = place + 1
        else:
            found.append([place, place + 1])
            inside = read[0] != " "
    return [(start, end) for start, end in found]


def both_directions(pieces: Sequence[Sequence[int]]) -> tuple[Int64[np.ndarray, "s t"], Int64[np.ndarray, "s t"]]:
    """Inputs and targets of each text read forwards, then of each read backwards; PAD beyond the end.

    Of n texts the rows 0..n-1 are forwards and n..2n-1 backwards: [FWD] a b -> a b [END] and
    [BWD] b a -> b a [END].
    """
    longest = max(map(len, pieces)) + 1
    inputs = np.full((2 * len(pieces), longest), PAD, dtype=np.int64)
    targets = np.full_like(inputs, PAD)
    for row, text in enumerate(pieces):
        for start, ordered, at in ((FORWARD, list(text), row), (BACKWARD, list(text)[::-1], len(pieces) + row)):
            inputs[at, : len(text) + 1] = [start, *ordered]
            targets[at, : len(text) + 1] = [*ordered, END]
    return inputs, targets
