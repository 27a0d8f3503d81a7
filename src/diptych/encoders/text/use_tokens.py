"""The Universal Sentence Encoder's tokenizer: the ids of its package, word by word, each distinct word once.

No piece of the vocabulary goes over a space and no rule of the normaliser reads one with what surrounds it, so the
best pieces of a text are the best pieces of its words. Scores are float32 and their sums float64, which is exact at
these sizes: a word's best pieces are the same wherever it is.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache

SPACE = "▁"  # what SentencePiece writes before a word
UNKNOWN, START, END = 0, 1, 2
_UNKNOWN_PENALTY = 10.0  # an unknown character scores this much below the worst piece
_CACHED_WORDS = 65_536
_CACHED_LENGTH = 32  # characters; longer words, such as sentences without spaces, seldom come again
_FEW_WORDS = 1_000  # that are cut before the table of beginnings is worth building (30 ms)


class WordTokenizer:
    """Texts to token ids, between a token for the start and one for the end.

    Args:
        pieces: the vocabulary; ids count from 0.
        scores: log-probability of each piece.
        normalise: a text as SentencePiece reads it: `SPACE` before each word, none at the end, "" for nothing.

    The ids of the latest 65,536 words of at most 32 characters are remembered. Safe to use from several threads.
    """

    def __init__(self, pieces: Sequence[str], scores: array[float], normalise: Callable[[str], str]) -> None:
        self._pieces, self._scores, self._normalise = pieces, scores, normalise
        self._ids = dict(zip(pieces, range(len(pieces)), strict=True))
        self._unknown_score = min(scores) - _UNKNOWN_PENALTY
        self._longest = max(map(len, pieces))
        self._cut_words = 0
        self._remembered = lru_cache(maxsize=_CACHED_WORDS)(self._word)

    def __call__(self, text: str) -> list[int]:
        """Ids of a text whose only whitespace is spaces; an unknown token where nothing is left of it."""
        ids = [START]
        for word in text.split(" "):
            ids += self._remembered(word) if len(word) <= _CACHED_LENGTH else self._word(word)
        if len(ids) == 1:
            ids.append(UNKNOWN)
        ids.append(END)
        return ids

    def _word(self, word: str) -> tuple[int, ...]:
        plain = word.isascii() and word.isprintable()
        normalised = (word and SPACE + word) if plain else self._normalise(word)
        self._cut_words += 1
        return self._best_pieces(normalised)

    def _best_pieces(self, text: str) -> tuple[int, ...]:
        """Ids of the pieces of highest total score: Viterbi, left to right; of equal ones the longest last piece.

        A character that is no piece of its own may also be unknown.
        """
        find, scores, unknown, end = self._ids.get, self._scores, self._unknown_score, len(text)
        longest = self._longest_by_beginning.get if self._cut_words > _FEW_WORDS else None
        best = [0.0] + [-1e38] * end  # score of the best pieces up to here
        last: list[tuple[int, int]] = [(0, UNKNOWN)] * (end + 1)  # where the last of these begins, and its id
        for start in range(end):
            so_far, single = best[start], find(text[start])
            score = so_far + (unknown if single is None else scores[single])
            if score > best[start + 1]:
                best[start + 1], last[start + 1] = score, (start, single or UNKNOWN)
            reach = longest(text[start : start + 2], 1) if longest else self._longest
            for stop in range(start + 2, min(start + reach, end) + 1):
                piece = find(text[start:stop])
                if piece is not None and (score := so_far + scores[piece]) > best[stop]:
                    best[stop], last[stop] = score, (start, piece)
        found = []
        while end:
            end, piece = last[end]
            found.append(piece)
        return tuple(found[::-1])

    @cached_property
    def _longest_by_beginning(self) -> Mapping[str, int]:
        """Length of the longest piece that begins with two characters, so that fewer are looked up."""
        return {piece[:2]: len(piece) for piece in sorted(self._pieces, key=len) if len(piece) > 1}
