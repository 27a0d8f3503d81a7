"""Classification: where each image's own class landed among all classes, and what follows from it.

An image's rank is the number of other classes that score as high as its own or higher: 0 is right, a tie counts
against. top-k is the share of images of rank < k. per-class is the mean over the classes of each one's top-1, so that
rare classes weigh as much as common ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Float, Int64

from .bootstrap import Addend, Number, Sample

TOPS = (1, 5)
PER_CLASS = "per-class"
DIRECTION = "image_to_class"


def class_ranks(scores: Float[np.ndarray, "n c"], labels: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """How many other classes score as high as an image's own class or higher; a NaN counts against."""
    own = scores[np.arange(len(labels)), labels][:, None]
    return np.asarray((~(scores < own)).sum(axis=1) - 1, dtype=np.int64)


def predicted(scores: Float[np.ndarray, "n c"], labels: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """The class that each image is taken for: the one that scores highest; of several, one that is wrong."""
    of_others = np.where(np.arange(scores.shape[1]) == labels[:, None], -np.inf, scores)
    best = of_others.argmax(axis=1)
    return np.where(class_ranks(scores, labels) == 0, labels, best).astype(np.int64)


def accuracy_numbers(
    draws: Sequence[Int64[np.ndarray, " n"]],
    labels: Int64[np.ndarray, " n"],
    units: Int64[np.ndarray, " n"],
    classes: int,
) -> dict[str, Number]:
    """top-1, top-5 (where there are more than five classes) and per-class by name, ready for a bootstrap.

    Args:
        draws: the ranks of the same images, one array a draw (such as a seed); a number is the mean over the draws.
        labels: the class of each image.
        units: the record of each image, which the bootstrap draws.
        classes: how many there are.
    """
    found = {}
    for top in TOPS:
        if top == 1 or top < classes:
            samples = tuple(Sample((ranks < top).astype(np.float64), units) for ranks in draws)
            found[f"top-{top}"] = Number((Addend(samples),))
    samples = tuple(Sample((ranks == 0).astype(np.float64), units, labels) for ranks in draws)
    found[PER_CLASS] = Number((Addend(samples),))
    return found


@dataclass(frozen=True)
class ClassScore:
    """One class: its images, the shares of them at rank 0 and below 5, and the classes they are most taken for."""

    name: str
    images: int
    top_1: float
    top_5: float
    taken_for: tuple[tuple[str, int], ...]  # wrong classes and how many images, most first


def class_scores(
    ranks: Int64[np.ndarray, " n"],
    guesses: Int64[np.ndarray, " n"],
    labels: Int64[np.ndarray, " n"],
    names: Sequence[str],
    most: int = 3,
) -> list[ClassScore]:
    """Each class that has images, in the order of `names`, with the `most` frequent confusions."""
    found = []
    for number, name in enumerate(names):
        own = labels == number
        if not own.any():
            continue
        wrong = np.bincount(guesses[own & (guesses != labels)], minlength=len(names))
        order = np.argsort(-wrong, kind="stable")[:most]
        taken = tuple((names[place], int(wrong[place])) for place in order if wrong[place])
        top_1, top_5 = (float((ranks[own] < top).mean()) for top in TOPS)
        found.append(ClassScore(name, int(own.sum()), top_1, top_5, taken))
    return found


def confusions(
    guesses: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " n"], names: Sequence[str]
) -> list[tuple[str, str, int]]:
    """(class, class that it is taken for, images), most images first; right answers are left out."""
    wrong = guesses != labels
    pairs, counts = np.unique(np.stack([labels[wrong], guesses[wrong]]), axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(names[pairs[0, place]], names[pairs[1, place]], int(counts[place])) for place in order]


def check_labels(labels: Int64[np.ndarray, " n"], classes: int) -> None:
    """Raise DataError unless there are images of two classes or more, each one of `classes`."""
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        raise DataError(f"found the class number {int(labels.max())}; expected numbers below {classes}")
    if len(np.unique(labels)) < 2:
        raise DataError(f"found images of {len(np.unique(labels))} class; expected two classes or more to tell apart")
