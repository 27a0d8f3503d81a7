"""The tree of a filter as the SQL that Lance takes."""

from __future__ import annotations

from typing import Any

from .near import Near
from .where import LATITUDE, LONGITUDE, AllOf, Column, Condition, Value, Where, around

_WORDS = {"null": "IS NULL", "not null": "IS NOT NULL"}


def to_sql(where: Where) -> str:
    """A SQL expression in which every name and value is quoted."""
    if isinstance(where, Condition):
        return _condition(where)
    if isinstance(where, Near):
        return f"{to_sql(around(where))} AND {_distance(where)}"
    return f" {'AND' if isinstance(where, AllOf) else 'OR'} ".join(f"({to_sql(part)})" for part in where.parts)


def _condition(one: Condition) -> str:
    column = f"`{one.column}`"
    if one.value is None:
        return f"{column} {_WORDS[one.op]}"
    if one.op == "!=" or one.op.startswith("not "):
        # written out: DataFusion takes `x NOT IN (1) OR x NOT IN (2)` for true even where x is NULL
        return f"{column} IS NOT NULL AND {_comparison(one, column)}"
    return _comparison(one, column)


def _distance(near: Near) -> str:
    """`Near.holds` by DataFusion's functions."""
    across = f"power(sin((radians(`{LATITUDE}`) - radians({near.latitude!r})) / 2), 2)"
    along = f"power(sin((radians(`{LONGITUDE}`) - radians({near.longitude!r})) / 2), 2)"
    cosines = f"cos(radians(`{LATITUDE}`)) * cos(radians({near.latitude!r}))"
    return f"{across} + {cosines} * {along} {'<=' if near.inside else '>'} {near.haversine!r}"


def _comparison(one: Condition, column: str) -> str:
    value: Any = one.value
    op = one.op.removeprefix("not ")
    negation = "NOT " if op != one.op else ""
    if isinstance(value, tuple):
        if not value:
            return "TRUE" if negation else "FALSE"
        return f"{column} {negation}IN ({', '.join(map(literal, value))})"
    if isinstance(value, Column):
        return f"{column} {op} `{value.name}`"
    if op == "contains":
        return f"{negation}contains(lower({column}), {literal(value)})"
    return f"{column} {negation}{op} {literal(value)}"


def literal(value: Value) -> str:
    """A value as SQL."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).upper() if isinstance(value, bool) else repr(value)
