"""The Universal Sentence Encoder's tokenizer: the ids of its package, part by part, each distinct part once.

No piece of the vocabulary goes over a space and no rule of the normaliser reads one with what surrounds it, so the
best pieces of a text are the best pieces of its words. Nor does a piece go over two characters that are side by side in
no piece at all, so a word, or a sentence of a script without spaces, is cut there too. Scores are float32 and their
sums float64, which is exact at these sizes: a part's best pieces are the same wherever it is.
"""

from __future__ import annotations

import operator
import unicodedata
from array import array
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache

SPACE = "▁"  # what SentencePiece writes before a word
UNKNOWN, START, END = 0, 1, 2
_UNKNOWN_PENALTY = 10.0  # an unknown character scores this much below the worst piece
_CACHED = 65_536  # words, and parts of words
_CACHED_LENGTH = 32  # characters; longer ones seldom come again
_FEW_CHARACTERS = 8_000  # that are cut before the pairs of characters are worth collecting (70 ms)


class WordTokenizer:
    """Texts to token ids, between a token for the start and one for the end.

    Args:
        pieces: the vocabulary; ids count from 0.
        scores: log-probability of each piece.
        normalise: a text as SentencePiece reads it: `SPACE` before each word, none at the end, "" for nothing.

    The ids of the latest 65,536 words, and parts of words, of at most 32 characters are remembered. Safe to use from
    several threads.
    """

    def __init__(self, pieces: Sequence[str], scores: array[float], normalise: Callable[[str], str]) -> None:
        self._pieces, self._scores, self._normalise = pieces, scores, normalise
        self._ids = dict(zip(pieces, range(len(pieces)), strict=True))
        self._unknown_score = min(scores) - _UNKNOWN_PENALTY
        self._longest = max(map(len, pieces))
        self._cut = 0  # characters so far
        self._plain: set[str] = set()
        self._word = lru_cache(maxsize=_CACHED)(self._cut_word)
        self._part = lru_cache(maxsize=_CACHED)(self._best_pieces)

    def __call__(self, text: str) -> list[int]:
        """Ids of a text whose only whitespace is spaces; an unknown token where nothing is left of it."""
        ids = [START]
        for word in text.split(" "):
            ids += self._word(word) if len(word) <= _CACHED_LENGTH else self._cut_word(word)
        if len(ids) == 1:
            ids.append(UNKNOWN)
        ids.append(END)
        return ids

    def _cut_word(self, word: str) -> tuple[int, ...]:
        self._cut += len(word)
        text = (word and SPACE + word) if self._is_plain(word) else self._normalise(word)
        if self._cut <= _FEW_CHARACTERS:
            return self._best_pieces(text)
        ids: list[int] = []
        pairs, start = self._pairs, 0
        for place, pair in enumerate(map(operator.add, text, text[1:]), 1):
            if pair not in pairs:
                ids += self._part(text[start:place])
                start = place
        rest = text[start:]
        ids += self._part(rest) if len(rest) <= _CACHED_LENGTH else self._best_pieces(rest)
        return tuple(ids)

    def _is_plain(self, word: str) -> bool:
        """Whether the normaliser leaves a word as it is, told by its characters one by one."""
        if not self._plain.issuperset(word):
            new = set(word) - self._plain
            self._plain.update(each for each in new if not joins(each) and self._normalise(each) == SPACE + each)
        return self._plain.issuperset(word)

    def _best_pieces(self, text: str) -> tuple[int, ...]:
        """Ids of the pieces of highest total score: Viterbi, left to right; of equal ones the longest last piece.

        A character that is no piece of its own may also be unknown.
        """
        find, scores, unknown, end = self._ids.get, self._scores, self._unknown_score, len(text)
        best = [0.0] + [-1e38] * end  # score of the best pieces up to here
        last: list[tuple[int, int]] = [(0, UNKNOWN)] * (end + 1)  # where the last of these begins, and its id
        for start in range(end):
            so_far, single = best[start], find(text[start])
            score = so_far + (unknown if single is None else scores[single])
            if score > best[start + 1]:
                best[start + 1], last[start + 1] = score, (start, single or UNKNOWN)
            for stop in range(start + 2, min(start + self._longest, end) + 1):
                piece = find(text[start:stop])
                if piece is not None and (score := so_far + scores[piece]) > best[stop]:
                    best[stop], last[stop] = score, (start, piece)
        found = []
        while end:
            end, piece = last[end]
            found.append(piece)
        return tuple(found[::-1])

    @cached_property
    def _pairs(self) -> frozenset[str]:
        """What two characters are side by side in some piece."""
        return frozenset(piece[place : place + 2] for piece in self._pieces for place in range(len(piece) - 1))


def joins(character: str) -> bool:
    """Whether SentencePiece's normaliser (NFKC) may read a character together with the one before it.

    So it does with marks, and with jamo and half-width signs that follow others; this says it of a few more.
    """
    return (
        unicodedata.category(character)[0] == "M"
        or "\u1100" <= character <= "\u11ff"
        or "\u3130" <= character <= "\u318f"
        or "\uff65" <= character <= "\uffdc"
    )
