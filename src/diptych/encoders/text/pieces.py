"""Pieces of words, learnt from how often each word occurs."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise


def learn_pieces(counts: Mapping[str, int], size: int, least: int = 1) -> list[str]:
    """Byte-pair merging over words by their counts, as WordPiece writes pieces ("##" inside a word).

    The library's own trainers break ties by the order of a hash table, so that two runs differ; here
    the more frequent pair goes first and, of equal ones, the first by the alphabet. A pair that occurs fewer than
    `least` times is not merged.
    """
    words = [[word[0], *(f"##{letter}" for letter in word[1:])] for word in sorted(counts)]
    weights = [counts[word] for word in sorted(counts)]
    letters: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    where: dict[tuple[str, str], set[int]] = defaultdict(set)
    for number, word in enumerate(words):
        for piece in word:
            letters[piece] += weights[number]
        for pair in pairwise(word):
            pairs[pair] += weights[number]
            where[pair].add(number)
    pieces = [piece for piece, _ in sorted(letters.items(), key=lambda item: (-item[1], item[0]))][:size]
    queue = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(queue)
    known = set(pieces)
    while len(pieces) < size and queue and -queue[0][0] >= least:
        count, pair = heapq.heappop(queue)
        if -count != pairs[pair] or not count:  # it changed since it was queued
            continue
        merged = pair[0] + pair[1].removeprefix("##")
        if merged not in known:  # two ways of cutting may lead to one piece
            pieces.append(merged)
            known.add(merged)
        changed: set[tuple[str, str]] = set()
        for number in sorted(where.pop(pair)):
            word = words[number]
            for old in pairwise(word):
                pairs[old] -= weights[number]
                changed.add(old)
            words[number] = _merged(word, pair, merged)
            for new in pairwise(words[number]):
                pairs[new] += weights[number]
                where[new].add(number)
                changed.add(new)
        for one in changed:
            if pairs[one]:
                heapq.heappush(queue, (-pairs[one], one))
    return pieces


def _merged(word: Sequence[str], pair: tuple[str, str], merged: str) -> list[str]:
    found: list[str] = []
    for piece in word:
        if found and (found[-1], piece) == pair:
            found[-1] = merged
        else:
            found.append(piece)
    return found
