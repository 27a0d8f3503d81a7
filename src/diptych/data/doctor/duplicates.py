"""Images that come more than once, in one split or, worse, in two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .image_facts import Look
from .near import near_pairs
from .report import Duplicates, Problem


@dataclass(frozen=True, slots=True)
class Use:
    """One image in one pair. `place` is the image's position among the images looked at."""

    pair: int
    place: int
    split: str | None
    name: str


class TextUses:
    """In which splits each text comes, and in how many pairs of them; a text is a hash, so that millions fit."""

    def __init__(self) -> None:
        self._once: dict[int, str | None] = {}  # hash of a text -> the split of its only pair
        self._more: dict[int, Counter[str | None]] = {}

    def __len__(self) -> int:
        return len(self._once) + len(self._more)

    def add(self, text: str, split: str | None) -> bool:
        """Note a pair that has the text; whether another one had it before."""
        key = hash(text)
        if key in self._once:
            self._more[key] = Counter([self._once.pop(key)])
        if key not in self._more:
            self._once[key] = split
            return False
        self._more[key][split] += 1
        return True

    def shared(self) -> tuple[int, int]:
        """Uses of texts that are in two named splits, and of the others those of texts that a split has twice."""
        across = within = 0
        for counts in self._more.values():
            if len(counts.keys() - {None}) > 1:
                across += counts.total()
            else:
                within += sum(count for count in counts.values() if count > 1)
        return across, within


def find_duplicates(uses: Sequence[Use], looks: Sequence[Look | None], radius: int) -> tuple[Duplicates, list[Problem]]:
    """Counts and names of identical and near-identical images.

    An image is counted once, as what is worst about it: identical to one in another split, near one
    in another split, identical to one in the same split, near one in the same split. Pairs without
    a split count as a split of their own, but never as "another" one. Blank images are compared
    by content only.
    """
    kept = _distinct_uses(uses, looks)
    codes: dict[str | None, int] = {}
    for use in kept:
        codes.setdefault(use.split, len(codes))
    splits = np.array([codes[use.split] for use in kept], dtype=np.int64)
    nameless = codes.get(None, -1)
    partners = {kind: np.full(len(kept), -1, dtype=np.int64) for kind in Duplicates.KINDS}
    for exact, left, right in _alike(kept, looks, radius):
        same = splits[left] == splits[right]
        across = ~same & (splits[left] != nameless) & (splits[right] != nameless)
        how = "identical" if exact else "near"
        for kind, chosen in ((f"{how}_across", across), (f"{how}_within", same)):
            partners[kind][right[chosen]] = left[chosen]
            partners[kind][left[chosen]] = right[chosen]
    counts = dict.fromkeys(Duplicates.KINDS, 0)
    problems = []
    for number, use in enumerate(kept):
        worst = next((kind for kind in Duplicates.KINDS if partners[kind][number] >= 0), None)
        if worst is not None:
            counts[worst] += 1
            other = kept[int(partners[worst][number])]
            problems.append(Problem(f"{worst}_duplicate", use.name, _described(use, other)))
    return Duplicates(**counts), problems


def _described(use: Use, other: Use) -> str:
    own = f"in {use.split}; " if use.split else ""
    return f"{own}like {other.name}" + (f" in {other.split}" if other.split else "")


def _distinct_uses(uses: Sequence[Use], looks: Sequence[Look | None]) -> list[Use]:
    """Readable images, once for each pair that has them (a pair that lists one twice is no leak)."""
    seen: dict[tuple[int, bytes], Use] = {}
    for use in uses:
        look = looks[use.place]
        if look is not None:
            seen.setdefault((use.pair, look.digest), use)
    return list(seen.values())


def _alike(
    uses: Sequence[Use], looks: Sequence[Look | None], radius: int
) -> Iterator[tuple[bool, np.ndarray, np.ndarray]]:
    """(exact, left, right): blocks of positions in `uses` of identical, then of near images."""
    by_digest: dict[bytes, list[int]] = {}
    for number, use in enumerate(uses):
        look = looks[use.place]
        if look is not None:
            by_digest.setdefault(look.digest, []).append(number)
    for members in by_digest.values():
        if len(members) > 1:
            yield from _identical(uses, members)
    yield from _near(uses, looks, by_digest, radius)


def _identical(uses: Sequence[Use], members: list[int]) -> Iterator[tuple[bool, np.ndarray, np.ndarray]]:
    """Each member against the first of every split: enough to know all that have a partner."""
    firsts: dict[str | None, int] = {}
    for number in members:
        firsts.setdefault(uses[number].split, number)
    for first in firsts.values():
        others = np.array([number for number in members if number != first], dtype=np.int64)
        yield True, np.full(len(others), first, dtype=np.int64), others


def _near(
    uses: Sequence[Use], looks: Sequence[Look | None], by_digest: dict[bytes, list[int]], radius: int
) -> Iterator[tuple[bool, np.ndarray, np.ndarray]]:
    """Near images; of identical ones in the same split only the first takes part."""
    chosen: list[int] = []
    hashes: list[int] = []
    for members in by_digest.values():
        firsts: dict[str | None, int] = {}
        for number in members:
            firsts.setdefault(uses[number].split, number)
        look = looks[uses[members[0]].place]
        if look is not None and not look.blank:
            chosen += firsts.values()
            hashes += [look.hash] * len(firsts)
    positions = np.array(chosen, dtype=np.int64)
    for left, right in near_pairs(np.array(hashes, dtype=np.uint64), radius):
        yield False, positions[left], positions[right]
