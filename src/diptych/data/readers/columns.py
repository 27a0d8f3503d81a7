"""Which column of a table is what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.data.language import CODES

from .options import SourceOptions
from .reading import printable

IMAGE_NAMES = [
    "image",
    "images",
    "image_path",
    "image_file",
    "image_name",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "file",
    "img",
    "img_path",
    "photo",
    "picture",
    "path",
    "jpg",
]
CAPTION_NAMES = [
    "caption",
    "captions",
    "text",
    "texts",
    "sentence",
    "sentences",
    "raw",
    "comment",
    "alt",
    "alt_text",
]
FIELD_NAMES = ["title", "description", "ingredients", "instructions"]  # texts that keep their name as field
ID_NAMES = ["id", "uid", "image_id", "img_id", "key"]
SPLIT_NAMES = ["split", "partition", "subset"]
GROUP_NAMES = ["group", "class", "class_name", "label", "category"]
LANG_NAMES = ["lang", "language", "locale"]
# "de_independent" is German; "is_valid" is not Icelandic: a code may only stand before or after these.
_BESIDE_CODE = {
    *CAPTION_NAMES,
    *FIELD_NAMES,
    *["independent", "translation", "translated", "human", "machine"],
}


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column of texts, with the language its name states, if any, and the field its texts get."""

    name: str
    field: str
    lang: str | None
    independent: bool = False  # "de_independent": written in German, not translated from another column


@dataclass(frozen=True, slots=True)
class Columns:
    """The role of each column; `rest` goes to `Pair.meta`."""

    image: str
    texts: tuple[TextColumn, ...]
    id: str | None
    split: str | None
    group: str | None
    lang: str | None
    rest: tuple[str, ...]


def assign(names: Sequence[str], options: SourceOptions, where: str, *, all_texts: bool = True) -> Columns:
    """Roles of the columns `names`: those the user named, else those with a usual name.

    `all_texts` asks that every named text column is there (a CSV header); otherwise one will do
    (JSON rows, which may leave keys out). Raises ConfigError when a column that the user named is
    not there, DataError when no image column is found; both list the columns found.
    """
    found = printable(", ".join(names)) or "none"

    def named(column: str) -> str:
        match = _match(names, [column])
        if match is None:
            raise ConfigError(f"{where} has no column {column!r}; columns found: {found}")
        return match

    def role(given: str | None, usual: Iterable[str]) -> str | None:
        return named(given) if given is not None else _match(names, usual)

    image = role(options.image_column, IMAGE_NAMES)
    if image is None:
        raise DataError(
            f"{where} has no column that looks like images; columns found: {found}; name it with --image-column",
            Reason.NO_IMAGE,
        )
    identifier = role(options.id_column, ID_NAMES)
    split = role(options.split_column, SPLIT_NAMES)
    group = role(options.group_column, GROUP_NAMES)
    lang = _match(names, LANG_NAMES)
    taken = {image, identifier, split, group, lang}
    if options.text_columns:
        present = [column for column in options.text_columns if _match(names, [column])]
        wanted = options.text_columns if all_texts or not present else present
        texts = tuple(_named_text(named(column)) for column in wanted)
    else:
        guesses = (_usual_text(name) for name in names if name not in taken)
        texts = tuple(guess for guess in guesses if guess is not None)
    taken |= {column.name for column in texts}
    return Columns(image, texts, identifier, split, group, lang, tuple(n for n in names if n not in taken))


def has_role(name: str) -> bool:
    """Whether a column of this name would be taken for anything but a remark that goes to `Pair.meta`."""
    usual = (*IMAGE_NAMES, *ID_NAMES, *SPLIT_NAMES, *GROUP_NAMES, *LANG_NAMES)
    return name.lower() in usual or _usual_text(name) is not None


def _match(names: Sequence[str], wanted: Iterable[str]) -> str | None:
    """The first of `wanted` among `names`, exactly or but for case."""
    for candidate in wanted:
        if candidate in names:
            return candidate
        for name in names:
            if name.lower() == candidate.lower():
                return name
    return None


def _usual_text(name: str) -> TextColumn | None:
    """A column whose name says that it holds texts, else None."""
    lowered = name.lower()
    if lowered in CAPTION_NAMES:
        return TextColumn(name, "caption", None)
    if lowered in FIELD_NAMES:
        return TextColumn(name, lowered, None)
    if lowered in CODES and lowered != "id":
        return TextColumn(name, "caption", lowered)
    first, *others = re.split(r"[-_. ]", lowered)
    if len(others) != 1:
        return None
    last = others[0]
    is_region = re.fullmatch(r"[A-Z]{2}", name[-2:]) is not None
    if first in CODES and (last in _BESIDE_CODE or is_region):  # de_independent, pt-BR
        return TextColumn(name, last if last in FIELD_NAMES else "caption", first, last == "independent")
    if last in CODES and first in _BESIDE_CODE:  # caption_de
        return TextColumn(name, first if first in FIELD_NAMES else "caption", last, first == "independent")
    return None


def _named_text(name: str) -> TextColumn:
    """A column that the user says holds texts; its name is the field unless it says more."""
    return _usual_text(name) or TextColumn(name, name, None)
