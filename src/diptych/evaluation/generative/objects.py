"""Objects that texts name and detectors find: Semantic Object Accuracy, and how far a detector agrees with captions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from diptych.core.errors import DataError, ModelError
from diptych.core.shapes import Bool, Float32, Float64, Int64, UInt8

from .object_words import OBJECT_WORDS, OTHER_MEANINGS

_Z = 1.959964  # standard deviations of a 95% interval
_PLAIN = str.maketrans("-\u2010\u2011\u2019", "   '")


@runtime_checkable
class Detector(Protocol):
    """Whatever says which of its classes an image shows: a detector, a classifier, a person."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, one a column of what `detect` gives."""
        ...

    def detect(self, images: UInt8[np.ndarray, "n h w 3"]) -> Bool[np.ndarray, "n c"]:
        """Which classes each image shows."""
        ...


@runtime_checkable
class ScoringDetector(Detector, Protocol):
    """A detector that finds a class where its score is at least `threshold`."""

    @property
    def threshold(self) -> float:
        """The least score that counts as found."""
        ...

    def scores(self, images: UInt8[np.ndarray, "n h w 3"]) -> Float32[np.ndarray, "n c"]:
        """The best score, in [0, 1], of each class in each image; 0 where it found nothing."""
        ...


def look(detector: Detector, images: UInt8[np.ndarray, "n h w 3"]) -> Bool[np.ndarray, "n c"]:
    """What the detector finds. Raises ModelError for a detector that does not keep to its own list of classes."""
    found = np.asarray(detector.detect(images))
    _check(detector, found, len(images), "b", "True or False")
    return found


def look_for_scores(detector: ScoringDetector, images: UInt8[np.ndarray, "n h w 3"]) -> Float32[np.ndarray, "n c"]:
    """The scores that the detector gives. Raises ModelError as `look`."""
    found = np.asarray(detector.scores(images))
    _check(detector, found, len(images), "f", "scores")
    return found


def _check(detector: Detector, found: np.ndarray, images: int, kind: str, what: str) -> None:
    shape = (images, len(detector.classes))
    if found.shape != shape or found.dtype.kind != kind:
        raise ModelError(
            f"the detector {detector.name} gives {found.dtype} of shape {found.shape}; expected {what} of shape {shape}"
        )


@dataclass(frozen=True)
class ObjectAccuracy:
    """How often the named object is found.

    `hits[i]` belongs to the i-th (image, named class), whose class is `wanted[i]` and image `image[i]`. `elsewhere[i]`
    is the share of the images whose text does not name that class in which it is found as well: what an image that has
    nothing to do with its text would get. NaN where every text names it.
    """

    hits: Float64[np.ndarray, " q"]
    wanted: Int64[np.ndarray, " q"]
    image: Int64[np.ndarray, " q"]
    elsewhere: Float64[np.ndarray, " q"]

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
        """Mean over images (an image whose text names two classes counts for both)."""
        return float(self.hits.mean())

    @property
    def chance_c(self) -> float | None:
        """What SOA-C would be if images and texts had nothing to do with each other; None where that is not known."""
        rates = self.elsewhere[np.unique(self.wanted, return_index=True)[1]]
        return float(np.nanmean(rates)) if np.isfinite(rates).any() else None

    @property
    def chance_i(self) -> float | None:
        """The same of SOA-I."""
        return float(np.nanmean(self.elsewhere)) if np.isfinite(self.elsewhere).any() else None


def semantic_object_accuracy(found: Bool[np.ndarray, "n c"], named: Sequence[Sequence[int]]) -> ObjectAccuracy:
    """`found[i, c]`: the detector sees class c in image i; `named[i]`: the classes that its text names.

    Images whose text names no class are left out, but for the share that is found elsewhere. Raises DataError when none
    is left, and for a class that the detector does not know. Source: Hinz et al. 2020.
    """
    if len(found) != len(named):
        raise DataError(f"{len(found)} images but {len(named)} texts; expected one each")
    pairs = [(place, one) for place, classes in enumerate(named) for one in dict.fromkeys(classes)]
    if not pairs:
        raise DataError("no text names a class that the detector knows; SOA has nothing to look for")
    image, wanted = np.array(pairs, dtype=np.int64).T
    if wanted.min() < 0 or wanted.max() >= found.shape[1]:
        raise DataError(f"a text names class {int(wanted.max())}; the detector has {found.shape[1]}")
    asked = as_matrix(named, found.shape[1])
    others = (~asked).sum(axis=0)
    elsewhere = np.where(others, (found & ~asked).sum(axis=0) / np.maximum(others, 1), np.nan)
    return ObjectAccuracy(found[image, wanted].astype(np.float64), wanted, image, elsewhere[wanted])


def as_matrix(named: Sequence[Sequence[int]], classes: int) -> Bool[np.ndarray, "n c"]:
    """`named[i]`, the classes of row i, as a row of True and False."""
    found = np.zeros((len(named), classes), dtype=np.bool_)
    for row, each in enumerate(named):
        found[row, list(each)] = True
    return found


@dataclass(frozen=True)
class Share:
    """A share `part` of `whole`, with Wilson's 95% interval; all three are NaN of nothing."""

    part: int
    whole: int

    @property
    def value(self) -> float:
        """The share itself."""
        return self.part / self.whole if self.whole else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """The lower and the upper bound."""
        if not self.whole:
            return float("nan"), float("nan")
        spread = _Z**2 / self.whole
        middle = (self.value + spread / 2) / (1 + spread)
        half = _Z / (1 + spread) * float(np.sqrt((self.value * (1 - self.value) + spread / 4) / self.whole))
        return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Agreement:
    """How far what a detector finds agrees with what captions name, in numbers of (image, class)."""

    images: int
    named: int
    found: int
    both: int

    @property
    def precision(self) -> Share:
        """The share of finds that a caption confirms. Captions leave much out, so the truth is higher."""
        return Share(self.both, self.found)

    @property
    def recall(self) -> Share:
        """The share of what captions name that is found: what SOA gives to a perfect generator."""
        return Share(self.both, self.named)

    @property
    def elsewhere(self) -> Share:
        """The share of images without a caption that names it in which it is found: what SOA gives to chance."""
        return Share(self.found - self.both, self.images - self.named)


def agreement(found: Bool[np.ndarray, "n c"], named: Bool[np.ndarray, "n c"]) -> list[Agreement]:
    """Of each class, over n images."""
    counts = zip(named.sum(axis=0), found.sum(axis=0), (found & named).sum(axis=0), strict=True)
    return [Agreement(len(found), int(asked), int(seen), int(both)) for asked, seen, both in counts]


def mentioned(
    texts: Sequence[str],
    classes: Sequence[str],
    words: Mapping[str, Sequence[str]] = OBJECT_WORDS,
    other_meanings: Sequence[str] = OTHER_MEANINGS,
) -> list[list[int]]:
    """Which classes each English text names, as whole words, singular or plural: "two dogs" names "dog".

    `words` are all that name a class; one that is not there is named by its own name. A phrase hides the words in it:
    "hot dog" names no "dog", be it a class itself or one of `other_meanings`, which name nothing. A hyphen counts as a
    space: "hot-dog" is one too.
    """
    meant: dict[str, int | None] = {_plain(phrase): None for phrase in other_meanings}
    for place, name in enumerate(classes):
        meant |= {_plain(phrase): place for phrase in words.get(name.casefold(), (name,))}
    longest_first = sorted(meant, key=lambda phrase: (-len(phrase), phrase))
    if not classes:
        return [[] for _ in texts]
    pattern = re.compile(r"\b(" + "|".join(_any_number(phrase) for phrase in longest_first) + r")\b")
    spelled = {form: meant[phrase] for phrase in reversed(longest_first) for form in _forms(phrase)}
    found = []
    for text in texts:
        named = [spelled[match.group(0)] for match in pattern.finditer(_plain(text))]
        found.append([place for place in dict.fromkeys(named) if place is not None])
    return found


def _plain(text: str) -> str:
    """In lower case, with one space between words, also for hyphens, and straight apostrophes."""
    return " ".join(text.casefold().translate(_PLAIN).split())


def _forms(phrase: str) -> list[str]:
    """A word and its regular plurals."""
    forms = [phrase, phrase + "s", phrase + "es"]
    return [*forms, phrase[:-1] + "ies"] if phrase.endswith("y") else forms


def _any_number(phrase: str) -> str:
    return "|".join(re.escape(form) for form in reversed(_forms(phrase)))
