"""Word pieces learnt from the training texts, kept as tokenizer.json in the model's folder.

The file is a WordPiece tokenizer of the package `tokenizers`, lower case with accents kept. It is learnt and read here
without that package, so that a model needs nothing but NumPy. The tests compare the two; they differ in punctuation
that Unicode got after 2015, which is a word of its own here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import DataError, ModelError
from diptych.core.files import write_bytes
from diptych.core.shapes import Int64
from diptych.encoders.text.pieces import learn_pieces
from diptych.encoders.text.word_pieces import CONTINUES, LONGEST, pieces_of_word, split_words, word_spans

FILE = "tokenizer.json"
PAD, UNKNOWN, FORWARD, BACKWARD, END = range(5)
_SPECIALS = ("[PAD]", "[UNK]", "[FWD]", "[BWD]", "[END]")
_NORMALIZER = {
    "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": False,
    "lowercase": True,
}  # fmt: skip
_SPLITTER = {"type": "BertPreTokenizer"}


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
        counts = Counter(word for text in texts for word in split_words(text))
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
            "max_input_chars_per_word": LONGEST, "vocab": self._numbers,
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
        return [sum(len(self._of_word(word)) for word in split_words(text)) for text in texts]

    def encode(self, texts: Sequence[str], most: int) -> list[list[int]]:
        """Piece numbers of each text, cut after `most`. Raises DataError for a text without any piece."""
        found = [[number for word in split_words(text) for number in self._of_word(word)][:most] for text in texts]
        for text, pieces in zip(texts, found, strict=True):
            if not pieces:
                raise DataError(f"the text {text[:40]!r} has no words; expected at least one")
        return found

    def cut(self, text: str) -> tuple[list[str], int]:
        """The words of a text that are no piece of their own, and the count of all; punctuation is no word."""
        words = [word for word in split_words(text) if any(map(str.isalnum, word))]
        return [word for word in words if word not in self._numbers], len(words)

    def words(self, text: str, most: int) -> list[tuple[str, list[int]]]:
        """The words of a text as they stand in it, each with the places of its pieces; as far as `most` pieces go."""
        found: list[tuple[str, list[int]]] = []
        place = 0
        for start, end in word_spans(text):
            (word,) = split_words(text[start:end])
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
        found = self._known[word] = pieces_of_word(word, self._numbers, UNKNOWN)
        return found


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
