"""The role of each column of a table: image, texts, id, split, class, language, by its name and what its cells hold."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.text import plain
from diptych.core.types import SOUND
from diptych.data.language import CODES

from .cells import NO_FACTS, CellFacts
from .options import SourceOptions
from .sides import Sides, find_sides

SOUND_NAMES = ["audio", "audio_path", "audio_file", "sound", "sound_path", "sound_file", "wav"]
IMAGE_NAMES = [
    "image", "images", "image_path", "image_file", "image_name", "filename", "file_name", "filepath",
    "file_path", "file", "img", "img_path", "photo", "picture", "path", "jpg",
    *SOUND_NAMES,
]  # fmt: skip
CAPTION_NAMES = [
    "caption", "captions", "text", "texts", "sentence", "sentences", "raw", "comment", "alt", "alt_text",
]  # fmt: skip
FIELD_NAMES = ["title", "description", "ingredients", "instructions"]  # texts that keep their name as field
ID_NAMES = ["id", "uid", "image_id", "img_id", "key"]
SPLIT_NAMES = ["split", "partition", "subset"]
GROUP_NAMES = ["group", "class", "class_name", "label", "category"]
LANG_NAMES = ["lang", "language", "locale"]
# "de_independent" is German; "is_valid" is not Icelandic: a code may only stand before or after these.
_BESIDE_CODE = {*CAPTION_NAMES, *FIELD_NAMES, *["independent", "translation", "translated", "human", "machine"]}
# Codes that are English words, units or shorthands too. A column is taken for that language only beside a
# column of the same pattern whose code is no such word ("caption_en" beside "caption_id").
_ALSO_WORDS = frozenset(
    ["am", "be", "ca", "el", "he", "hi", "id", "is", "it", "km", "ml", "mr", "ms", "my", "no", "pa", "ps", "si", "so"]
)
_ALSO_ENDINGS = frozenset(["id", "no"])  # after a word: "caption_id", "text_no"
_LONGEST_NAME = 100  # characters
_NUMBERED = re.compile(r"(?P<base>.*[^\W\d_])[\s_.\-#(\[]*\d{1,3}[)\]]?")  # caption2, caption_0, sentence 3, text (2)
_COUNTED = re.compile(
    r"(is|has|num|n|nb|no|len|count)[_\-. ].*|.*[_\-. ](id|ids|no|nr|num|number|idx|index|count|len|length|score|hash)"
)


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column of texts, with the language its name states, if any, and the field its texts get."""

    name: str
    field: str
    lang: str | None
    independent: bool = False  # "de_independent": written in German, not translated from another column


@dataclass(frozen=True, slots=True)
class Columns:
    """The role of each column; `rest` goes to `Pair.meta`.

    `numbered` are the text columns that a number at the end of their name made one of; `unread` are those that look
    like texts, by name or by content, but are not read; `other_images` those that hold images beside `image`.
    A table of texts only has no `image`; where its texts are of two sides, these are `sides`, and `texts` is empty.
    """

    image: str | None
    texts: tuple[TextColumn, ...]
    id: str | None
    split: str | None
    group: str | None
    lang: str | None
    rest: tuple[str, ...]
    numbered: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    other_images: tuple[str, ...] = ()
    sides: Sides | None = None


def assign(
    names: Sequence[str],
    options: SourceOptions,
    where: str,
    *,
    facts: Mapping[str, CellFacts] | None = None,
    all_texts: bool = True,
    needs_image: bool = True,
) -> Columns:
    """Roles of the columns `names`: those the user named, else those with a usual name.

    `facts` tell what the cells hold: a column of numbers is never taken for texts by guess. `all_texts` asks
    that every named text column is there (a CSV header); otherwise one will do (JSON rows, which may leave keys
    out). Raises ConfigError when a column that the user named is not there, DataError when no image column is
    found and one is needed; both list the columns found.
    """
    facts = defaultdict(lambda: NO_FACTS, facts or {})
    found = plain(", ".join(names)) or "none"

    def named(column: str) -> str:
        match = _match(names, [column])
        if match is None:
            raise ConfigError(f"{where} has no column {column!r}; columns found: {found}")
        return match

    def role(given: str | None, usual: Iterable[str]) -> str | None:
        return named(given) if given is not None else _match(names, usual)

    image = role(options.image_column, IMAGE_NAMES) if needs_image and not options.reads_texts_only else None
    sides = find_sides(names, options, named, _match) if needs_image and image is None else None
    if image is None and needs_image and sides is None and not (options.texts_only or options.images_optional):
        message = f"{where} has no column that looks like images; columns found: {found}; name it with --image-column"
        raise DataError(f"{message}, or read texts alone with --texts-only", Reason.NO_IMAGE)
    of_sides = sides.columns if sides else ()
    others = [name for name in names if name not in of_sides]
    identifier = role(options.id_column, ID_NAMES)
    split = role(options.split_column, SPLIT_NAMES)
    group = named(options.group_column) if options.group_column is not None else _match(others, GROUP_NAMES)
    lang = _match(names, LANG_NAMES)
    taken = {image, identifier, split, group, lang, *of_sides}
    free = [name for name in names if name not in taken]
    numbered: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    if sides is not None:
        texts: tuple[TextColumn, ...] = ()
    elif options.text_columns:
        wanted = _listed_columns(names, options.text_columns)
        present = [column for column in wanted if _match(names, [column])]
        wanted = wanted if all_texts or not present else present
        texts = tuple(_named_text(named(column), names) for column in wanted)
    else:
        guesses = [guess for name in free if (guess := _usual_text(name, names)) is not None]
        texts = tuple(guess for guess in guesses if not facts[guess.name].all_numbers)
        if not texts:  # a single number tells nothing of a column that is called "caption"
            texts = tuple(one for one in guesses if one.lang is None and facts[one.name].cells == 1)
        chosen = {column.name for column in texts}
        numbered = tuple(name for name in names if name in chosen and _usual_name(name) is None)
        unread = tuple(name for name in free if name not in chosen and _looks_like_texts(name, facts[name]))
    rest = tuple(name for name in free if name not in {column.name for column in texts})
    other_images = tuple(name for name in rest if image is not None and _looks_like_images(name, image, facts[name]))
    return Columns(image, texts, identifier, split, group, lang, rest, numbered, unread, other_images, sides)


def language_of_column(name: str) -> str | None:
    """The language that a column's name states, such as "de" or "caption_de"."""
    found = _by_name(name)
    return None if found is None or _may_be_a_word(name) else found.lang


def has_role(name: str) -> bool:
    """Whether a column of this name could be taken for anything but a remark that goes to `Pair.meta`."""
    usual = (*IMAGE_NAMES, *ID_NAMES, *SPLIT_NAMES, *GROUP_NAMES, *LANG_NAMES)
    return name.lower() in usual or _by_name(name) is not None


def _match(names: Sequence[str], wanted: Iterable[str]) -> str | None:
    """The first of `wanted` among `names`, exactly or but for case."""
    for candidate in wanted:
        if candidate in names:
            return candidate
        for name in names:
            if name.lower() == candidate.lower():
                return name
    return None


def _listed_columns(names: Sequence[str], given: Iterable[str]) -> list[str]:
    """("a,b", "c") -> a, b, c, unless there is a column "a,b"."""
    columns: list[str] = []
    for value in given:
        parts = [part.strip() for part in value.split(",") if part.strip()]
        columns += [value] if _match(names, [value]) or not parts else parts
    return list(dict.fromkeys(columns))


def _usual_text(name: str, names: Sequence[str]) -> TextColumn | None:
    """A column whose name says that it holds texts, in the company of the columns `names`; else None."""
    guess = _by_name(name)
    if guess is None or not _may_be_a_word(name):
        return guess
    patterns = {_pattern(other) for other in names if not _may_be_a_word(other)}
    return guess if _pattern(name) in patterns else None


def _by_name(name: str) -> TextColumn | None:
    if len(name) > _LONGEST_NAME:
        return None
    found = _usual_name(name)
    if found is None and (numbered := _NUMBERED.fullmatch(name)):
        found = _usual_name(numbered["base"])
    return None if found is None else replace(found, name=name)


def _usual_name(name: str) -> TextColumn | None:
    lowered = name.lower()
    if lowered in CAPTION_NAMES:
        return TextColumn(name, "caption", None)
    if lowered in FIELD_NAMES:
        return TextColumn(name, lowered, None)
    if lowered in CODES:
        return TextColumn(name, "caption", lowered)
    parts = re.split(r"[-_. ]", lowered)
    if len(parts) != 2:
        return None
    first, last = parts
    is_region = re.fullmatch(r"[A-Z]{2}", name[-2:]) is not None
    if first in CODES and (last in _BESIDE_CODE or is_region):  # de_independent, pt-BR
        return TextColumn(name, last if last in FIELD_NAMES else "caption", first, last == "independent")
    if last in CODES and first in _BESIDE_CODE:  # caption_de
        return TextColumn(name, first if first in FIELD_NAMES else "caption", last, first == "independent")
    return None


def _pattern(name: str) -> str | None:
    """What is left of the name of a column of one language without the code: "caption_*"; None for others."""
    found = _by_name(name)
    if found is None or found.lang is None:
        return None
    numbered = _NUMBERED.fullmatch(name)
    parts = re.split(r"[-_. ]", (numbered["base"] if numbered else name).lower())
    return "_".join("*" if part == found.lang else part for part in parts if part)


def _may_be_a_word(name: str) -> bool:
    """Whether the language that a column's name seems to state may be another word: "no", "is_human", "text_id"."""
    found = _by_name(name)
    if found is None or found.lang is None:
        return False
    return found.lang in (_ALSO_WORDS if name.lower().startswith(found.lang) else _ALSO_ENDINGS)


def _looks_like_texts(name: str, facts: CellFacts) -> bool:
    """Whether a column that is not read could be missed: it has a text's name, or cells of several words."""
    is_named = _by_name(name) is not None and not _may_be_a_word(name) and _COUNTED.fullmatch(name.lower()) is None
    return facts.mostly_words or is_named


def _looks_like_images(name: str, image: str, facts: CellFacts) -> bool:
    """Whether a column is another one like that of the images: "Image", "image_2", or any with encoded images."""
    if facts.images:
        return True
    numbered = _NUMBERED.fullmatch(name) if len(name) <= _LONGEST_NAME else None
    return image.lower() in (name.lower(), numbered["base"].lower() if numbered else "")


def _named_text(name: str, names: Sequence[str]) -> TextColumn:
    """A column that the user says holds texts; its name is the field unless it says more."""
    if name.lower() in SOUND_NAMES:
        return TextColumn(name, SOUND, None)
    return _usual_text(name, names) or TextColumn(name, name, None)
