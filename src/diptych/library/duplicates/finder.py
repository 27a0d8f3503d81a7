"""From candidates to groups: the pixels of each pair are compared, and what agrees is joined."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from diptych.core.errors import ConfigError, DataError
from diptych.core.protocols import Progress
from diptych.core.shapes import Float16, UInt8
from diptych.core.threads import map_ahead
from diptych.data.images import decode, resized
from diptych.data.images.same_image import Grey, Overlay, overlay
from diptych.library.images import Wanted, read_again
from diptych.library.kinds import TEXT_SOURCE, video_of
from diptych.library.opened import Opened
from diptych.library.rendering.thumbnails import SIZE
from diptych.library.store.rows import location

from .candidates import Look, candidates
from .report import Copy, Duplicates, Group, quality, reason

_COLUMNS = ("id", "name", "path", "width", "height", "bytes", "content")
_THREADS, _AHEAD = 2, 32  # that read thumbnails
_KEPT_IMAGES = 1_024  # thumbnails in memory, 64 kB each
_SAME_SIZE = 0.03  # of the pixels

Pixels = UInt8[np.ndarray, "_ _ 3"]


@dataclass
class _Distinct:
    """The images of a library by their bytes: one of each content is compared, the others are exact copies."""

    copies: dict[str, list[Copy]] = field(default_factory=lambda: defaultdict(list))  # content -> its rows
    vectors: list[Float16[np.ndarray, d]] = field(default_factory=list)  # of each content, in order
    left_out: Counter[str] = field(default_factory=Counter)


def find(opened: Opened, among: Sequence[str] | None, progress: Progress) -> Duplicates:
    """Groups of copies among these ids, or in the whole library."""
    version = opened.view.version or ""
    distinct = _read(opened, among)
    contents = list(distinct.copies)
    images = _Images(opened, {content: copies[0] for content, copies in distinct.copies.items()})
    known: list[int] = []  # places of contents that can be compared
    looks: list[Look] = []
    found = map_ahead(images.look, contents, workers=_THREADS, depth=_AHEAD, name="copies")
    for place, look in enumerate(progress.track(found, "looking at thumbnails", len(contents))):
        if isinstance(look, Look):
            known.append(place)
            looks.append(look)
            copies = distinct.copies[contents[place]]
            copies[:] = [replace(copy, grey=look.grey) for copy in copies]
        else:
            distinct.left_out[look] += 1
    vectors = np.array([distinct.vectors[place] for place in known], dtype=np.float16)
    first, second = candidates(looks, vectors) if known else (np.empty(0, np.int64), np.empty(0, np.int64))
    joined = _Joined(len(contents))
    places = np.array(known, dtype=np.int64)
    pairs = zip(places[first].tolist(), places[second].tolist(), strict=True)
    for left, right in progress.track(pairs, "comparing pixels", len(first)):
        if joined.root(left) != joined.root(right) and images.compared(contents[left], contents[right]) is not None:
            joined.join(left, right)
    groups = [group for members in joined.groups(contents, distinct.copies) for group in _groups(members, images)]
    groups.sort(key=lambda group: (-sum(copy.bytes for copy in group.others), group.best.path))
    count = sum(map(len, distinct.copies.values()))
    return Duplicates(tuple(groups), count, dict(distinct.left_out), images.comparisons, version)


def _read(opened: Opened, among: Sequence[str] | None) -> _Distinct:
    wanted = None if among is None else set(among)
    distinct = _Distinct()
    for block in opened.view.scan([*_COLUMNS, "source", "vector"]):
        for *facts, source, vector in zip(*(block[name] for name in (*_COLUMNS, "source", "vector")), strict=True):
            copy = Copy(*facts)
            if source.startswith(TEXT_SOURCE):
                raise ConfigError("the library holds texts; expected images: copies are found by their pixels")
            if wanted is not None and copy.id not in wanted:
                continue
            if video_of(copy.path):
                distinct.left_out["moments of videos"] += 1
                continue
            if copy.content not in distinct.copies:
                distinct.vectors.append(vector.astype(np.float16))
            distinct.copies[copy.content].append(replace(copy, path=location(copy.path, opened.folder)))
    return distinct


class _Images:
    """The pixels of a library's images, by content: of the thumbnail, or of the original where there is none."""

    def __init__(self, opened: Opened, copies: dict[str, Copy]) -> None:
        self._opened, self._copies = opened, copies
        self.comparisons = 0
        self.grey = functools.lru_cache(_KEPT_IMAGES)(self._grey)

    def look(self, content: str) -> Look | str:
        """What candidates are found by; or why there is none."""
        pixels = self._pixels(content)
        if pixels is None:
            return "no thumbnail, and the file is gone or has changed"
        return "of one colour, compared by their bytes alone" if Grey.of(pixels) is None else Look.of(pixels)

    def compared(self, first: str, second: str) -> Overlay | None:
        """How the second lies on the first, when both are copies of one image."""
        left, right = self.grey(first), self.grey(second)
        if left is None or right is None:
            return None
        self.comparisons += 1
        found = overlay(left, right)
        return found if found is not None and found.is_copy else None

    def _grey(self, content: str) -> Grey | None:
        pixels = self._pixels(content)
        return None if pixels is None else Grey.of(pixels)

    def _pixels(self, content: str) -> Pixels | None:
        """None for an image that has neither thumbnail nor file."""
        jpeg = self._opened.thumbnails.read(content)
        if jpeg is not None:
            try:
                return decode(jpeg)
            except DataError:
                pass  # damaged: `verify` says so
        copy = self._copies[content]
        for _, image in read_again([Wanted(copy.id, copy.path, content)], self._opened.folder):
            try:
                return None if image is None else _reduced(decode(image, at_least=SIZE))
            except DataError:
                return None
        return None


def _reduced(pixels: Pixels) -> Pixels:
    """As large as a thumbnail."""
    height, width = pixels.shape[:2]
    scale = min(1.0, SIZE / max(height, width))
    return resized(pixels, max(1, round(width * scale)), max(1, round(height * scale)))


class _Joined:
    """Sets of places, joined pair by pair (union-find)."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def root(self, place: int) -> int:
        """The first place of the set that this one is in."""
        while self._parents[place] != place:
            self._parents[place] = self._parents[self._parents[place]]
            place = self._parents[place]
        return place

    def join(self, left: int, right: int) -> None:
        """Make two sets one."""
        first, second = sorted((self.root(left), self.root(right)))
        self._parents[second] = first

    def groups(self, contents: Sequence[str], copies: dict[str, list[Copy]]) -> Iterator[list[Copy]]:
        """The copies of each set that has more than one."""
        together: defaultdict[int, list[Copy]] = defaultdict(list)
        for place, content in enumerate(contents):
            together[self.root(place)] += copies[content]
        return (members for members in together.values() if len(members) > 1)


def _groups(members: list[Copy], images: _Images) -> Iterator[Group]:
    """One or more groups of a set of joined copies.

    The best is that with most pixels, then colours, then bytes, that is no part of another. The others of its group
    agree with it itself and show no more than it: a set is joined pair by pair, so two of its images may each show what
    the other does not. The images that are left over are grouped again.
    """
    left = sorted(members, key=lambda copy: (*(-value for value in quality(copy)), copy.path))
    while len(left) > 1:
        best, tried = left[0], set[str]()
        while True:
            tried.add(best.id)
            compared = [_described(copy, best, images) for copy in left if copy.id != best.id]
            whole = next((copy for copy in compared if "larger" in copy.kinds and copy.id not in tried), None)
            if whole is None:
                break
            best = next(copy for copy in left if copy.id == whole.id)  # without how it differs
        others = tuple(copy for copy in compared if copy.kinds and "larger" not in copy.kinds)
        if others:
            yield Group(best, reason(best, others), others)
        gone = {best.id, *(copy.id for copy in others)}
        left = [copy for copy in left if copy.id not in gone]


def _described(copy: Copy, best: Copy, images: _Images) -> Copy:
    """A copy with how it differs from the best; as it is where the two do not agree."""
    if best.content == copy.content:
        return replace(copy, kinds=("exact",), of=best.id)
    found = images.compared(best.content, copy.content)
    if found is None:
        return copy
    return replace(copy, kinds=_kinds(found, best, copy), turned=90 * found.turns, kept=found.kept, of=best.id)


def _kinds(found: Overlay, other: Copy, copy: Copy) -> tuple[str, ...]:
    scale = copy.width * copy.height * found.holds / (other.width * other.height * found.kept)
    kinds = {
        "resized": abs(scale - 1) > _SAME_SIZE,
        "cropped": found.kept < 1,
        "larger": found.holds < 1,
        "mirrored": found.mirrored,
        "turned": found.turns > 0,
        "grey": copy.grey and not other.grey,
        "coloured": other.grey and not copy.grey,
    }
    return tuple(kind for kind, holds in kinds.items() if holds) or ("encoded",)
