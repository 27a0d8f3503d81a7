"""Localized Narratives of COCO and of Open Images (Pont-Tuset et al. 2020): JSON lines, one spoken description each.

    {"dataset_id": "mscoco_val2017", "image_id": "107899", "caption": "In this image I can see a dog.", ...}

The traces of the mouse and the recordings are not read.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from diptych.core.errors import DataError, Reason
from diptych.core.registry import register
from diptych.core.text import is_unicode
from diptych.core.types import Pair

from .image_files import ImageRoot
from .jsonl import SUFFIXES
from .options import SPLITS
from .reading import Reading
from .textfile import head, lines

_COCO = re.compile(r"mscoco_(?P<part>[a-z]+)(?P<year>\d{4})")
_OPEN_IMAGES = re.compile(r"open_?images_(?P<part>[a-z]+)", re.IGNORECASE)
_DATASET = re.compile(rb'"dataset_id"\s*:\s*"(?:mscoco_|open_?images|flickr30k|ade20k)', re.IGNORECASE)
_KEYS = ("dataset_id", "image_id", "caption")


def looks_like_narratives(path: Path) -> bool:
    """Whether the file starts like theirs, with the data set that the first narrative is of."""
    start = head(path)
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and _DATASET.search(start) is not None


def find(path: Path) -> list[Path]:
    """The file itself, or those in the folder that look like theirs."""
    if path.is_file():
        return [path] if path.name.lower().endswith(SUFFIXES) and looks_like_narratives(path) else []
    return [file for file in sorted(path.glob("*.jsonl")) if looks_like_narratives(file)]


@register.reader("narratives", "Localized Narratives of COCO or Open Images: JSON lines")
def read(reading: Reading) -> Iterator[Pair]:
    """One Pair an image, with the narratives of all its annotators (field "narrative"); traces and voices are left.

    Images: `train2017/000000107899.jpg` or the 2014 names for COCO, `train/0001eeaf4aed83f9.jpg` for Open
    Images, with or without the folder. The split is that of `dataset_id`.

    Raises DataError when no such file is there.
    """
    files = find(reading.path)
    if not files:
        expected = f"JSON lines with {', '.join(_KEYS)}"
        raise DataError(f"{reading.path} has no localized narratives ({expected})", Reason.MISSING)
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for file in files:
        for where, line in lines(reading, file):
            record = _record(line)
            if record is None:
                reading.skip(where, Reason.BAD_ROW, f"expected an object with {', '.join(_KEYS)}")
            else:
                dataset, identifier, caption = record
                found[dataset, identifier].append(caption)
    root = ImageRoot(reading, files[0].parent)
    for (dataset, identifier), captions in found.items():
        image = root.find_any(identifier, _names(dataset, identifier))
        if image is not None:
            texts = reading.texts(identifier, captions, lang="en", field="narrative")
            yield Pair(identifier, (image,), tuple(texts), _split(dataset), None, {"dataset": dataset})


def _record(line: str) -> tuple[str, str, str] | None:
    try:
        record = json.loads(line)
        dataset, image, caption = (record[key] for key in _KEYS)
    except (ValueError, RecursionError, TypeError, KeyError):
        return None
    image = str(image)
    # an id is a number or hexadecimal; anything else must not lead to other folders
    if not isinstance(dataset, str) or not isinstance(caption, str) or not re.fullmatch(r"[\w-]+", image):
        return None
    return (dataset, image, caption) if is_unicode(dataset + image) else None


def _names(dataset: str, identifier: str) -> tuple[str, ...]:
    """What the image may be called, the usual name first."""
    coco = _COCO.fullmatch(dataset)
    if coco:
        number = identifier.zfill(12)
        old = (f"{part}2014/COCO_{part}2014_{number}.jpg" for part in ("train", "val"))
        flat = (f"COCO_{part}2014_{number}.jpg" for part in ("train", "val"))
        return (f"{coco['part']}{coco['year']}/{number}.jpg", f"{number}.jpg", *old, *flat)
    match = _OPEN_IMAGES.match(dataset)
    folder = match["part"].lower() if match else ""
    return (f"{folder}/{identifier}.jpg", f"{identifier}.jpg") if folder else (f"{identifier}.jpg",)


def _split(dataset: str) -> str | None:
    match = _COCO.fullmatch(dataset) or _OPEN_IMAGES.match(dataset)
    return SPLITS.get(match["part"].lower()) if match else None
