"""MS-COCO as published: `annotations/captions_train2014.json` and the like, images in `train2014/` and so on.

    {"images": [{"id": 9, "file_name": "COCO_train2014_000000000009.jpg"}, ...],
     "annotations": [{"image_id": 9, "caption": "Bread on a plate."}, ...]}

`instances_*.json` of the same part, where it is there, gives the names of the objects in each image.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diptych.core.errors import DataError, Reason
from diptych.core.registry import register
from diptych.core.text import is_unicode
from diptych.core.types import Pair

from .image_files import ImageRoot
from .options import normalise_split
from .reading import Reading
from .textfile import json_array

_CAPTIONS = re.compile(r"captions_(?P<part>[a-z]+)(?P<year>\d{4})\.json")
_CROWD = "iscrowd"
OBJECTS = "objects"  # the key of `Pair.meta` that names them, joined by ", "


def find(path: Path) -> list[Path]:
    """The caption files: the file itself, or those in the folder or its `annotations`."""
    listed = [path] if path.is_file() else sorted(path.glob("captions_*.json"))
    found = [file for file in listed if _CAPTIONS.fullmatch(file.name)]
    return found if found or not (path / "annotations").is_dir() else find(path / "annotations")


@register.reader("coco", "MS-COCO: captions_*.json, with the objects of instances_*.json")
def read(reading: Reading) -> Iterator[Pair]:
    """One Pair an image with all of its captions; the split is that of the file's name.

    Images lie in `train2014/` and the like beside `annotations/`, or all in one folder. Where the
    instances_*.json of the same part is there, `meta["objects"]` names the classes of the objects in the
    image, by name, which is what SOA asks a detector for; crowds are left out. Captions without an
    image, and images without a caption, are left out and noted.

    Raises DataError when no caption file is there, or one has another shape.
    """
    files = find(reading.path)
    if not files:
        raise DataError(f"{reading.path} has no file such as captions_train2014.json", Reason.MISSING)
    for file in sorted(files[0].parent.glob("captions_*.json")) if reading.path.is_dir() else ():
        if file not in files:
            detail = "files of captions that are not named like captions_val2014.json"
            reading.notes.name("unread_table", detail, file.name)
    for file in files:
        yield from _part(reading, file)


def _part(reading: Reading, file: Path) -> Iterator[Pair]:
    match = _CAPTIONS.fullmatch(file.name)
    part, year = (match["part"], match["year"]) if match else ("", "")
    base = file.parent.parent if file.parent.name == "annotations" else file.parent
    captions = _captions(reading, file)
    objects = _objects(reading, file.with_name(file.name.replace("captions_", "instances_")))
    root = ImageRoot(reading, base)
    given: set[str] = set()  # ids whose captions an image has
    for number, record in enumerate(json_array(reading, file, "images")):
        where = f"{file.name} image {number}"
        name = record.get("file_name") if isinstance(record, Mapping) else None
        if not isinstance(name, str) or not is_unicode(name) or "id" not in record:
            reading.skip(where, Reason.BAD_ROW, "expected an image with 'id' and 'file_name'")
            continue
        texts = captions.pop(str(record["id"]), None)
        if texts is None:
            again = f"id {record['id']} is taken by an earlier image" if str(record["id"]) in given else ""
            reading.skip(name, Reason.EMPTY_TEXT, again or "no caption")
            continue
        given.add(str(record["id"]))
        image = root.find_any(name, (f"{part}{year}/{name}", name))
        if image is not None:
            seen = objects.get(str(record["id"]))
            meta = {OBJECTS: ", ".join(seen)} if seen else {}
            yield Pair(name, (image,), tuple(reading.texts(name, texts, lang="en")), normalise_split(part), None, meta)
    for identifier in captions:
        reading.skip(f"{file.name} image id {identifier}", Reason.NO_IMAGE, "captions of an image that is not listed")


def _captions(reading: Reading, file: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for number, record in enumerate(json_array(reading, file, "annotations")):
        caption = record.get("caption") if isinstance(record, Mapping) else None
        if isinstance(caption, str) and "image_id" in record:
            found[str(record["image_id"])].append(caption)
        else:
            reading.skip(f"{file.name} annotation {number}", Reason.BAD_ROW, "expected 'image_id' and 'caption'")
    return found


def _objects(reading: Reading, file: Path) -> dict[str, list[str]]:
    """Image id -> the names of the classes in it, in the order they are listed; nothing without the file."""
    if not file.is_file():
        return {}
    names: dict[Any, str] = {}
    for record in json_array(reading, file, "categories"):
        if isinstance(record, Mapping) and isinstance(record.get("name"), str) and is_unicode(record["name"]):
            names[record.get("id")] = record["name"]
    found: dict[str, dict[str, None]] = {}
    unknown = 0
    for record in json_array(reading, file, "annotations"):
        name = names.get(record.get("category_id")) if isinstance(record, Mapping) else None
        if name is None or "image_id" not in record:
            unknown += 1
        elif not record.get(_CROWD):
            found.setdefault(str(record["image_id"]), {})[name] = None
    if unknown:
        reading.skip(file.name, Reason.BAD_ROW, f"{unknown} annotations without an image or a known category")
    return {identifier: list(seen) for identifier, seen in found.items()}
