"""The same image or text in several records: a right answer for one of them counts as wrong for the other."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.notes import Notes
from diptych.core.shapes import Int64

SHARED_IMAGE, SHARED_TEXT, LEAKED_IMAGE = "shared_image", "shared_text", "leaked_image"  # kinds of notes


def shared(keys: Sequence[Hashable], owners: Iterable[int]) -> list[int]:
    """Places whose key has another owner too; `owners` run along the keys. None is nobody's key."""
    first: dict[Hashable, int] = {}
    several: set[Hashable] = set()
    owners = list(owners)
    for key, owner in zip(keys, owners, strict=True):
        if key is not None and first.setdefault(key, owner) != owner:
            several.add(key)
    return [place for place, key in enumerate(keys) if key in several]


def joined_labels(
    labels: Int64[np.ndarray, " records"], keys: Sequence[Hashable], owners: Int64[np.ndarray, " n"]
) -> Int64[np.ndarray, " records"]:
    """The labels of records, those with a common image (or one that has an image in common with both) made equal."""
    first: dict[Hashable, int] = {}
    of_images = labels[owners].tolist()
    known = ((key, label) for key, label in zip(keys, of_images, strict=True) if key is not None)
    links = ((first.setdefault(key, label), label) for key, label in known)
    least = connected(int(labels.max(initial=-1)) + 1, links)
    return np.array([least[label] for label in labels.tolist()], dtype=np.int64)


def connected(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """For each number below `count` the least one that it is linked with, directly or through others."""
    above = list(range(count))

    def top(number: int) -> int:
        while above[number] != number:
            above[number] = above[above[number]]
            number = above[number]
        return number

    for one, other in links:
        low, high = sorted((top(one), top(other)))
        above[high] = low
    return [top(number) for number in range(count)]


@dataclass(frozen=True)
class Contents:
    """What some records hold. `owners` are their numbers; `names` say where an image is from."""

    images: Sequence[bytes | None]  # keys
    image_owners: Sequence[int]
    names: Sequence[str]  # of the images
    texts: Sequence[str]
    text_owners: Sequence[int]


def note_shared(notes: Notes, found: Contents, among: str = "") -> None:
    """Note images and texts that are in several records; `among` names a part of them, such as "training"."""
    for kind, what, keys, owners, named in (
        (SHARED_IMAGE, "images", found.images, found.image_owners, found.names),
        (SHARED_TEXT, "texts", found.texts, found.text_owners, found.texts),
    ):
        if places := shared(keys, owners):
            detail = f"{what} that several {among}{among and ' '}records have: a right answer will count as wrong"
            notes.add(kind, detail, *(named[place] for place in places), count=len(places))


def note_shared_by_splits(notes: Notes, training: Contents, validation: Contents) -> None:
    """Note what records of either split share, and images that are in both splits."""
    note_shared(notes, training, "training")
    note_shared(notes, validation, "validation")
    known = set(training.images) - {None}
    if both := [name for key, name in zip(validation.images, validation.names, strict=True) if key in known]:
        detail = "images of validation records that training records have too: results will be too good"
        notes.add(LEAKED_IMAGE, detail, *both, count=len(both))
