"""The tree of a filter as a Milvus expression: exactly, or as near from above as the server can compare.

Fields that only some rows have are asked for with `exists`: without it, `!=` would hold where there is no value. What
servers differ in (LIKE but for a beginning, texts without capitals, two fields of metadata) and distances are left to
the caller, who checks the rows that the wider expression finds.
"""

from __future__ import annotations

import json
from collections.abc import Collection

from .near import Near
from .where import AllOf, Column, Condition, Where, around, like_parts

_EVERY, _NO = 'id != ""', 'id == ""'
_SIGNS = {"=": "=="}
_PLAIN = '%_"\\\n'  # no sign of these in what a text begins with: servers read their escapes differently


def to_expression(where: Where, fixed: Collection[str]) -> tuple[str, bool]:
    """An expression that holds wherever the filter does, and whether it holds nowhere else.

    `fixed` fields every row has, the others only some.
    """
    if isinstance(where, Condition):
        return _condition(where, fixed)
    if isinstance(where, Near):
        return to_expression(around(where), fixed)[0], False
    parts = [to_expression(part, fixed) for part in where.parts]
    joined = f" {'and' if isinstance(where, AllOf) else 'or'} ".join(f"({text})" for text, _ in parts)
    return joined, all(exact for _, exact in parts)


def _condition(one: Condition, fixed: Collection[str]) -> tuple[str, bool]:
    name, op = one.column, one.op
    has = _EVERY if name in fixed else f"(exists {name})"  # `exists n and …` would be read as `exists (n and …)`
    if op in ("null", "not null"):
        return (has, True) if op == "not null" else (_NO if name in fixed else f"not {has}", True)
    found = _comparison(one, fixed)
    if found is None:
        return has, False
    return (found if name in fixed else f"{has} and ({found})"), True


def _comparison(one: Condition, fixed: Collection[str]) -> str | None:
    """The comparison alone; None when it is left to the caller."""
    name, op, value = one.column, one.op, one.value
    if isinstance(value, Column):
        return f"{name} {_SIGNS.get(op, op)} {value.name}" if {name, value.name} <= set(fixed) else None
    if isinstance(value, tuple):
        found = f"{name} in [{', '.join(map(_literal, value))}]" if value else _NO
        return f"not ({found})" if op == "not in" else found
    if op in ("like", "not like"):
        start = _start(str(value))
        if start is None:
            return None
        found = f"{name} like {_literal(start + '%')}"
        return f"not ({found})" if op == "not like" else found
    if op in ("contains", "not contains"):
        return None
    return f"{name} {_SIGNS.get(op, op)} {_literal(value)}"


def _start(pattern: str) -> str | None:
    """What a pattern says a text begins with, when it says no more than that."""
    parts = like_parts(pattern)
    start = "".join(part or "" for part in parts[:-1])
    is_start = bool(parts) and parts[-1] is None and all(parts[:-1])
    return start if is_start and start and not set(start) & set(_PLAIN) else None


def _literal(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
