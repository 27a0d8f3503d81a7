"""What a search for copies found: groups, the best of each with the reason, and how the others differ from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from diptych.core.text import in_bytes, number

KINDS = ("exact", "encoded", "resized", "cropped", "larger", "mirrored", "turned", "grey", "coloured")


@dataclass(frozen=True, slots=True)
class Copy:
    """One of several copies. The fields from `kinds` on compare it with the best of its group."""

    id: str
    name: str
    path: str  # where its file is, in written form
    width: int  # pixels
    height: int
    bytes: int
    content: str  # fingerprint of its bytes
    grey: bool = False  # without colours, as far as its pixels could be looked at
    kinds: tuple[str, ...] = ()  # of KINDS; empty for the best
    turned: int = 0  # degrees clockwise, after it was mirrored if it is
    kept: float = 1.0  # share of the best image's area that it shows
    of: str | None = None  # the id of the best; None for the best itself

    @property
    def size(self) -> str:
        """Pixels and bytes, for people."""
        return f"{self.width} x {self.height}, {in_bytes(self.bytes)}"

    @property
    def how(self) -> str:
        """How it differs from the best, for people."""
        words = {
            "exact": "the same bytes",
            "encoded": "encoded again",
            "cropped": f"cropped to {self.kept:.0%}",
            "larger": "shows more",
            "grey": "without colours",
            "coloured": "in colours",
            "turned": f"turned by {self.turned} degrees clockwise",
        }
        return ", ".join(words.get(kind, kind) for kind in self.kinds)


@dataclass(frozen=True, slots=True)
class Group:
    """Copies of one image: the best, why it is that, and the others."""

    best: Copy
    reason: str
    others: tuple[Copy, ...]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Groups of copies, those whose other copies take most bytes first."""

    groups: tuple[Group, ...]
    images: int  # that were looked at, with those left out but for moments of videos
    left_out: Mapping[str, int]  # why -> images that were not, or by their bytes alone
    compared: int  # pairs whose pixels were compared
    version: str  # of the library

    @property
    def spare(self) -> list[str]:
        """The ids of all copies but the best of each group."""
        return [copy.id for group in self.groups for copy in group.others]

    @property
    def spare_bytes(self) -> int:
        """What their files take."""
        return sum(copy.bytes for group in self.groups for copy in group.others)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "spare": len(self.spare), "spare_bytes": self.spare_bytes}

    def summary(self) -> str:
        """One line: how many groups and spare copies."""
        found = f"{number(len(self.groups), 'group')} of copies, {len(self.spare):,} of them spare"
        return f"{number(self.images, 'image')}: " + (
            f"{found} ({in_bytes(self.spare_bytes)})" if self.groups else "no copies"
        )


def quality(copy: Copy) -> tuple[int, bool, int]:
    """What makes a copy better than another: its pixels, then that it has colours, then its bytes."""
    return copy.width * copy.height, not copy.grey, copy.bytes


def reason(best: Copy, others: Sequence[Copy]) -> str:
    """Why a copy is the best of its group."""
    if any(copy.width * copy.height > best.width * best.height for copy in others):
        return "it shows the whole image; larger ones are cropped"
    if all(copy.width * copy.height < best.width * best.height for copy in others):
        return f"most pixels ({best.width} x {best.height})"
    if all(quality(copy)[:2] < quality(best)[:2] for copy in others):
        return f"most pixels ({best.width} x {best.height}), and of those the one in colours"
    if all(quality(copy) < quality(best) for copy in others):
        return f"most pixels ({best.width} x {best.height}), and of those most bytes ({in_bytes(best.bytes)})"
    return "none is better in pixels, colours or bytes; its path is the first"
