"""Images that come more than once, in one split or, worse, in two: equal bytes, or nearly equal hashes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.data.images import near_pairs

from .image_facts import ImageFacts
from .report import Duplicates, SourceProblem


@dataclass(frozen=True, slots=True)
class Use:
    """One image in one pair. `place` is the image's position among the images inspected."""

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


def find_duplicates(
    uses: Sequence[Use], facts_of: Sequence[ImageFacts | None], radius: int
) -> tuple[Duplicates, list[SourceProblem]]:
    """Counts and names of identical and near-identical images.

    An image is counted once, as what is worst about it: identical to one in another split, near one
    in another split, identical to one in the same split, near one in the same split. Pairs without
    a split count as a split of their own, but never as "another" one. Blank images and sounds
    are compared by content only.
    """
    kept, facts = _readable(uses, facts_of)
    codes = {split: number for number, split in enumerate(dict.fromkeys(use.split for use in kept))}
    splits = np.array([codes[use.split] for use in kept], dtype=np.int64)
    nameless = codes.get(None, -1)
    partners = {kind: np.full(len(kept), -1, dtype=np.int64) for kind in Duplicates.KINDS}
    for exact, left, right in _alike(kept, facts, radius):
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
            problems.append(SourceProblem(f"{worst}_duplicate", use.name, _described(use, other)))
    return Duplicates(**counts), problems


def _described(use: Use, other: Use) -> str:
    own = f"in {use.split}; " if use.split else ""
    return f"{own}like {other.name}" + (f" in {other.split}" if other.split else "")


def _readable(uses: Sequence[Use], facts_of: Sequence[ImageFacts | None]) -> tuple[list[Use], list[ImageFacts]]:
    """Readable images and their facts, once for each pair that has them (a pair that lists one twice is no leak)."""
    seen: dict[tuple[int, bytes], tuple[Use, ImageFacts]] = {}
    for use in uses:
        facts = facts_of[use.place]
        if facts is not None:
            seen.setdefault((use.pair, facts.digest), (use, facts))
    return [use for use, _ in seen.values()], [facts for _, facts in seen.values()]


def _alike(
    uses: Sequence[Use], facts: Sequence[ImageFacts], radius: int
) -> Iterator[tuple[bool, np.ndarray, np.ndarray]]:
    """(exact, left, right): blocks of positions in `uses` of identical, then of near images.

    Each of some identical images is compared with the first of every split: enough to know all that have a partner.
    Of identical ones in the same split only the first is compared with near ones.
    """
    by_digest: dict[bytes, list[int]] = defaultdict(list)
    for number, own in enumerate(facts):
        by_digest[own.digest].append(number)
    chosen: list[int] = []
    for members in by_digest.values():
        firsts = sorted({uses[number].split: number for number in reversed(members)}.values())
        for first in firsts if len(members) > 1 else ():
            others = np.array([number for number in members if number != first], dtype=np.int64)
            yield True, np.full_like(others, first), others
        if facts[members[0]].is_comparable:
            chosen += firsts
    positions = np.array(chosen, dtype=np.int64)
    for left, right in near_pairs(np.array([facts[number].hash for number in chosen], dtype=np.uint64), radius):
        yield False, positions[left], positions[right]
