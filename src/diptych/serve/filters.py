"""What clients send as `filter` and `where`, as one tree that is checked against the library's columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pydantic import TypeAdapter

from diptych.library.store import AllOf, FilterError, Where, condition

from .errors import ServeError
from .libraries import ServedLibrary
from .schemas import Condition

_COMPARISONS = {"eq": "=", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "contains": "contains"}
_CONDITIONS = TypeAdapter(list[Condition])


def from_json(text: str) -> list[Condition]:
    """Conditions from a form or an address. Raises ServeError(422)."""
    try:
        return _CONDITIONS.validate_python(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ServeError(422, "bad_filter", "filter is not a JSON list of conditions") from error


async def narrowed(served: ServedLibrary, conditions: Sequence[Condition], where: str | None) -> Where | None:
    """The filter of a request to a library, as `to_where` makes it; its columns are read only for one."""
    if not conditions and not (where or "").strip():
        return None
    return to_where(conditions, where, await served.columns())


def to_where(conditions: Sequence[Condition], where: str | None, columns: Mapping[str, str]) -> Where | None:
    """The filter for which all conditions and `where` hold; None when there is nothing to hold.

    Raises ServeError(422) for a column that does not exist, a value of another kind, or an expression beyond what
    `where` takes.
    """
    try:
        parts = [_one(one, columns) for one in conditions]
        if where is not None and where.strip():
            from diptych.library.store import parse_where  # a filter that is no SQL needs no parser

            parts.append(parse_where(where, columns))
    except FilterError as error:
        raise ServeError(422, "bad_filter", error.reason, f"The columns are {', '.join(columns)}.") from error
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
