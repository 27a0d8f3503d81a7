"""Filters as slow, obvious code: random SQL, and what it holds for by three-valued logic over plain rows."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from diptych.library.store.rows import Row

TEXTS = [
    "",
    "a",
    "A",
    "ab",
    "a%b",
    "a_b",
    "a\\b",
    "it's",
    'say "x"',
    "é",
    "e\u0301",
    "日本",
    "a\nb",
    "10",
    "null",
    "🙂x",
]
NUMBERS = [-1.5, 0, 0.1, 3, 3.5, 1e-7, 1e16, 2**53 + 1]
DAYS = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hours) for hours in (-1, 0, 5, 23.999, 24, 700, 9000)]


def rows() -> list[Row]:
    """Rows in which every kind of column has every value, and none."""
    import numpy as np

    made = []
    for number in range(48):
        text, other = TEXTS[number % len(TEXTS)], TEXTS[(number * 5 + 3) % len(TEXTS)]
        meta: dict[str, Any] = {"word": text, "show": other, "n": NUMBERS[number % len(NUMBERS)], "ok": number % 3 == 0}
        if number % 4 == 1:  # of another kind than the column, or not there
            meta = {"word": 7, "n": "text", "ok": None}
        made.append(
            Row(
                id=f"{number:016x}",
                path=f"/photos/{['Summer', 'summer', 'Winter/Summer', 'Bücher'][number % 4]}/{number}.jpg",
                source="/photos",
                content="c" * 32,
                bytes=number,
                modified_ns=int(DAYS[number % len(DAYS)].timestamp()) * 10**9 + number,
                width=40 + number % 5,
                height=42,
                vector=np.eye(4, dtype=np.float32)[number % 4],
                group=None if number % 3 == 0 else other,
                meta=meta,
            )
        )
    return made


ROWS = rows()


def value(row: Row, column: str) -> Any:
    """What a column holds for a row; None when it holds nothing."""
    if column in ("width", "height", "bytes", "group", "folder", "modified_ns"):
        return getattr(row, column)
    found = row.meta.get(column)
    if column == "n":
        return float(found) if isinstance(found, int | float) else None
    return "7" if found == 7 and column == "word" else found


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


Test = tuple[str, Any]  # SQL, and a function of a row that gives True, False or None (unknown)


def compared(left: Any, op: str, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    return {
        "=": left == right, "<>": left != right, "!=": left != right, "<": left < right, "<=": left <= right,
        ">": left > right, ">=": left >= right,
    }[op]  # fmt: skip


def like(text: str | None, pattern: str, escape: str) -> bool | None:
    if text is None:
        return None
    regex, at = "", 0
    while at < len(pattern):
        if pattern[at] == escape:
            at += 1
            regex += re.escape(pattern[at])
        else:
            regex += {"%": "(.|\n)*", "_": "(.|\n)"}.get(pattern[at], re.escape(pattern[at]))
        at += 1
    return re.fullmatch(regex, text) is not None


OPS = st.sampled_from(["=", "<>", "!=", "<", "<=", ">", ">="])
TEXT_COLUMNS = st.sampled_from(["word", "show", "group"])
LITERALS = {"n": [*map(float, NUMBERS), -2, 1e300], "width": [39, 41, 41.5, 44, 1e30, -(10**25)], "bytes": [0, 7, 47]}


@st.composite
def comparisons(draw: Any) -> Test:
    column = draw(TEXT_COLUMNS)
    kind = draw(
        st.sampled_from(["text", "number", "flag", "null", "in", "between", "like", "columns", "day", "folder"])
    )
    op = draw(OPS)
    text, second = draw(st.sampled_from(TEXTS)), draw(st.sampled_from(TEXTS))
    name = draw(st.sampled_from([column, f"`{column}`", f'"{column}"', column.upper()]))
    if kind == "text":
        return f"{name} {op} {quoted(text)}", lambda row: compared(value(row, column), op, text)
    if kind == "number":
        field = draw(st.sampled_from(sorted(LITERALS)))
        number = draw(st.sampled_from(LITERALS[field]))
        if draw(st.booleans()):
            mirrored = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(op, op)
            return f"{number} {mirrored} {field}", lambda row: compared(value(row, field), op, number)
        return f"{field} {op} {number}", lambda row: compared(value(row, field), op, number)
    if kind == "flag":
        wanted = draw(st.booleans())
        sql = draw(st.sampled_from(["ok" if wanted else "NOT ok", f"ok = {wanted}", f"ok <> {not wanted}"]))
        return sql, lambda row: compared(value(row, "ok"), "=", wanted)
    if kind == "null":
        field = draw(st.sampled_from(["word", "n", "ok", "group", "width"]))
        return f"{field} IS NULL", lambda row: value(row, field) is None
    if kind == "in":
        sql = f"{name} IN ({quoted(text)}, {quoted(second)})"
        return sql, lambda row: None if value(row, column) is None else value(row, column) in (text, second)
    if kind == "between":
        low, high = draw(st.sampled_from(LITERALS["n"])), draw(st.sampled_from(LITERALS["n"]))
        return f"n BETWEEN {low} AND {high}", lambda row: None if (n := value(row, "n")) is None else low <= n <= high
    if kind == "like":
        escape = draw(st.sampled_from(["\\", "!"]))
        pieces = st.sampled_from(["%", "_", "a", "A", "é", "本", "'", escape + "%", escape + "_", escape * 2, "\n"])
        pattern = "".join(draw(st.lists(pieces, max_size=4)))
        said = f"{name} LIKE {quoted(pattern)}" + ("" if escape == "\\" else f" ESCAPE {quoted(escape)}")
        return said, lambda row: like(value(row, column), pattern, escape)
    if kind == "columns":
        one, two = draw(st.sampled_from([("width", "height"), ("n", "width"), ("bytes", "n"), ("word", "show")]))
        return f"{one} {op} {two}", lambda row: compared(value(row, one), op, value(row, two))
    if kind == "day":
        day, days = draw(
            st.sampled_from([("2026-01-01", 1), ("2026-01", 31), ("2026", 365), ("2025-12-31 23:00", None)])
        )
        start = datetime.fromisoformat(f"{day}-01-01"[:10] if len(day) < 11 else day).replace(tzinfo=UTC)
        end = start + (timedelta(minutes=1) if days is None else timedelta(days=days))
        first, last = (int(one.timestamp()) * 10**9 for one in (start, end))
        meant = {
            "=": lambda at: first <= at < last, "<>": lambda at: not first <= at < last, "<": lambda at: at < first,
            "!=": lambda at: not first <= at < last, "<=": lambda at: at < last, ">": lambda at: at >= last,
            ">=": lambda at: at >= first,
        }[op]  # fmt: skip
        return f"modified {op} {quoted(day)}", lambda row: meant(row.modified_ns)
    folder = draw(st.sampled_from(["Summer", "Summer/", "/photos/Summer", "Winter/Summer", "inter/Summer", "Bücher"]))
    end = folder.rstrip("/")
    return f"folder = {quoted(folder)}", lambda row: row.folder == end or row.folder.endswith(f"/{end}")


def _joined(inner: st.SearchStrategy[Test]) -> st.SearchStrategy[Test]:
    def both(pair: tuple[Test, Test]) -> Test:
        (one, first), (two, second) = pair
        return f"({one} AND {two})", lambda row: _and(first(row), second(row))

    def either(pair: tuple[Test, Test]) -> Test:
        (one, first), (two, second) = pair
        return f"({one} OR {two})", lambda row: _not(_and(_not(first(row)), _not(second(row))))

    def no(test: Test) -> Test:
        return f"NOT ({test[0]})", lambda row: _not(test[1](row))

    pairs = st.tuples(inner, inner)
    return pairs.map(both) | pairs.map(either) | inner.map(no)


def _not(found: bool | None) -> bool | None:
    return None if found is None else not found


def _and(one: bool | None, two: bool | None) -> bool | None:
    if one is False or two is False:
        return False
    return None if one is None or two is None else True


filters = st.recursive(comparisons(), _joined, max_leaves=5)
