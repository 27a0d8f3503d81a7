"""`recipes.jsonl`: id, lang, category, title, ingredients[], instructions[], images[]."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from diptych.core.registry import register
from diptych.core.types import Pair

from . import jsonl
from .reading import Reading

FILE = "recipes.jsonl"
FIELDS = ("title", "ingredients", "instructions")


@register.reader("recipes", "recipes.jsonl: title, ingredients, instructions, images")
def read(reading: Reading) -> Iterator[Pair]:
    """One Pair a recipe with at most one text for each of title, ingredients and instructions.

    The lists are joined by line breaks, so that a model takes the three texts in order, or leaves
    some out (`text_columns`), without knowing about recipes. The category, if any, is the group.
    """
    options = reading.options
    columns = replace(
        options,
        text_columns=options.text_columns or (*FIELDS, "texts"),  # as `diptych data translate` writes them
    )
    path = reading.path / FILE if reading.path.is_dir() else reading.path
    yield from jsonl.read(replace(reading, path=path, options=columns))
