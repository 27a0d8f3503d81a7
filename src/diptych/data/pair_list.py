"""Pairs to ask about: an image and a text, two texts or two images, one after the other or in a CSV or JSON lines file.

    image,text,label                  {"image": "dog.jpg", "text": "a dog"}
    dog.jpg,a dog on a beach,1        {"text1": "a dog", "text2": "ein Hund", "label": true}

Columns are image and text, text1 and text2, image1 and image2, or left and right, whose cells are images where they
name a file or end like an image's name. `label` says whether the two are related: 1 or 0, true or false, yes or no.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from diptych.core.checks import kind_of
from diptych.core.errors import ConfigError, DataError, Reason, opening
from diptych.core.notes import Notes
from diptych.core.text import is_blank, is_unicode, one_line
from diptych.core.types import Skipped
from diptych.data.image_inputs import SUFFIXES, ImageInput
from diptych.data.readers.columns import CAPTION_NAMES, IMAGE_NAMES
from diptych.data.readers.delimited import delimiter_of, records
from diptych.data.readers.encodings import decoded

Kind = Literal["image-text", "text-text", "image-image"]
KINDS: tuple[Kind, ...] = get_args(Kind)
IMAGE_TEXT, TEXT_TEXT, IMAGE_IMAGE = KINDS
_TWO = ("1", "2"), ("_1", "_2"), ("a", "b"), ("_a", "_b")
_TEXTS = (*[(f"{name}{one}", f"{name}{two}") for name in ("text", "sentence", "s", "caption") for one, two in _TWO],
          ("query", "document"), ("anchor", "positive"))  # fmt: skip
_IMAGES = tuple((f"{name}{one}", f"{name}{two}") for name in ("image", "img") for one, two in _TWO)
_ANY = ("left", "right")
_YES, _NO = ("1", "1.0", "true", "yes", "related"), ("0", "0.0", "false", "no", "unrelated")
_EXPECTED = "expected image and text, text1 and text2, image1 and image2, or left and right"


@dataclass(frozen=True)
class Asked:
    """One pair: of an image and a text the image is `left`. A text is a str, an image anything that is an image."""

    left: ImageInput
    right: ImageInput
    kind: Kind
    where: str = ""  # of a list: the file and the line
    label: bool | None = None

    @property
    def sides(self) -> tuple[tuple[ImageInput, bool], tuple[ImageInput, bool]]:
        """Both sides, each with whether it is an image."""
        return (self.left, self.kind != TEXT_TEXT), (self.right, self.kind == IMAGE_IMAGE)


def asked(
    left: Any,
    right: Any,
    kind: str | None = None,
    folder: Path | None = None,
    *,
    where: str = "",
    label: bool | None = None,
) -> Asked:
    """A pair by what its sides are: a str is an image where it names a file or ends like an image's name.

    `kind` says it instead, image first; names of images start from `folder`; `where` and `label` are of a list. Raises
    DataError for a text of which nothing can be seen, ConfigError for an unknown kind.
    """
    if kind is None:
        are_images = [_is_image(side, folder or Path()) for side in (left, right)]
        if are_images == [False, True]:
            left, right = right, left
        kind = (TEXT_TEXT, IMAGE_TEXT, IMAGE_IMAGE)[sum(are_images)]
    if kind not in KINDS:
        raise ConfigError(f"unknown kind of pair {kind!r}; choose from {', '.join(KINDS)}")
    made = Asked(left, right, kind, where, label)
    one, other = (_image(side, folder) if is_image else checked_text(side) for side, is_image in made.sides)
    return replace(made, left=one, right=other)


def checked_text(text: Any) -> str:
    """The text. Raises DataError for what is none, nothing of which can be seen, or that is no valid Unicode."""
    if not isinstance(text, str):
        raise DataError(f"found {kind_of(text)} where a text was expected", Reason.BAD_ROW)
    if is_blank(text):
        raise DataError("a text is empty; expected words", Reason.EMPTY_TEXT)
    if not is_unicode(text):
        raise DataError(f"the text {one_line(text)[:60]!r} is not valid Unicode; send it as UTF-8", Reason.BAD_ROW)
    return text


def read_pairs(
    path: Path, kind: str | None, skipped: list[Skipped], notes: Notes, encoding: str | None = None
) -> list[Asked]:
    """The pairs of a CSV, TSV or JSON lines file, in its order; names of images start from the file's folder.

    A row that cannot be asked about is named in `skipped`. Raises DataError for another file, or one without a pair.
    """
    shown = one_line(str(path))
    if path.suffix.lower() not in (".csv", ".tsv", ".jsonl", ".ndjson"):
        raise DataError(f"{shown}: expected a list of pairs, a file that ends in .csv, .tsv or .jsonl")
    with opening(path):
        data = path.read_bytes()
    text, found = decoded(data, shown, encoding)
    if found.remark:
        notes.name("encoding", f"files {found.remark}", path.name)
    rows = _table(text, shown) if path.suffix.lower() in (".csv", ".tsv") else _objects(text)
    pairs = []
    for line, row in rows:
        where = f"{shown}:{line}"
        try:
            pairs.append(_of_row(row, kind, path.parent, where))
        except DataError as error:
            skipped.append(Skipped(where, error.reason, str(error)))
    if not pairs:
        raise DataError(
            f"{shown} holds no pair that can be asked about" + (f"; {skipped[0].detail}" if skipped else "")
        )
    return pairs


def _table(text: str, shown: str) -> Iterator[tuple[int, Any]]:
    """(line, row) after the header; of a line that cannot be read, what keeps it from being read instead of the row."""
    stream = io.StringIO(text, newline="")
    header = stream.readline()
    delimiter = delimiter_of(header)
    names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
    if _columns(names) is None:
        raise DataError(f"{shown} has no two columns that make a pair; columns found: {', '.join(names) or 'none'}; "
                        f"{_EXPECTED}")  # fmt: skip
    width = len(names)
    is_row = {width: "row"}
    for record in records(stream, delimiter, width, lambda cells: is_row.get(len(cells)), quoted=True):
        if record.problem:
            yield record.line, record.problem
        elif any(cell.strip() for cell in record.cells):
            yield record.line, dict(zip(names, record.cells, strict=True))


def _objects(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, f"not JSON: {error}"


def _columns(names: Sequence[str]) -> tuple[str, str, Kind | None] | None:
    """The two columns of a pair and their kind; None for the kind where each cell says it."""
    known = {name.lower(): name for name in names}

    def both(pairs: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
        return next(((known[one], known[two]) for one, two in pairs if one in known and two in known), None)

    if found := both([(image, text) for image in IMAGE_NAMES for text in CAPTION_NAMES]):
        return (*found, IMAGE_TEXT)
    if found := both(_TEXTS):
        return (*found, TEXT_TEXT)
    if found := both(_IMAGES):
        return (*found, IMAGE_IMAGE)
    return (*found, None) if (found := both([_ANY])) else None


def _of_row(row: Any, kind: str | None, folder: Path, where: str) -> Asked:
    if not isinstance(row, Mapping):
        raise DataError(row if isinstance(row, str) else f"found {kind_of(row)} where a JSON object was expected")
    columns = _columns(list(row))
    if columns is None:
        raise DataError(f"keys found: {', '.join(map(str, row)) or 'none'}; {_EXPECTED}", Reason.BAD_ROW)
    left, right, stated = columns
    label = next((row[name] for name in row if name.lower() == "label"), None)
    return asked(row[left], row[right], stated or kind, folder, where=where, label=_label(label))


def _label(value: Any) -> bool | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    word = str(value).strip().lower()
    if word not in (*_YES, *_NO):
        raise DataError(f"the label {one_line(str(value))[:40]!r} is neither 1 nor 0 (true, false, yes, no)")
    return word in _YES


def _is_image(side: Any, folder: Path) -> bool:
    if not isinstance(side, str):
        return True
    path = folder / os.path.expanduser(side)  # noqa: PTH111 - never raises
    return path.suffix.lower() in SUFFIXES or os.path.isfile(path)  # noqa: PTH113


def _image(side: Any, folder: Path | None) -> Any:
    """An image as it is; a name as a path below the folder."""
    if not isinstance(side, str | Path):
        return side
    if not str(side).strip():
        raise DataError("the name of an image is empty", Reason.NO_IMAGE)
    return (folder or Path()) / os.path.expanduser(side)  # noqa: PTH111
