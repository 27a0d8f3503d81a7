"""Labels of a classification: what each is called, and the texts that stand for it.

labels.txt    one label a line
labels.json   ["cat", "dog"], or {"dog": "dog"}, {"dog": ["dog", "hound"]},
              {"dog": {"names": ["dog", "hound"], "prompts": ["a puppy at play"]}}
labels.csv    columns label, name, prompt; the rows of one label are joined

A name is filled into every template; a prompt is used as it is. A label without either is its own name.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.core.checks import kind_of
from diptych.core.errors import DataError, Reason, opening
from diptych.core.notes import Notes
from diptych.core.text import is_blank, is_unicode, one_line
from diptych.data.readers.delimited import delimiter_of
from diptych.data.readers.encodings import decoded

_COLUMNS = ("label", "name", "prompt")
_KEYS = ("names", "prompts")
_FORMS = (
    'expected a list of labels, or an object such as {"dog": ["dog", "hound"]} or {"dog": {"names": [...], '
    '"prompts": [...]}}'
)
TWICE, ALIKE = "label_twice", "labels_alike"  # kinds of notes

LabelInput = Sequence[str] | Mapping[str, Any]  # labels, or label -> a name, names, or {"names": ..., "prompts": ...}


@dataclass(frozen=True)
class Label:
    """One label: what it is called in results, the names that fill templates, and prompts that stand as they are."""

    name: str
    names: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()

    def texts(self, templates: Sequence[str]) -> list[str]:
        """Every template with every name, then the prompts; equal texts once. Without names or prompts: by `name`."""
        names = self.names or (() if self.prompts else (self.name,))
        filled = [template.replace("{}", name) for template in templates for name in names]
        return list(dict.fromkeys([*filled, *self.prompts]))


def read_labels(path: Path, notes: Notes, encoding: str | None = None) -> tuple[Label, ...]:
    """The labels of a text, JSON, CSV or TSV file, in its order.

    A label that stands there twice is joined and noted; so are labels of the same texts, which nothing tells apart.
    Raises DataError where there is none, or the file is something else.
    """
    shown = one_line(str(path))
    with opening(path):
        data = path.read_bytes()
    text, found = decoded(data, shown, encoding)
    if found.remark:
        notes.name("encoding", f"files {found.remark}", path.name)
    if not is_unicode(text):
        raise DataError(f"{shown} is not valid Unicode; save it as UTF-8")
    if path.suffix.lower() == ".json":
        try:
            return labels_of(json.loads(text), notes, shown)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{shown} is not valid JSON: {error}") from error
    if path.suffix.lower() in (".csv", ".tsv"):
        return _joined(_rows(text, shown), notes, shown)
    return _joined((Label(line.strip()) for line in text.splitlines() if not is_blank(line)), notes, shown)


def labels_of(values: Any, notes: Notes, where: str = "labels") -> tuple[Label, ...]:
    """Labels from a list, or a mapping as a JSON file holds it. Raises DataError as `read_labels`."""
    if isinstance(values, Mapping):
        return _joined((_of_entry(name, value, where) for name, value in values.items()), notes, where)
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise DataError(f"{where} holds {kind_of(values)}; {_FORMS}")
    for value in values:
        if not isinstance(value, str | Label):
            raise DataError(f"{where} lists {kind_of(value)} among its labels; {_FORMS}")
    return _joined((value if isinstance(value, Label) else Label(value) for value in values), notes, where)


def _of_entry(name: Any, value: Any, where: str) -> Label:
    if isinstance(value, Mapping):
        if other := [key for key in value if key not in _KEYS]:
            raise DataError(f"{where}: label {name!r} has the key {other[0]!r}; expected {' and '.join(_KEYS)}")
        names, prompts = (_texts(value.get(key, ()), name, where) for key in _KEYS)
        return Label(str(name), names, prompts)
    return Label(str(name), _texts(value, name, where))


def _texts(value: Any, name: Any, where: str) -> tuple[str, ...]:
    values = (value,) if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not all(isinstance(one, str) for one in values):
        raise DataError(f"{where}: label {name!r} has {kind_of(value)} for its names; {_FORMS}")
    return tuple(one.strip() for one in values if not is_blank(one))


def _rows(text: str, where: str) -> Iterator[Label]:
    header, _, rest = text.partition("\n")
    delimiter = delimiter_of(header)
    names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
    if "label" not in names:
        found = ", ".join(names) or "none"
        raise DataError(f"{where} has no column 'label'; columns found: {found}; expected {', '.join(_COLUMNS)}")
    for cells in csv.reader(io.StringIO(rest, newline=""), delimiter=delimiter):
        row = dict(zip(names, (cell.strip() for cell in cells), strict=False))
        if row.get("label"):
            name, prompt = (tuple(filter(None, [row.get(column)])) for column in _COLUMNS[1:])
            yield Label(row["label"], name, prompt)


def _joined(labels: Iterator[Label], notes: Notes, where: str) -> tuple[Label, ...]:
    found: dict[str, Label] = {}
    for label in labels:
        if is_blank(label.name) or not is_unicode(label.name):
            raise DataError(f"{where} has the label {label.name!r}, of which nothing can be seen; name it or remove it")
        earlier = found.get(label.name)
        if earlier is not None and not label.names and not label.prompts:
            notes.add(TWICE, "labels named more than once, used once", label.name)
        elif earlier is not None:
            label = Label(label.name, earlier.names + label.names, earlier.prompts + label.prompts)
        if earlier is None or label.names or label.prompts:
            found[label.name] = label
    if not found:
        raise DataError(f"{where} holds no labels; expected one a line", Reason.EMPTY_TEXT)
    _note_alike(list(found.values()), notes)
    return tuple(found.values())


def _note_alike(labels: Sequence[Label], notes: Notes) -> None:
    """Note labels that the same texts stand for."""
    first: dict[frozenset[str], Label] = {}
    for label in labels:
        earlier = first.setdefault(frozenset(label.texts(("{}",))), label)
        if earlier is not label:
            notes.add(ALIKE, "labels with the same names as another, so they always tie", label.name)
