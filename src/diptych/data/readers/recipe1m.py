"""Recipe1M as published: layer1.json (recipes), layer2.json (their images), image files by partition.

    layer1.json   [{"id": "0000e1a2c3", "title": "Soup", "ingredients": [{"text": "water"}],
                    "instructions": [{"text": "Boil."}], "partition": "train"}, ...]
    layer2.json   [{"id": "0000e1a2c3", "images": [{"id": "ab12....jpg"}]}, ...]

Also read, where they are there: det_ingrs.json (the names of the ingredients) and classes.json ({recipe id: class},
made from classes1M.pkl, which is a pickle and therefore never opened here).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.core.errors import DataError, Reason
from diptych.core.registry import register
from diptych.core.text import is_unicode
from diptych.core.types import FileImage, Pair
from diptych.data.text_parts import parse_parts

from .cells import strings
from .options import normalise_split
from .reading import Reading
from .textfile import json_array, load_json

LAYER1, LAYER2, LAYER2_PLUS = "layer1.json", "layer2.json", "layer2+.json"
NAMES, CLASSES, PICKLED_CLASSES = "det_ingrs.json", "classes.json", "classes1M.pkl"
FIELDS = ("title", "ingredients", "instructions")
INGREDIENT_NAMES = "ingredient_names"  # the field of the texts from det_ingrs.json
NO_CLASS = "background"  # what classes1M.pkl calls the class of recipes that have none


@dataclass(frozen=True, slots=True)
class _Beside:
    """What the other files say of each recipe."""

    roots: tuple[Path, ...]  # folders that may hold the images
    images: Mapping[str, tuple[str, ...]]
    classes: Mapping[str, str]
    ingredient_names: Mapping[str, str]


@register.reader("recipe1m", "Recipe1M: layer1.json, layer2.json (or layer2+.json) and files beside them")
def read(reading: Reading) -> Iterator[Pair]:
    """One Pair a recipe that has images; the layers are streamed, never held as a whole.

    Images lie at `<root>/<partition>/a/b/c/d/abcd….jpg`, `<root>/<partition>/…`, or `<root>/…`, where
    root is the folder of layer1.json, or the `images` folder in it. Recipes without any image in
    layer2.json are left out without a word (most have none). Recipe1M+'s layer2+.json is read where
    there is no layer2.json, or where it is the source itself. The ingredients' names are read when
    they are asked for, as the text column or text part "ingredient_names".

    Raises DataError when a layer is missing.
    """
    folder = reading.path if reading.path.is_dir() else reading.path.parent
    layer2 = _layer2(reading.path, folder)
    images = _images_by_recipe(reading, layer2)
    given = reading.options.images_root
    roots = (given,) if given is not None else (folder, folder / "images")
    fields = reading.options.text_columns or FIELDS
    if INGREDIENT_NAMES in parse_parts(reading.options.text_parts) and INGREDIENT_NAMES not in fields:
        fields = (*fields, INGREDIENT_NAMES)
    names = _ingredient_names(reading, folder / NAMES, images) if INGREDIENT_NAMES in fields else {}
    beside = _Beside(roots, images, _classes(reading, folder), names)
    for number, record in enumerate(json_array(reading, folder / LAYER1)):
        where = f"{LAYER1} recipe {number}"
        if not _has_id(record):
            reading.skip(where, Reason.BAD_ROW, "expected an object with an 'id'")
        elif record["id"] in images:
            pair = _pair(reading, record, beside, fields)
            if pair is not None:
                yield pair


def _layer2(path: Path, folder: Path) -> Path:
    named = [path] if path.name == LAYER2_PLUS else []
    candidates = [*named, folder / LAYER2, folder / LAYER2_PLUS]
    found = next((file for file in candidates if file.is_file()), None)
    if found is None or not (folder / LAYER1).is_file():
        missing = LAYER2 if found is None else LAYER1
        raise DataError(f"{folder} has no {missing}; Recipe1M needs {LAYER1} and {LAYER2}", Reason.MISSING)
    return found


def _has_id(record: Any) -> bool:
    return isinstance(record, Mapping) and isinstance(record.get("id"), str) and is_unicode(record["id"])


def _images_by_recipe(reading: Reading, path: Path) -> dict[str, tuple[str, ...]]:
    found = {}
    for number, record in enumerate(json_array(reading, path)):
        try:
            found[str(record["id"])] = tuple(str(image["id"]) for image in record["images"])
        except (TypeError, KeyError):
            reading.skip(f"{path.name} recipe {number}", Reason.BAD_ROW, "expected an 'id' and 'images' with ids")
    return found


def _ingredient_names(reading: Reading, path: Path, wanted: Iterable[str]) -> dict[str, str]:
    """Recipe -> the names that were found in its ingredients, one a line. Raises DataError without the file."""
    if not path.is_file():
        raise DataError(f"{path.parent} has no {NAMES}, which holds the {INGREDIENT_NAMES}", Reason.MISSING)
    wanted = frozenset(wanted)
    found = {}
    for number, record in enumerate(json_array(reading, path)):
        if not _has_id(record) or not isinstance(record.get("ingredients"), list):
            reading.skip(f"{NAMES} recipe {number}", Reason.BAD_ROW, "expected an 'id' and 'ingredients'")
        elif record["id"] in wanted:
            names = record["ingredients"]
            valid = record.get("valid")
            kept = zip(names, valid, strict=False) if isinstance(valid, list) else ((name, True) for name in names)
            found[record["id"]] = "\n".join(text for name, good in kept if good for text in strings(name))
    return found


def _classes(reading: Reading, folder: Path) -> dict[str, str]:
    path = folder / CLASSES
    if not path.is_file():
        if (folder / PICKLED_CLASSES).is_file():
            reading.skip(PICKLED_CLASSES, Reason.BAD_ROW, f"a pickle is never opened; turn it into {CLASSES}")
        return {}
    content = load_json(reading, path)
    if not isinstance(content, dict) or not all(isinstance(name, str | int) for name in content.values()):
        raise DataError(f"{path} must hold one JSON object of recipe id: class")
    return {identifier: str(name) for identifier, name in content.items() if name != NO_CLASS}


def _pair(reading: Reading, record: Mapping[str, Any], beside: _Beside, fields: Iterable[str]) -> Pair | None:
    identifier = record["id"]
    partition = str(record.get("partition") or "")
    images = []
    for name in beside.images[identifier]:
        path = _find(beside.roots, partition, name)
        if path is None:
            reading.skip(identifier, Reason.MISSING, f"no image {name} below {', '.join(map(str, beside.roots))}")
        else:
            images.append(FileImage(path))
    if not images:
        return None
    texts = []
    for field in fields:
        value = beside.ingredient_names.get(identifier, "") if field == INGREDIENT_NAMES else record.get(field)
        if values := [line for line in strings(value) if line]:
            texts += reading.texts(identifier, ["\n".join(values)], field=field)
    url = record.get("url")
    meta = {"url": url} if isinstance(url, str) and is_unicode(url) else {}
    group = beside.classes.get(identifier)
    return Pair(identifier, tuple(images), tuple(texts), normalise_split(partition), group, meta)


def _find(roots: Iterable[Path], partition: str, name: str) -> Path | None:
    name = Path(name).name  # ids are plain file names; anything else must not lead elsewhere
    nested = Path(*name[:4], name)
    for root in roots:
        for path in (root / partition / nested, root / nested, root / partition / name, root / name):
            if path.is_file():
                return path
    return None
