"""Minimal pairs: two texts that differ in one attribute, and nothing else."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from diptych.core.errors import DataError, Reason
from diptych.core.types import Pair

COLOUR, COUNT, OBJECT, WORD = "colour", "count", "object", "other word"
COLOURS = ("red", "green", "blue", "yellow", "black", "white", "orange", "purple", "brown", "pink", "grey", "gray")
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_HUES = (("red", "green"), ("blue", "yellow"), ("black", "white"), ("orange", "purple"))
_HUED = ("apple", "heart", "car", "ball", "flower", "book")
_COUNTED = ("dog", "cat", "heart", "flower", "book", "person")
_COUNTS = (("one", "two"), ("two", "three"), ("one", "three"))
_SWAPPED = (
    ("dog", "cat"), ("apple", "banana"), ("car", "bicycle"), ("fish", "bird"), ("heart", "star"), ("book", "pen"),
    ("house", "tree"), ("sun", "moon"), ("hat", "shoe"), ("pizza", "cake"), ("horse", "cow"), ("guitar", "drum"),
)  # fmt: skip
_PLURALS = {"person": "people"}


@dataclass(frozen=True)
class MinimalPair:
    """Two texts and what differs. `real` are places of real pairs whose texts they are, where there are such."""

    attribute: str
    one: str
    other: str
    real: tuple[int, int] | None = None


def usual_pairs() -> list[MinimalPair]:
    """English pairs that are the same for every generator: colours, counts and objects."""
    colours = [
        MinimalPair(COLOUR, f"{_article(one)} {one} {thing}", f"{_article(other)} {other} {thing}")
        for thing, (one, other) in itertools.product(_HUED, _HUES)
    ]
    counts = [
        MinimalPair(COUNT, f"{one} {_many(thing, one)}", f"{other} {_many(thing, other)}")
        for thing, (one, other) in itertools.product(_COUNTED, _COUNTS)
    ]
    objects = [MinimalPair(OBJECT, f"{_article(one)} {one}", f"{_article(other)} {other}") for one, other in _SWAPPED]
    return [*colours, *counts, *objects]


def pairs_in(pairs: Sequence[Pair], lang: str = "en", fields: Sequence[str] = (), most: int = 200) -> list[MinimalPair]:
    """Pairs of texts of a source that differ in exactly one word, with the pairs they are of.

    Words for colours and for numbers make the attribute; every other word makes it "other word". At most `most` of
    each attribute, in the order of the source.
    """
    by_frame: dict[tuple[str, ...], list[tuple[str, str, int]]] = {}
    for place, pair in enumerate(pairs):
        seen = set()
        for text in pair.texts:
            if text.lang not in (lang, None) or (fields and text.field not in fields) or text.value in seen:
                continue
            seen.add(text.value)
            words = re.findall(r"\w+|[^\w\s]", text.value.casefold())
            for hole in range(len(words)) if 2 <= len(words) <= 16 else ():
                frame = (*words[:hole], "\0", *words[hole + 1 :])
                by_frame.setdefault(frame, []).append((words[hole], text.value, place))
    found: dict[str, list[MinimalPair]] = {}
    for group in by_frame.values():
        for (word, one, place), (changed, other, elsewhere) in itertools.combinations(group, 2):
            if word == changed or place == elsewhere:
                continue
            several = found.setdefault(_attribute(word, changed), [])
            if len(several) < most:
                several.append(MinimalPair(_attribute(word, changed), one, other, (place, elsewhere)))
    return [one for attribute in sorted(found) for one in found[attribute]]


def read_minimal_pairs(path: Path) -> list[MinimalPair]:
    """JSON lines of {"attribute", "one", "other"}. Raises DataError naming the first line that is not that."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # U+2028 and its like end no line
    except OSError as error:
        raise DataError(f"cannot open {path}: {error.strerror or error}", Reason.MISSING) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text") from error
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            attribute, first, second = (str(row[key]).strip() for key in ("attribute", "one", "other"))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise DataError(f'{path} line {number}: expected {{"attribute", "one", "other"}}') from error
        if not first or not second or first == second:
            raise DataError(f"{path} line {number}: expected two different texts, found {first!r} and {second!r}")
        found.append(MinimalPair(attribute, first, second))
    if not found:
        raise DataError(f"{path} holds no minimal pairs")
    return found


def attributes_of(pairs: Iterable[MinimalPair]) -> list[str]:
    """The attributes, in the order they come."""
    return list(dict.fromkeys(pair.attribute for pair in pairs))


def _attribute(one: str, other: str) -> str:
    for name, words in ((COLOUR, COLOURS), (COUNT, NUMBERS)):
        if one in words and other in words:
            return name
    return WORD


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _many(thing: str, number: str) -> str:
    return thing if number == "one" else _PLURALS.get(thing, f"{thing}s")
