"""Word pieces learnt from the training texts, kept as tokenizer.json in the model's folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import DataError, ModelError
from diptych.core.extras import need
from diptych.core.files import write_bytes
from diptych.core.shapes import Int64
from diptych.encoders.text.pieces import learn_pieces

FILE = "tokenizer.json"
PAD, UNKNOWN, FORWARD, BACKWARD, END = range(5)
_SPECIALS = ("[PAD]", "[UNK]", "[FWD]", "[BWD]", "[END]")
CONTINUES = "##"  # what pieces within a word begin with


class Vocabulary:
    """Texts to piece numbers and back. Needs the `tokenizers` package."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        found = tuple(tokenizer.id_to_token(number) for number in range(len(_SPECIALS)))
        if found != _SPECIALS:
            raise ModelError(f"the tokenizer starts with {found}; expected {_SPECIALS}: it is not one of ours")

    @classmethod
    def learn(cls, texts: Iterable[str], size: int) -> Vocabulary:
        """WordPiece of up to `size` pieces, lower case, accents kept. Give it training texts only."""
        tokenizers = need("tokenizers", "the cross-encoder")
        normalizer = tokenizers.normalizers.BertNormalizer(strip_accents=False, lowercase=True)
        splitter = tokenizers.pre_tokenizers.BertPreTokenizer()
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
        pieces = [*_SPECIALS, *learn_pieces(counts, size - len(_SPECIALS))]
        model = tokenizers.models.WordPiece(
            {piece: number for number, piece in enumerate(pieces)}, unk_token=_SPECIALS[UNKNOWN]
        )
        tokenizer = tokenizers.Tokenizer(model)
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
        tokenizer.decoder = tokenizers.decoders.WordPiece()
        return cls(tokenizer)

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """The vocabulary in a file. Raises ModelError when it is missing or damaged."""
        tokenizers = need("tokenizers", "the cross-encoder")
        try:
            return cls(tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8")))
        except Exception as error:  # the package raises plain Exceptions
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"cannot read the tokenizer {path}: {error}; copy the whole folder again") from error

    def write(self, path: Path) -> None:
        """Write it as JSON, atomically."""
        write_bytes(path, self._tokenizer.to_str(pretty=False).encode())

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    @property
    def pieces(self) -> list[str]:
        """Each piece at its number; the first `specials` stand for no text."""
        return [str(self._tokenizer.id_to_token(number)) for number in range(len(self))]

    @property
    def specials(self) -> int:
        """How many pieces stand for no text."""
        return len(_SPECIALS)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Pieces of each text before any cut."""
        return [len(encoding.ids) for encoding in self._tokenizer.encode_batch(list(texts))]

    def encode(self, texts: Sequence[str], most: int) -> list[list[int]]:
        """Piece numbers of each text, cut after `most`. Raises DataError for a text without any piece."""
        found = [encoding.ids[:most] for encoding in self._tokenizer.encode_batch(list(texts))]
        for text, pieces in zip(texts, found, strict=True):
            if not pieces:
                raise DataError(f"the text {text[:40]!r} has no words; expected at least one")
        return found

    def words(self, text: str, most: int) -> list[tuple[str, list[int]]]:
        """The words of a text, each with the places of its pieces."""
        encoding = self._tokenizer.encode(text)
        found: dict[int, list[int]] = {}
        for place, word in enumerate(encoding.word_ids[:most]):
            found.setdefault(word, []).append(place)
        spans = {word: [encoding.offsets[place] for place in places] for word, places in found.items()}
        return [(text[spans[word][0][0] : spans[word][-1][1]], places) for word, places in found.items()]

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of piece numbers; special pieces are left out."""
        text = self._tokenizer.decode([number for number in numbers if number >= len(_SPECIALS)])
        return str(text).replace(" .", ".").replace(" ,", ",").replace(" '", "'")


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
