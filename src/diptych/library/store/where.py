"""Filters as a small tree of comparisons: every store renders it in its own way, and it means the same in each.

The SQL of `where` (see `where_sql`) and the structured filters of the server both become such a tree. A comparison
with a missing value (NULL) is neither true nor false, as in SQL: `width > 3` and `NOT width > 3` both leave a row
without width out. NOT is moved into the comparisons, so the tree has none.
"""

from __future__ import annotations

import functools
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from diptych.core.errors import ConfigError

from .near import Near
from .row_codec import column_name
from .rows import PHOTO, PHOTO_COLUMNS

MOST_VALUES = 1_000  # of one IN
LATITUDE, LONGITUDE = f"{PHOTO}LATITUDE", f"{PHOTO}LONGITUDE"
_LEAST_INTEGER, _MOST_INTEGER = -(2**63), 2**63 - 1
_NEGATED = {
    "=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">",
    "in": "not in", "not in": "in", "like": "not like", "not like": "like", "null": "not null", "not null": "null",
    "contains": "not contains", "not contains": "contains",
}  # fmt: skip
_ORDERS = ("<", "<=", ">", ">=")
_FOLDERS = ("folder", "source")  # found by their whole path or by its last parts
_EXAMPLE = "width > 800 AND folder = 'Summer'"
_WILD = "%_\\"
_DATE_FORM = "'2026-01-31', '2026-01' or '2026-01-31 14:30' (UTC, unless a zone is given: '2026-01-31T14:30+02:00')"
_DATE = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)(?:[Tt ]+(?P<hour>\d\d):(?P<minute>\d\d)"
    r"(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?)?\s*(?P<zone>[Zz]|[+-]\d\d(?::?\d\d)?)?)?)?"
)
_SECOND = 10**9  # nanoseconds

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Column:
    """A column on the right-hand side of a comparison."""

    name: str


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of a column; it does not hold where the column has no value, except for `null`.

    `op` is one of = != < <= > >=, like, contains, in (each with its "not"), null and not null. `value` is a value or a
    Column; a tuple of values for in; a pattern with `\\` as its escape for like; the small letters of a text for
    contains, which ignores capitals; None for null.
    """

    column: str
    op: str
    value: Value | Column | tuple[Value, ...] | None = None


@dataclass(frozen=True, slots=True)
class AllOf:
    """Holds when every part does."""

    parts: tuple[Where, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Holds when one of the parts does."""

    parts: tuple[Where, ...]


Where = Condition | Near | AllOf | AnyOf


class FilterError(ConfigError):
    """A filter that cannot be used: `reason` says why, without naming where it was given."""

    def __init__(self, reason: str, columns: Iterable[str] = (), text: str | None = None) -> None:
        self.reason = reason
        known = ", ".join(columns)
        example = f'; columns: {known}; for example: --where "{_EXAMPLE}"' if known else ""
        shown = "" if text is None else f" {text[:100]!r}"
        super().__init__(f"cannot use --where{shown}: {reason}{example}")


def condition(column: str, op: str, value: Any, columns: Mapping[str, str]) -> Where:
    """One comparison, checked: `op` as in Condition, `value` of the column's kind. Raises FilterError."""
    name = _known(column, columns)
    if op in ("null", "not null"):
        return Condition(_stored(name), op)
    kind = columns[name]
    if op in ("like", "not like", "contains", "not contains"):
        if kind != "text" or not isinstance(value, str):
            raise FilterError(f"the column {name} holds {_a(kind)}; only texts can be compared with a part of a text")
        return Condition(name, op, value.lower() if "contains" in op else value)
    if op in ("in", "not in"):
        return _membership(name, op, tuple(value), columns)
    if isinstance(value, Column):
        return _two_columns(name, op, value, columns)
    if kind == "boolean" and op in _ORDERS:
        raise FilterError(f"the column {name} holds true or false; compare it with = or !=")
    if kind == "timestamp":
        return _time(name, op, value)
    checked = _checked(name, kind, value)
    if kind == "integer":
        return _integer(name, op, checked)
    if kind == "number":
        return _number(name, op, checked)
    if name in _FOLDERS and op in ("=", "!="):
        return _folder(name, op, checked)
    return Condition(name, op, checked)


def negated(where: Where) -> Where:
    """The filter that holds where this one fails, and not where values are missing."""
    if isinstance(where, Condition):
        return Condition(where.column, _NEGATED[where.op], where.value)
    if isinstance(where, Near):
        return replace(where, inside=not where.inside)
    return (AnyOf if isinstance(where, AllOf) else AllOf)(tuple(map(negated, where.parts)))


def conditions(where: Where) -> list[Condition]:
    """All comparisons of a filter, in order; of a place those of the columns that it asks."""
    if isinstance(where, Condition):
        return [where]
    if isinstance(where, Near):
        return conditions(around(where))
    return [one for part in where.parts for one in conditions(part)]


def columns_of(where: Where) -> set[str]:
    """The columns that a filter asks, on both sides of its comparisons."""
    found = conditions(where)
    return {one.column for one in found} | {one.value.name for one in found if isinstance(one.value, Column)}


def holds(where: Where, value_of: Callable[[str], Any]) -> bool:
    """Whether a filter holds for a row: for what a store cannot compare by itself."""
    if isinstance(where, AllOf):
        return all(holds(part, value_of) for part in where.parts)
    if isinstance(where, AnyOf):
        return any(holds(part, value_of) for part in where.parts)
    if isinstance(where, Near):
        place = value_of(LATITUDE), value_of(LONGITUDE)
        return None not in place and where.holds(*place)
    found = value_of(where.column)
    if where.op in ("null", "not null"):
        return (found is None) == (where.op == "null")
    value = value_of(where.value.name) if isinstance(where.value, Column) else where.value
    if found is None or value is None:
        return False
    return where.op.startswith("not ") != _COMPARE[where.op.removeprefix("not ")](found, value)


def around(near: Near) -> Where:
    """The comparisons of coordinates that hold wherever a place is near enough; beyond it, where there are any."""
    if not near.inside:
        return AllOf((Condition(LATITUDE, "not null"), Condition(LONGITUDE, "not null")))
    latitudes, longitudes = near.box()
    return AllOf((_within(LATITUDE, *latitudes), AnyOf(tuple(_within(LONGITUDE, *span) for span in longitudes))))


def without_place() -> Where:
    """Holds for images that say no coordinates."""
    return AnyOf((Condition(LATITUDE, "null"), Condition(LONGITUDE, "null")))


def _within(name: str, low: float, high: float) -> Where:
    return AllOf((Condition(name, ">=", low), Condition(name, "<=", high)))


def like_parts(pattern: str) -> list[str | None]:
    """A pattern in pieces: literal characters, "" for any one character, None for any number of them."""
    found: list[str | None] = []
    signs = iter(pattern)
    for sign in signs:
        found.append(next(signs) if sign == "\\" else None if sign == "%" else "" if sign == "_" else sign)
    return found


def literal_pattern(text: str) -> str:
    """The pattern that only this text fits."""
    return "".join(f"\\{sign}" if sign in _WILD else sign for sign in text)


def _like(text: str, pattern: str) -> bool:
    """Whether a text fits a pattern: the pieces between its % stand in the text, one behind the other.

    Each is looked for once, behind the one before, so that no pattern makes this slow.
    """
    pieces = _pieces(pattern)
    if len(pieces) == 1:
        return pieces[0][0].fullmatch(text) is not None
    (first, at), *between, (last, length) = pieces
    if first.match(text) is None:
        return False
    for piece, _ in between:
        found = piece.search(text, at)
        if found is None:
            return False
        at = found.end()
    return len(text) - length >= at and last.match(text, len(text) - length) is not None


@functools.lru_cache(maxsize=64)
def _pieces(pattern: str) -> list[tuple[re.Pattern[str], int]]:
    """What stands between the % of a pattern, and how many characters each has."""
    pieces: list[list[str]] = [[]]
    for one in like_parts(pattern):
        if one is None:
            pieces.append([])
        else:
            pieces[-1].append(re.escape(one) if one else ".")
    return [(re.compile("".join(piece), re.DOTALL), len(piece)) for piece in pieces]


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "in": lambda found, values: found in values, "contains": lambda found, text: text in found.lower(), "like": _like,
}  # fmt: skip


# -- values ----------------------------------------------------------------------------------------


def column_of(name: str, columns: Mapping[str, str]) -> str | None:
    """The column that is meant: by its name, by the metadata key that it holds, or by what a photo says.

    A source's own `camera` is meant before that of the photos, which is always PHOTO_CAMERA.
    """
    candidates = (name, name.lower(), column_name(name), f"{PHOTO}{name.upper()}", name.upper())
    return next((one for one in candidates if one in columns), None)


def _known(name: str, columns: Mapping[str, str]) -> str:
    if (found := column_of(name, columns)) is not None:
        return found
    if column_of(name, PHOTO_COLUMNS) is not None:
        raise FilterError(
            f"no image of this library says its {name.lower().removeprefix(PHOTO.lower())}; where images were indexed "
            "by an earlier version, diptych library reread reads it from their files"
        )
    import difflib  # only for a mistake

    near = difflib.get_close_matches(name.lower(), columns, n=3)
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    raise FilterError(f"there is no column {name[:40]!r}{meant}")


def _stored(name: str) -> str:
    """Where a column's values are: a time is compared in nanoseconds, which every store has."""
    return "modified_ns" if name == "modified" else name


def _checked(name: str, kind: str, value: Any) -> Any:
    """The value as the column's kind. Raises FilterError for another kind."""
    if kind == "text" and isinstance(value, str):
        return value
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind in ("integer", "number") and isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        exact = Decimal(value)
        if exact.is_finite():
            return exact
    advice = {"text": f"a text in quotes: {name} = '…'", "boolean": f"{name} = true or {name} = false"}
    write = advice.get(kind, f"a number without quotes: {name} = 3")
    raise FilterError(f"the column {name} holds {_a(kind)}, found {_shown(value)}; write {write}")


def _a(kind: str) -> str:
    words = {"text": "texts", "boolean": "true or false", "integer": "whole numbers", "timestamp": "dates"}
    return words.get(kind, "numbers")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"the text {value[:40]!r}" if isinstance(value, str) else f"the number {str(value)[:40]}"


def _integer(name: str, op: str, value: Decimal) -> Where:
    """A comparison with a number that may lie between two integers (3.5), or beyond what a column can hold."""
    if value.adjusted() > 18 or not _LEAST_INTEGER <= value <= _MOST_INTEGER:
        return _beyond(name, op, above=value > 0)
    whole = math.floor(value)
    if whole == value:
        return Condition(name, op, whole)
    if op in ("=", "!="):
        return Condition(name, "in" if op == "=" else "not in", ())
    return Condition(name, "<=" if op in ("<", "<=") else ">", whole)


def _number(name: str, op: str, value: Decimal) -> Where:
    found = float(value)
    return _beyond(name, op, above=found > 0) if math.isinf(found) else Condition(name, op, found)


def _beyond(name: str, op: str, *, above: bool) -> Where:
    """A comparison with a number above, or below, all that a column can hold."""
    always = op == "!=" or op in (("<", "<=") if above else (">", ">="))
    return Condition(name, "not in" if always else "in", ())


def _folder(name: str, op: str, value: str) -> Where:
    """A folder by its whole path or by its last parts."""
    wanted = value.rstrip("/") or "/"
    parts: list[Where] = [Condition(name, "=", wanted)]
    if not wanted.startswith("/"):
        parts += [Condition(name, "like", f"%{between}{literal_pattern(wanted)}") for between in ("/", "::")]
    found = AnyOf(tuple(parts))
    return found if op == "=" else negated(found)


def _membership(name: str, op: str, values: Sequence[Any], columns: Mapping[str, str]) -> Where:
    if not values:
        raise FilterError("an IN without values; write IN (1, 2)")
    if len(values) > MOST_VALUES:
        raise FilterError(f"an IN has {len(values):,} values, the limit is {MOST_VALUES:,}")
    found = [condition(name, "=", value, columns) for value in values]
    plain = [one for one in found if isinstance(one, Condition) and one.op == "="]
    rest = [one for one in found if one not in plain]
    parts = [Condition(name, "in", tuple(one.value for one in plain)), *rest] if plain else rest  # type: ignore[misc]
    joined = parts[0] if len(parts) == 1 else AnyOf(tuple(parts))
    return joined if op == "in" else negated(joined)


def _two_columns(name: str, op: str, other: Column, columns: Mapping[str, str]) -> Where:
    second = _known(other.name, columns)
    kinds = ["number" if kind == "integer" else kind for kind in (columns[name], columns[second])]
    if kinds[0] != kinds[1] or (kinds[0] == "boolean" and op in _ORDERS):
        raise FilterError(
            f"{name} holds {_a(columns[name])} and {second} holds {_a(columns[second])}: "
            f"they cannot be compared with {op}"
        )
    return Condition(_stored(name), op, Column(_stored(second)))


def _time(name: str, op: str, value: Any) -> Where:
    """A comparison with a date, which means all of that day (year, month, minute, second)."""
    span = _span(value.strip()) if isinstance(value, str) else None
    if span is None:
        raise FilterError(f"the column {name} holds dates, written as {_DATE_FORM}; found {_shown(value)}")
    if name == "PHOTO_TAKEN" and _DATE.fullmatch(value.strip())["zone"] is not None:  # type: ignore[index]
        raise FilterError(
            f"the column {name} holds what the camera's clock showed, often in no known zone; leave the zone of "
            f"{_shown(value)} out, and ask for taken_zone if need be"
        )
    start, end = (min(max(one, _LEAST_INTEGER), _MOST_INTEGER) for one in span)
    column = _stored(name)
    within = AllOf((Condition(column, ">=", start), Condition(column, "<", end)))
    match op:
        case "=":
            return within
        case "!=":
            return negated(within)
        case "<" | ">=":
            return Condition(column, op, start)
    return Condition(column, "<" if op == "<=" else ">=", end)


def _span(text: str) -> tuple[int, int] | None:
    """The nanoseconds since 1970 at which a written date begins and ends; None for what is no date."""
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    given = match.groupdict()
    year, month, day, hour, minute, second = (
        int(given[part] or least)
        for part, least in (("year", 1), ("month", 1), ("day", 1), ("hour", 0), ("minute", 0), ("second", 0))
    )
    try:
        start = datetime(year, month, day, hour, minute, second, tzinfo=_zone(given["zone"]))
    except ValueError:
        return None
    since = start - datetime(1970, 1, 1, tzinfo=UTC)
    begin = (since.days * 86_400 + since.seconds) * _SECOND
    if (fraction := given["fraction"]) is not None:
        step = 10 ** (9 - len(fraction))
        begin += int(fraction) * step
        return begin, begin + step
    for part, seconds in (("second", 1), ("minute", 60), ("day", 86_400)):
        if given[part] is not None:
            return begin, begin + seconds * _SECOND
    import calendar  # only for a month or a year

    days = calendar.monthrange(year, month)[1] if given["month"] else 365 + calendar.isleap(year)
    return begin, begin + days * 86_400 * _SECOND


def _zone(text: str | None) -> timezone:
    if text is None or text in "Zz":
        return UTC
    hours, minutes = int(text[1:3]), int(text[3:].lstrip(":") or 0)
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)
