"""What clients send as `filter`, `where` and `near`, as one tree that is checked against the library's columns.

Where answers do not say where files are, or where somebody was (`PLACES`), filters on that are refused as well: else
asking often enough would tell it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial

from pydantic import TypeAdapter

from diptych.library.store import AllOf, FilterError, Where, columns_of, condition

from .errors import ServeError
from .libraries import PLACES, ServedLibrary
from .schemas import Condition, Near

_COMPARISONS = {"eq": "=", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "contains": "contains"}
_CONDITIONS = TypeAdapter(list[Condition])


def from_json(text: str) -> list[Condition]:
    """Conditions from a form or an address. Raises ServeError(422)."""
    try:
        return _CONDITIONS.validate_python(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ServeError(422, "bad_filter", "filter is not a JSON list of conditions") from error


def place(near: str | None, km: float) -> Near | None:
    """A place from a form or an address, as LAT,LON. Raises ServeError(422)."""
    if near is None:
        return None
    latitude, _, longitude = near.partition(",")
    try:
        return Near.model_validate({"latitude": latitude, "longitude": longitude, "km": km})
    except ValueError as error:
        raise ServeError(422, "bad_filter", "near is not LAT,LON in degrees, such as 35.34,25.13") from error


async def narrowed(
    served: ServedLibrary, conditions: Sequence[Condition], where: str | None, near: Near | None = None, *, paths: bool
) -> tuple[Where | None, list[str]]:
    """The filter of a request to a library, and what to say of images that have no place; without `paths` no places.

    The library's columns are read only for a filter.
    """
    if not conditions and not (where or "").strip() and near is None:
        return None, []
    columns = await served.columns()
    shown = columns if paths else {name: kind for name, kind in columns.items() if name not in PLACES}
    found = to_where(conditions, where, columns, shown)
    if near is None:
        return found, []
    if not paths:
        raise ServeError(422, "bad_filter", "this server does not tell where images were taken; leave near out")
    try:
        around = await served.read(partial(served.library.near, near.latitude, near.longitude, near.km, where=found))
    except FilterError as error:
        raise ServeError(422, "bad_filter", error.reason) from error
    return around, [note.to_text() for note in await served.read(served.library.without_place, found)]


def to_where(
    conditions: Sequence[Condition], where: str | None, columns: Mapping[str, str], shown: Mapping[str, str]
) -> Where | None:
    """The filter for which all conditions and `where` hold; None when there is nothing to hold.

    Raises ServeError(422) for a column that does not exist or is not among those `shown`, a value of another kind, or
    an expression beyond what `where` takes.
    """
    try:
        parts = [_one(one, columns) for one in conditions]
        if where is not None and where.strip():
            from diptych.library.store import parse_where  # a filter that is no SQL needs no parser

            parts.append(parse_where(where, columns))
    except FilterError as error:
        raise ServeError(422, "bad_filter", error.reason, f"The columns are {', '.join(shown)}.") from error
    hidden = sorted({name for part in parts for name in columns_of(part)} - shown.keys())
    if hidden:
        raise ServeError(422, "bad_filter", f"this server does not tell {hidden[0]}, so no filter can ask for it",
                         f"The columns are {', '.join(shown)}.")  # fmt: skip
    return None if not parts else parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def _one(asked: Condition, columns: Mapping[str, str]) -> Where:
    name, value = asked.column, asked.value
    if asked.op == "exists":
        return condition(name, "null" if value is False else "not null", None, columns)
    if asked.op == "in":
        return condition(name, "in", value if isinstance(value, list) else [value], columns)
    if isinstance(value, list) or value is None:
        raise ServeError(422, "bad_filter", f"{asked.op} takes one value", "Use the op in for several.")
    return condition(name, _COMPARISONS[asked.op], value, columns)
