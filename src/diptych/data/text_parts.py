"""One long text a record out of its parts: title + ingredients + instructions, or some of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from diptych.core.errors import ConfigError
from diptych.core.types import Origin, Pair, Text

SEPARATOR = "\n"


def parse_parts(values: Iterable[str]) -> tuple[str, ...]:
    """("title,ingredients", "instructions") -> ("title", "ingredients", "instructions").

    Raises ConfigError for a part that is empty or named twice.
    """
    parts = tuple(part.strip() for value in values for part in value.split(","))
    if not all(parts) or len(set(parts)) < len(parts):
        found = ", ".join(parts) or "none"
        raise ConfigError(f"found text parts {found}; expected different names, such as title,ingredients")
    return parts


def join_parts(pair: Pair, parts: Sequence[str]) -> Pair:
    """The pair with one text for all its `parts`, in their order (X-MRS, arXiv 2012.01345, section 3).

    Texts of other fields are dropped; a part that the record lacks is left out, so a record with none
    of them ends without texts. Every language, and every way of a translation engine, makes a text of
    its own, and all of these have one meaning; where an engine left a part as it was, or could not
    translate it, the part stands in the words of the person who wrote it.

    Raises ConfigError for queries and documents, which have no parts.
    """
    if pair.documents:
        raise ConfigError("queries and documents have no text parts to be joined; leave the text parts out")
    own = [text for text in pair.texts if text.field in parts]
    first = next((text for text in own if text.origin is Origin.HUMAN), None)
    variants = dict.fromkeys((text.lang, text.origin, text.engine) for text in own)
    texts = []
    for lang, origin, engine in variants:
        mine = [text for text in own if (text.lang, text.origin, text.engine) == (lang, origin, engine)]
        spare = own if origin is not Origin.HUMAN and first is not None else []
        spare = [text for text in spare if text.origin is Origin.HUMAN and first and text.lang == first.lang]
        values = [value for part in parts for value in (_values(mine, part) or _values(spare, part))]
        meaning = 0 if len(variants) > 1 else None
        texts.append(Text(SEPARATOR.join(values), lang, "+".join(parts), origin, meaning, engine))
    return replace(pair, texts=tuple(texts))


def _values(texts: Iterable[Text], part: str) -> list[str]:
    return [text.value for text in texts if text.field == part]
