"""Semantic object accuracy: does a detector find the object that the text names (Hinz et al. 2020)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Bool, Float64, Int64, UInt8


@runtime_checkable
class Detector(Protocol):
    """Anything that tells which of its classes a picture shows: a detector, a classifier, a person."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, one a column of what `detect` gives."""
        ...

    def detect(self, images: UInt8[np.ndarray, "n h w 3"]) -> Bool[np.ndarray, "n c"]:
        """Which classes each picture shows."""
        ...


@dataclass(frozen=True)
class ObjectAccuracy:
    """How often the named object is found.

    `hits[i]` belongs to the i-th (picture, named class), whose class is `wanted[i]` and picture `picture[i]`.
    """

    hits: Float64[np.ndarray, " q"]
    wanted: Int64[np.ndarray, " q"]
    picture: Int64[np.ndarray, " q"]

    @property
    def by_class(self) -> dict[int, float]:
        """Share found of each class that a text names."""
        return {int(one): float(self.hits[self.wanted == one].mean()) for one in np.unique(self.wanted)}

    @property
    def soa_c(self) -> float:
        """Mean over classes: a rare class counts as much as a common one."""
        return float(np.mean(list(self.by_class.values())))

    @property
    def soa_i(self) -> float:
        """Mean over pictures (a picture whose text names two classes counts for both)."""
        return float(self.hits.mean())


def semantic_object_accuracy(found: Bool[np.ndarray, "n c"], named: Sequence[Sequence[int]]) -> ObjectAccuracy:
    """`found[i, c]`: the detector sees class c in picture i; `named[i]`: the classes that its text names.

    Pictures whose text names no class are left out. Raises DataError when none is left, and for a class that the
    detector does not know.
    """
    if len(found) != len(named):
        raise DataError(f"{len(found)} pictures but {len(named)} texts; expected one each")
    pairs = [(place, one) for place, classes in enumerate(named) for one in dict.fromkeys(classes)]
    if not pairs:
        raise DataError("no text names a class that the detector knows; SOA has nothing to look for")
    picture, wanted = np.array(pairs, dtype=np.int64).T
    if wanted.min() < 0 or wanted.max() >= found.shape[1]:
        raise DataError(f"a text names class {int(wanted.max())}; the detector has {found.shape[1]}")
    return ObjectAccuracy(found[picture, wanted].astype(np.float64), wanted, picture)


def mentioned(
    texts: Sequence[str], classes: Sequence[str], synonyms: Mapping[str, Sequence[str]] = {}
) -> list[list[int]]:
    """Which classes each English text names, as whole words, singular or plural: "two dogs" names "dog".

    `synonyms` are other words for a class. A phrase that holds another one's words hides it: "hot dog" names no
    "dog" when both are classes.
    """
    words = {
        phrase.casefold(): place for place, name in enumerate(classes) for phrase in (name, *synonyms.get(name, ()))
    }
    longest_first = sorted(words, key=lambda phrase: (-len(phrase), phrase))
    if not longest_first:
        return [[] for _ in texts]
    pattern = re.compile(r"\b(" + "|".join(_any_number(phrase) for phrase in longest_first) + r")\b")
    spelled = {form: words[phrase] for phrase in reversed(longest_first) for form in _forms(phrase)}
    found = []
    for text in texts:
        named = [spelled[match.group(0)] for match in pattern.finditer(" ".join(text.casefold().split()))]
        found.append(list(dict.fromkeys(named)))
    return found


def _forms(phrase: str) -> list[str]:
    """A word and its regular plurals."""
    forms = [phrase, phrase + "s", phrase + "es"]
    return [*forms, phrase[:-1] + "ies"] if phrase.endswith("y") else forms


def _any_number(phrase: str) -> str:
    return "|".join(re.escape(form) for form in reversed(_forms(phrase)))
