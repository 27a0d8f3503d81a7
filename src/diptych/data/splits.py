"""Training and validation pairs, whether the source names splits or not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence

from diptych.core import fingerprint
from diptych.core.errors import DataError, Reason
from diptych.core.types import ImageRef, Pair

from .cache import image_key
from .repeats import connected

HELD_OUT = "held-out"  # the split of any source: what a training with the usual settings holds out of it
SHARE = 0.1  # of it, where the source names no validation split


def held_out(identity: str, share: float) -> bool:
    """Whether a record belongs to the held-out share: a function of its identity alone, so it never moves."""
    return int(fingerprint.combined([identity])[:8], 16) < share * 2**32


def held_out_of(pairs: Sequence[Pair], share: float) -> list[bool]:
    """For each record, whether it is held out. Records with one id, or with an image in common, stay together."""
    return [held_out(name, share) for name in _families(pairs)]


def divide(pairs: Sequence[Pair], train: str, val: str, share: float) -> dict[str, list[Pair]]:
    """{"train": ..., "val": ...}: by the source's splits, or by `held_out_of` where it has none.

    A source that names only the training split gets its validation pairs out of that. Documents that only stand in
    the gallery are in both. Raises DataError when either would be empty.
    """
    gallery = [pair for pair in pairs if pair.is_gallery]
    pairs = [pair for pair in pairs if not pair.is_gallery]
    names = Counter(pair.split for pair in pairs)
    chosen: dict[str, list[Pair]] = {"train": [], "val": []}
    if val in names:
        for name, wanted in (("train", train), ("val", val)):
            chosen[name] = [pair for pair in pairs if pair.split == wanted]
    else:
        pool = [pair for pair in pairs if pair.split in (None, train)]
        for pair, is_held in zip(pool, held_out_of(pool, share), strict=True):
            chosen["val" if is_held else "train"].append(pair)
    for name, wanted in (("train", train), ("val", val)):
        if not chosen[name]:
            listed = ", ".join(f"{split or 'no split'} ({count})" for split, count in names.items()) or "none"
            raise DataError(
                f"no {name} pairs: looked for split {wanted!r}, found {listed}; "
                f"set data.{name} in the config to one of these, or add pairs",
                Reason.BAD_ROW,
            )
    return {name: [*some, *gallery] for name, some in chosen.items()}


def _families(pairs: Sequence[Pair]) -> list[str]:
    """A name for each record, shared by all records with its id or one of its images: the first of their ids."""
    first: dict[Hashable, int] = {}
    images = same_images([ref for pair in pairs for ref in pair.images])
    values = (
        (value, number)
        for number, pair in enumerate(pairs)
        for value in (("id", pair.id), *(("image", next(images)) for _ in pair.images))
    )
    family = connected(len(pairs), ((first.setdefault(value, number), number) for value, number in values))
    names: dict[int, str] = {}
    for number, pair in zip(family, pairs, strict=True):
        names[number] = min(names.get(number, pair.id), pair.id)
    return [names[number] for number in family]


def same_images(refs: Sequence[ImageRef]) -> Iterator[Hashable]:
    """A value for each image, equal for equal bytes. Only images that share their size with another are read."""
    values: dict[ImageRef, Hashable] = {ref: _size(ref) for ref in refs}
    for ref in _shared(values):
        values[ref] = image_key(ref) or ref
    return iter([values[ref] for ref in refs])


def _shared(values: Mapping[ImageRef, Hashable]) -> list[ImageRef]:
    """The images whose value another image has too."""
    having: dict[Hashable, list[ImageRef]] = defaultdict(list)
    for ref, value in values.items():
        having[value].append(ref)
    return [ref for found in having.values() if len(found) > 1 for ref in found]


def _size(ref: ImageRef) -> Hashable:
    try:
        return ref.stated_bytes()
    except DataError:  # gone: equal to itself alone
        return ref
