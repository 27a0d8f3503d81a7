"""Texts as a sentence vector and word vectors, out of any text tower.

A tower gives one vector a text. Words are read in one of two ways: "alone", each word embedded on its own through the
same tower, once for every distinct word, where in writing without spaces (Chinese, Japanese, Thai, ...) a character
stands for a word; or "in_context", the state that the tower has of each of its tokens within the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.protocols import SILENT, Progress, TextTower, WordTower
from diptych.core.shapes import Bool, Float32, Int
from diptych.data.features import CachedRows, rows_of_tower, word_rows

ALONE, IN_CONTEXT = "alone", "in_context"
WAYS = (ALONE, IN_CONTEXT)  # of reading words

_RUN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*", re.UNICODE)
# Han, Hiragana, Katakana, Thai, Lao, Khmer, Myanmar: written without spaces between words
_UNSPACED = re.compile(
    "[\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\U00020000-\U0003ffff]"
)
_MARKS = ("Mn", "Mc", "Me")


def split_words(text: str) -> list[str]:
    """The words of a text, lower case, in order; characters with their marks where no spaces are written."""
    words: list[str] = []
    for run in re.findall(r"\S+", unicodedata.normalize("NFC", text).lower()):
        if not _UNSPACED.search(run):
            words += _RUN.findall(run)
            continue
        plain = ""
        for character in run:
            if unicodedata.category(character) in _MARKS and (words or plain):
                if plain:
                    plain += character
                else:
                    words[-1] += character
            elif _UNSPACED.match(character):
                words += _RUN.findall(plain)
                plain = ""
                words.append(character)
            else:
                plain += character
        words += _RUN.findall(plain)
    return words


@dataclass(frozen=True)
class TextArrays:
    """Some texts as a generator reads them. A padded word is 0 and masked out; each text has a word or more."""

    sentence: Float32[np.ndarray, "b d"]
    words: Float32[np.ndarray, "b w d"]
    mask: Bool[np.ndarray, "b w"]  # True where there is a word

    def __len__(self) -> int:
        return len(self.sentence)


def words_or_text(text: str) -> list[str]:
    """A text's words; the text itself where it has none (signs alone)."""
    return split_words(text) or [text]


def check_words(way: str, tower: TextTower, name: str) -> None:
    """Raise ConfigError where a tower, called `name`, cannot read words in that way."""
    if way == IN_CONTEXT and not isinstance(tower, WordTower):
        raise ConfigError(
            f'text.words = "{IN_CONTEXT}" needs the states that a transformer has of its tokens, and the text tower '
            f"{name!r} gives none; choose hf:NAME_OR_FOLDER or sentence-transformers:NAME_OR_FOLDER, or set text.words "
            f'= "{ALONE}"'
        )


def words_read(text: str, tower: TextTower, way: str) -> list[str]:
    """All words of a text as they are read in that way."""
    if way == IN_CONTEXT and isinstance(tower, WordTower):
        return tower.split([text])[0]
    return words_or_text(text)


def embed_texts(texts: Sequence[str], tower: TextTower, max_words: int, way: str = ALONE) -> TextArrays:
    """Texts through the tower now, without a cache. `max_words` 0 gives one empty word each."""
    if max_words == 0:
        return without_words(np.asarray(tower.embed(texts), dtype=np.float32))
    if way == IN_CONTEXT and isinstance(tower, WordTower):
        sentence, words, mask = tower.embed_words(texts, max_words)
        return TextArrays(_as_cached(sentence), _as_cached(words), mask)
    distinct, index = _words_of(texts, max_words)
    both = _as_cached(np.asarray(tower.embed([*texts, *distinct])))
    words = both[len(texts) :][index]
    return TextArrays(both[: len(texts)], np.where(index[:, :, None] >= 0, words, 0), index >= 0)


def _as_cached(vectors: Float32[np.ndarray, "*n d"]) -> Float32[np.ndarray, "*n d"]:
    """In the precision that vectors were cached in when the generator was trained."""
    return vectors.astype(np.float16).astype(np.float32)


def without_words(sentence: Float32[np.ndarray, "b d"]) -> TextArrays:
    """Texts of which only the sentence is used."""
    count, dim = sentence.shape
    return TextArrays(sentence, np.zeros((count, 1, dim), np.float32), np.ones((count, 1), np.bool_))


@dataclass(frozen=True)
class CachedTexts:
    """Sentence and word vectors of many texts, memory-mapped: `texts[rows]` reads what is asked for."""

    sentences: CachedRows
    words: CachedRows  # one for each distinct word, or for each word of each text
    index: Int[np.ndarray, "m w"]  # text -> its words among them; -1 is padding

    def __getitem__(self, which: Int[np.ndarray, " k"]) -> TextArrays:
        sentence = np.asarray(self.sentences[which], dtype=np.float32)
        if self.index.shape[1] == 0:
            return without_words(sentence)
        index = self.index[which]
        # trailing columns that nobody needs cost nothing
        index = index[:, : max(1, int((index >= 0).sum(axis=1).max()))]
        words = self.words[np.maximum(index, 0).reshape(-1)].reshape(*index.shape, -1)
        return TextArrays(sentence, np.where(index[:, :, None] >= 0, words, 0), index >= 0)

    @classmethod
    def collect(
        cls,
        texts: Sequence[str],
        sentences: CachedRows,
        tower: TextTower,
        root: Path,
        max_words: int,
        *,
        way: str = ALONE,
        progress: Progress = SILENT,
    ) -> CachedTexts:
        """Embed every distinct word, or the words of every distinct text, once ever beside the sentences' own rows.

        Args:
            texts: in the order of `sentences`.
            sentences: their cached features.
            tower: whose features they are.
            root: folder of the feature caches.
            max_words: how many words of a text count; 0 is none.
            way: one of WAYS.
        """
        if max_words and way == IN_CONTEXT and isinstance(tower, WordTower):
            return cls(sentences, *word_rows(texts, tower, root, max_words, progress))
        distinct, index = _words_of(texts, max_words)
        rows = rows_of_tower(distinct, tower, root, progress) if distinct else sentences
        return cls(sentences, rows, index)


def _words_of(texts: Sequence[str], max_words: int) -> tuple[list[str], Int[np.ndarray, "m w"]]:
    """The distinct words of some texts, in order, and for each text its words among them; -1 is padding."""
    split = [words_or_text(text)[:max_words] for text in texts]
    distinct = sorted({word for words in split for word in words})
    place = {word: row for row, word in enumerate(distinct)}
    index = np.full((len(split), max_words), -1, dtype=np.int32)
    for row, words in enumerate(split):
        index[row, : len(words)] = [place[word] for word in words]
    return distinct, index
