"""JSON lines: one object a line, keys as columns. `recipes.jsonl` is one with parts of recipes.

{"image": "dogs/1.jpg", "caption": ["A dog runs.", "A running dog."], "caption_de": "Ein Hund rennt."}
{"id": "r1", "title": "Soup", "ingredients": ["water"], "instructions": ["Boil."], "images": ["soup.jpg"]}
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from diptych.core.errors import Reason
from diptych.core.registry import register
from diptych.core.types import Pair

from .files import file_split, source_files
from .reading import Reading
from .rows import RowReader
from .textfile import head, lines

SUFFIXES = (".jsonl", ".ndjson")
RECIPES = "recipes.jsonl"
_INGREDIENTS = re.compile(rb'"ingredients"\s*:')  # as a key
RECIPE_FIELDS = ("title", "ingredients", "instructions")


def looks_like_recipes(path: Path) -> bool:
    """Whether a file is called recipes.jsonl, or its first object has ingredients."""
    return path.name.lower() == RECIPES or _INGREDIENTS.search(head(path).split(b"\n")[0]) is not None


@register.reader("jsonl", "JSON objects, one a line")
def read(reading: Reading) -> Iterator[Pair]:
    """One Pair a line; a line that is not a JSON object is skipped.

    Keys that are language codes ("de", "de_independent", "caption_de") give texts in that
    language; a list gives several texts, except ingredients and instructions (one text, a line each).
    """
    for path in source_files(reading, SUFFIXES):
        rows = RowReader(reading, path.parent, partial(file_split, reading, path))
        yield from rows.pairs(objects(reading, path))


def objects(reading: Reading, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON objects of a file, each with its place; other lines are skipped."""
    for where, line in lines(reading, path):
        try:
            row = json.loads(line, object_pairs_hook=partial(_object, reading, where))
        except (ValueError, RecursionError) as error:
            reading.skip(where, Reason.BAD_ROW, f"not JSON: {error}")
            continue
        if not isinstance(row, dict):
            reading.skip(where, Reason.BAD_ROW, f"a JSON {type(row).__name__} where an object was expected")
        else:
            yield where, row


def _object(reading: Reading, where: str, members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        reading.note("repeated_key", "JSON objects that give a key twice, of which the last is read", where)
    return found


@register.reader("recipes", "recipes.jsonl: title, ingredients, instructions, images")
def read_recipes(reading: Reading) -> Iterator[Pair]:
    """One Pair a recipe with at most one text for each of title, ingredients and instructions.

    The lists are joined by line breaks, so that a model takes the three texts in order, or leaves
    some out (`text_columns`), without knowing about recipes. The category, if any, is the group.
    """
    columns = reading.options.text_columns or (*RECIPE_FIELDS, "texts")  # as `diptych data translate` writes them
    path = reading.path / RECIPES if reading.path.is_dir() else reading.path
    return read(replace(reading, path=path, options=replace(reading.options, text_columns=columns)))
