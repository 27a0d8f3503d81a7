"""Which texts of a row mean the same, and cells whose texts are objects with language, origin and meaning."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

from diptych.core.errors import Reason
from diptych.core.text import is_unicode
from diptych.core.types import Origin, Role, Text

from .columns import TextColumn
from .reading import Reading

_ASIDE = ("lang", "field", "origin", "meaning", "engine", "role", "label", "item")


def aligned_columns(row: Mapping[str, Any], columns: Sequence[TextColumn]) -> dict[str, int]:
    """Column -> meaning, for columns that hold one text each and differ by language only ("en", "de", "fr").

    A list of texts may be anything (five captions by five people), so it never counts as a translation; nor does
    a column that says so ("de_independent").
    """
    by_field: dict[str, list[TextColumn]] = defaultdict(list)
    for column in columns:
        if column.lang is not None and not column.independent and isinstance(row[column.name], str):
            by_field[column.field].append(column)
    groups = [group for group in by_field.values() if len({column.lang for column in group}) == len(group) > 1]
    return {column.name: meaning for meaning, group in enumerate(groups) for column in group}


def is_described(value: Any) -> bool:
    """Whether a cell lists texts as objects that say their language, origin or the like."""
    return isinstance(value, list) and any(
        isinstance(item, Mapping) and "text" in item and any(key in item for key in _ASIDE) for item in value
    )


def described_texts(reading: Reading, where: str, items: Iterable[Any], lang: str | None, field: str) -> list[Text]:
    """The texts of `{"text", "lang", "field", "origin", "meaning", "engine"}` objects; only the text is needed.

    In records of texts only they may have a `role`, and documents a `label` from 0 and an `item`. `lang` and `field`
    stand in where an object does not say. An item that cannot be read is skipped as `where`.
    """
    found: list[Text] = []
    for number, item in enumerate(items):
        described: Any = {"text": item} if isinstance(item, str) else item
        problem = _problem(described)
        if problem:
            reading.skip(where, Reason.BAD_ROW, f"text {number}: {problem}")
            continue
        own_lang = described.get("lang")
        text_lang, part = own_lang.lower() if own_lang else lang, described.get("field") or field
        texts = reading.texts(where, [described["text"]], lang=text_lang, field=part)
        meaning: int | None = described.get("meaning")
        origin = Origin(described.get("origin") or Origin.HUMAN)
        role, label = described.get("role"), described.get("label")
        known = {
            "origin": origin,
            "meaning": meaning,
            "engine": described.get("engine"),
            "role": Role(role) if role else None,
            "label": None if label is None else float(label),
            "item": described.get("item"),
        }
        found += [replace(text, **known) for text in texts]
    return found


def _problem(item: Any) -> str:
    """What keeps an object from being a text; empty when nothing does."""
    if not isinstance(item, Mapping) or not isinstance(item.get("text"), str):
        return "expected a string, or an object with a string under 'text'"
    for key in ("lang", "field", "origin", "engine", "role", "item"):
        value = item.get(key)
        if value is not None and not (isinstance(value, str) and is_unicode(value)):
            return f"{key} must be a string, found {value!r}"
    if item.get("origin") not in (None, "", *Origin):
        return f"unknown origin {item['origin']!r}; choose from {', '.join(Origin)}"
    if item.get("role") not in (None, "", *Role):
        return f"unknown role {item['role']!r}; choose from {', '.join(Role)}"
    label = item.get("label")
    if label is not None and (not isinstance(label, int | float) or isinstance(label, bool) or not 0 <= label < inf):
        return f"label must be a number from 0, found {label!r}"
    meaning = item.get("meaning")
    if meaning is not None and (not isinstance(meaning, int) or isinstance(meaning, bool) or meaning < 0):
        return f"meaning must be a whole number from 0, found {meaning!r}"
    return ""


def next_meaning(texts: Iterable[Text]) -> int:
    """A number that is no text's meaning yet, above all that are."""
    return max((text.meaning for text in texts if text.meaning is not None), default=-1) + 1


def shifted(texts: Iterable[Text], *, by: int) -> tuple[Text, ...]:
    """The texts with meanings that cannot be mistaken for those of texts numbered below `by`."""
    return tuple(text if text.meaning is None else replace(text, meaning=text.meaning + by) for text in texts)
