"""Structured filters to the store's SQL, so that nobody has to quote anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import TypeAdapter

from diptych.core.config import nearest

from .errors import ServeError
from .schemas import Condition

_COMPARISONS = {"eq": "=", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}

Value = str | int | float | bool


_CONDITIONS = TypeAdapter(list[Condition])


def from_json(text: str) -> list[Condition]:
    """Conditions from a form or an address. Raises ServeError(422)."""
    try:
        return _CONDITIONS.validate_python(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ServeError(422, "bad_filter", "filter is not a JSON list of conditions") from error


def to_sql(conditions: Sequence[Condition], where: str | None, columns: Mapping[str, str]) -> str | None:
    """One SQL expression for which all conditions and `where` hold; None when there is nothing to hold.

    Raises ServeError(422) for a column that does not exist or a value of another kind.
    """
    parts = [_one(condition, columns) for condition in conditions]
    if where is not None and where.strip():
        parts.append(f"({where})" if parts else where)
    return " AND ".join(parts) or None


def _one(condition: Condition, columns: Mapping[str, str]) -> str:
    name = condition.column
    if name not in columns:
        raise ServeError(
            422, "bad_filter", f"there is no column {name[:40]!r}{nearest(name, columns)}",
            f"The columns are {', '.join(columns)}.",
        )  # fmt: skip
    column, kind = f"`{name}`", columns[name]
    if condition.op == "exists":
        return f"{column} IS {'NOT ' if condition.value is not False else ''}NULL"
    if condition.op == "in":
        values = condition.value if isinstance(condition.value, list) else [condition.value]
        return f"{column} IN ({', '.join(_literal(value, kind, name) for value in values)})"
    if isinstance(condition.value, list) or condition.value is None:
        raise ServeError(422, "bad_filter", f"{condition.op} takes one value", "Use the op in for several.")
    if condition.op == "contains":
        return f"contains(lower({column}), {_quoted(str(condition.value).lower())})"
    return f"{column} {_COMPARISONS[condition.op]} {_literal(condition.value, kind, name)}"


def _literal(value: Value | None, kind: str, name: str) -> str:
    if kind in ("integer", "number") and isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    if kind == "boolean" and isinstance(value, bool):
        return str(value).upper()
    if kind == "timestamp" and isinstance(value, str) and _is_time(value):
        return f"timestamp {_quoted(value)}"
    if kind == "text" and isinstance(value, str):
        return _quoted(value)
    raise ServeError(422, "bad_filter", f"the column {name!r} holds {kind}, not {type(value).__name__}")


def _is_time(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
