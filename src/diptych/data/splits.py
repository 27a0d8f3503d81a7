"""Training and validation pairs, whether the source names splits or not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence

from diptych.core import fingerprint
from diptych.core.errors import DataError, Reason
from diptych.core.types import BytesImage, FileImage, ImageRef, Pair, TarImage

from .cache import image_key
from .repeats import connected

HELD_OUT = "held-out"  # the split of any source: what a training with the usual settings holds out of it
SHARE = 0.1  # of it, where the source names no validation split


def held_out(identity: str, share: float) -> bool:
    """Whether a record belongs to the held-out share: a function of its identity alone, so it never moves."""
    return int(fingerprint.of_bytes(identity.encode("utf-8", "surrogatepass"))[:8], 16) < share * 2**32


def held_out_of(pairs: Sequence[Pair], share: float) -> list[bool]:
    """Of each record whether it is held out. Records of one id, or with an image in common, are on one side."""
    return [held_out(name, share) for name in _families(pairs)]


def divide(pairs: Sequence[Pair], train: str, val: str, share: float) -> dict[str, list[Pair]]:
    """{"train": ..., "val": ...}: by the source's splits, or by `held_out_of` where it has none.

    A source that names only the training split gets its validation pairs out of that.
    Raises DataError when either would be empty.
    """
    names = Counter(pair.split for pair in pairs)
    if val in names:
        chosen = {
            "train": [pair for pair in pairs if pair.split == train],
            "val": [pair for pair in pairs if pair.split == val],
        }
    else:
        pool = [pair for pair in pairs if pair.split in (None, train)]
        chosen = {"train": [], "val": []}
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
    return chosen


def _families(pairs: Sequence[Pair]) -> list[str]:
    """A name for each record that it shares with those of its id or of its images: the first of their ids."""
    first: dict[Hashable, int] = {}
    images = _same_images([ref for pair in pairs for ref in pair.images])
    signs = (
        (sign, number)
        for number, pair in enumerate(pairs)
        for sign in (("id", pair.id), *(("image", next(images)) for _ in pair.images))
    )
    family = connected(len(pairs), ((first.setdefault(sign, number), number) for sign, number in signs))
    names: dict[int, str] = {}
    for number, pair in zip(family, pairs, strict=True):
        names[number] = min(names.get(number, pair.id), pair.id)
    return [names[number] for number in family]


def _same_images(refs: Sequence[ImageRef]) -> Iterator[Hashable]:
    """Something equal for images of equal bytes. Only images that share their size with another are read."""
    places = [_place(ref) for ref in refs]
    of = dict(zip(places, refs, strict=True))
    signs: dict[Hashable, Hashable] = {place: _size(ref) for place, ref in of.items()}
    for place in _shared(signs):
        signs[place] = image_key(of[place]) or place
    return iter([signs[place] for place in places])


def _shared(signs: Mapping[Hashable, Hashable]) -> list[Hashable]:
    """The places whose sign another has too."""
    having: dict[Hashable, list[Hashable]] = defaultdict(list)
    for place, sign in signs.items():
        having[sign].append(place)
    return [place for found in having.values() if len(found) > 1 for place in found]


def _place(ref: ImageRef) -> Hashable:
    if isinstance(ref, FileImage):
        return ("file", str(ref.path))
    return ("tar", str(ref.tar), ref.offset) if isinstance(ref, TarImage) else ("bytes", ref.data)


def _size(ref: ImageRef) -> Hashable:
    if isinstance(ref, BytesImage):
        return len(ref.data)
    try:
        return ref.size if isinstance(ref, TarImage) else ref.path.stat().st_size
    except OSError:  # gone: alike to itself alone
        return _place(ref)
