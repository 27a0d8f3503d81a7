"""Word vectors to begin with: those of a text file, as GloVe, word2vec and fastText write them."""

from __future__ import annotations

import gzip
import io
import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core.errors import ConfigError, DataError, Reason, opening
from diptych.core.notes import EXAMPLES, Note
from diptych.core.registry import Part
from diptych.models.networks.base import Network

OPTION = "vectors"
RANDOM_WORDS = "random_words"  # kind of a note


@dataclass(frozen=True)
class Found:
    """What a file had of the words that were asked for."""

    file: str
    words: int  # that were asked for
    missing: tuple[str, ...]  # those that the file does not have

    def to_text(self) -> str:
        """`glove.txt has vectors of 1,812 of 2,004 words; the others begin at random`."""
        has = f"{self.file} has vectors of {self.words - len(self.missing):,} of {self.words:,} words"
        return f"{has}; the others begin at random" if self.missing else has

    @property
    def notes(self) -> tuple[Note, ...]:
        """A note on the words that begin at random, where there are any."""
        detail = f"words of the vocabulary that {self.file} does not have, whose vectors begin at random"
        return (Note(RANDOM_WORDS, len(self.missing), detail, self.missing[:EXAMPLES]),) if self.missing else ()


class WordNetwork(Network):
    """A network over learnt word vectors. With a file they begin as its vectors, and are trained as the others are.

    Args:
        vocabulary: how many token ids there are.
        width: of a word's vector.
        vectors: a text file with a word and its numbers on each line (GloVe), after a line with two counts or without
            (word2vec, fastText); also as .gz. Empty: all begin at random, U(-0.1, 0.1).

    Raises DataError for a file that cannot be read, ConfigError for one of another width.
    """

    def __init__(self, vocabulary: int, width: int, vectors: str = "") -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        nn.init.uniform_(self.words.weight, -0.1, 0.1)
        self.vectors = Path(vectors).expanduser() if vectors else None
        if self.vectors and (found := width_of(self.vectors)) != width:
            raise ConfigError(
                f"{self.vectors} has {found} numbers a word, and the network {width}; set its width (bag) or embedding "
                f"(gru) to {found}"
            )

    def begin_words(self, ids: Mapping[str, int]) -> Found | None:
        """Copy the file's vectors to the words that have an id; None without a file.

        Raises DataError for a file that has none of the words.
        """
        if self.vectors is None:
            return None
        rows, vectors = read_vectors(self.vectors, ids)
        with torch.no_grad():
            self.words.weight[torch.from_numpy(rows)] = torch.from_numpy(vectors)
        known = set(rows.tolist())
        return Found(self.vectors.name, len(ids), tuple(word for word, row in ids.items() if row not in known))

    @classmethod
    def saved(cls, part: Part) -> Part:
        """Without the file: its vectors are among the weights."""
        return Part(part.name, {key: value for key, value in part.options.items() if key != OPTION})

    def _vectors(self, ids: Tensor) -> Tensor:
        vectors: Tensor = self.words(ids.clamp(min=0))
        return vectors


def width_of(path: Path) -> int:
    """How many numbers a word has. Raises DataError for a file that is none of word vectors."""
    with _lines(path) as lines:
        rows = list(itertools.islice(lines, 2))
    first = rows[0].split() if rows else []
    if _are_counts(first):
        return int(first[1])
    # a word may have spaces in it, and a part of it may be a number: the line with fewer numbers tells
    width = min((sum(1 for _ in itertools.takewhile(_is_number, row.split()[:0:-1])) for row in rows), default=0)
    if width < 2:
        raise _not_vectors(path, f"it begins with {rows[0][:40].rstrip()!r}" if rows else "it is empty")
    return width


def read_vectors(path: Path, ids: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """The ids (k) of those words that a file has, and their vectors (k, d). One line at a time is in memory.

    A word is taken as it is written, else in lower case; of one that comes twice, the first counts.
    Raises DataError for a line that does not fit the others, or where the file has none of the words.
    """
    width = width_of(path)
    exact: dict[int, np.ndarray] = {}
    lowered: dict[int, np.ndarray] = {}
    with _lines(path) as lines:
        for number, line in enumerate(lines, 1):
            word, *values = line.rstrip().rsplit(" ", width)
            if not line.strip() or (number == 1 and _are_counts(line.split())):
                continue
            if len(values) != width:
                raise _not_vectors(path, f"line {number} has {len(line.split()) - 1} numbers, others {width}")
            for table, key in ((exact, word), (lowered, word.lower())):
                row = ids.get(key)
                if row is not None and row not in table:
                    table[row] = _parsed(values, path, number)
    found = {**lowered, **exact}
    if not found:
        raise _not_vectors(path, f"it has none of the {len(ids):,} words of the training texts")
    rows = np.array(sorted(found), dtype=np.int64)
    return rows, np.stack([found[row] for row in rows.tolist()])


def _parsed(values: list[str], path: Path, number: int) -> np.ndarray:
    try:
        found = np.array(values, dtype=np.float32)
    except ValueError:
        found = np.array([np.nan])
    if not np.isfinite(found).all():
        raise _not_vectors(path, f"line {number} holds something else than finite numbers")
    return found


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[str]]:
    with opening(path):
        raw = path.open("rb")
    with raw, io.TextIOWrapper(gzip.open(raw) if path.suffix == ".gz" else raw, encoding="utf-8") as stream:
        try:
            yield iter(stream)
        except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
            raise _not_vectors(path, "it is no UTF-8 text; word2vec's binary files must be converted") from error


def _are_counts(words: list[str]) -> bool:
    """Whether a line is word2vec's first: how many words, and of how many numbers."""
    return len(words) == 2 and all(word.isdecimal() for word in words)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _not_vectors(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} is no file of word vectors for this: {why}; expected a text file with a word and its numbers on each "
        "line, as GloVe and word2vec write them",
        Reason.BAD_ROW,
    )
