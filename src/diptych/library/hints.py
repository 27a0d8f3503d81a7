"""What to say when a filter leaves nothing: the values that its columns do have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from .store import Store
from .where import Where, conditions

_MOST_COLUMNS, _MOST_VALUES = 3, 4
_MOST_CHARACTERS = 60  # of a value


def nothing_passes(where: Where, store: Store, secret: Collection[str] = ()) -> str:
    """Such as: 0 of 7,000 pass the filter; folder has: '/photos/2019' (4,000), '/photos/2020' (3,000).

    Of the columns in `secret` nothing is told.
    """
    asked = dict.fromkeys(one.column for one in conditions(where) if one.column not in secret)
    columns = list(asked)[:_MOST_COLUMNS]
    counts: dict[str, Counter[Any]] = {name: Counter() for name in columns}
    for block in store.scan(columns) if columns else ():
        for name in columns:
            counts[name].update(block[name])
    told = [f"{name.removesuffix('_ns')} has: {_told(name, counts[name])}" for name in columns]
    return "; ".join([f"0 of {store.count():,} pass the filter", *told])


def _told(name: str, counts: Counter[Any]) -> str:
    """The most frequent texts, or the least and the greatest number or date."""
    counts.pop(None, None)
    if not counts:
        return "no value"
    if not any(isinstance(value, str | bool) for value in counts):
        ends = [_shown(name, end(counts)) for end in (min, max)]
        return " to ".join(dict.fromkeys(ends))
    common = [f"{_shown(name, value)} ({count:,})" for value, count in counts.most_common(_MOST_VALUES)]
    return ", ".join([*common, *(["…"] if len(counts) > _MOST_VALUES else [])])


def _shown(name: str, value: Any) -> str:
    if name == "modified_ns":
        return datetime.fromtimestamp(value // 10**9, UTC).date().isoformat()
    if isinstance(value, str):
        return repr(value if len(value) <= _MOST_CHARACTERS else value[:_MOST_CHARACTERS] + "…")
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
