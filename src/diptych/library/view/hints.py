"""What to say when a filter leaves nothing: the values that its columns do have, the nearest to the filter's first."""

from __future__ import annotations

import difflib
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, runtime_checkable

from diptych.library.store.rows import PHOTO, PHOTO_COLUMNS
from diptych.library.store.where import Condition, Where, conditions

_MOST_COLUMNS, _MOST_VALUES = 3, 4
_MOST_COMPARED = 2_000  # different values of a column that are compared with the filter's
_NEAR = 0.75  # share of a text that is the same
_MOST_CHARACTERS = 60  # of a value


@runtime_checkable
class Countable(Protocol):
    """What of a view the message needs."""

    def count(self) -> int:
        """How many rows there are."""

    def facets(self, columns: Sequence[str]) -> dict[str, Counter[Any]]:
        """How often each value of these columns occurs."""


def nothing_passes(where: Where, view: Countable, hidden: Collection[str] = ()) -> str:
    """Such as: 0 of 7,000 pass the filter; folder has: '/photos/2019' (4,000), '/photos/2020' (3,000).

    The columns in `hidden` are left out.
    """
    asked: dict[str, list[Condition]] = {}
    for one in conditions(where):
        if one.column not in hidden:
            asked.setdefault(one.column, []).append(one)
    columns = list(asked)[:_MOST_COLUMNS]
    counts = view.facets(columns)
    shown = {name: name.removeprefix(PHOTO).lower() if name in PHOTO_COLUMNS else name for name in columns}
    told = [f"{shown[name].removesuffix('_ns')} has: {_told(name, counts[name], asked[name])}" for name in columns]
    return "; ".join([f"0 of {view.count():,} pass the filter", *told])


def _told(name: str, counts: Counter[Any], asked: Sequence[Condition]) -> str:
    """The texts nearest to the filter's, then the most frequent; or the least and the greatest number or date."""
    if not counts:
        return "no value"
    if not any(isinstance(value, str | bool) for value in counts):
        ends = [_shown(name, end(counts)) for end in (min, max)]
        return " to ".join(dict.fromkeys(ends))
    values = [value for value, _ in counts.most_common()]
    wanted = [text for one in asked for text in _texts(one.value)]
    near = [value for value in values[:_MOST_COMPARED] if any(_is_near(value, text) for text in wanted)]
    first = list(dict.fromkeys([*near, *values]))[:_MOST_VALUES]
    shown = [f"{_shown(name, value)} ({counts[value]:,})" for value in first]
    return ", ".join([*shown, *(["…"] if len(counts) > len(first) else [])])


def _texts(value: Any) -> list[str]:
    return [one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, str)]


def _is_near(value: Any, text: str) -> bool:
    """Whether two texts differ little: in capitals, in how accents are written, or in a few characters."""
    if not isinstance(value, str):
        return False
    one, other = (unicodedata.normalize("NFKC", part.strip("%/")).casefold() for part in (value, text))
    ends = one.rpartition("/")[2] if "/" not in other else one
    return one == other or difflib.SequenceMatcher(None, ends[:_MOST_CHARACTERS], other).ratio() >= _NEAR


def _shown(name: str, value: Any) -> str:
    if name in ("modified_ns", "PHOTO_TAKEN"):
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value // 10**9)).date().isoformat()
    if isinstance(value, str):
        return repr(value if len(value) <= _MOST_CHARACTERS else value[:_MOST_CHARACTERS] + "…")
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
