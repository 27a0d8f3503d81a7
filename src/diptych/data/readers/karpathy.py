"""Karpathy's JSON: dataset_flickr8k.json, dataset_flickr30k.json, dataset_coco.json.

    {"images": [{"filename": "1.jpg", "split": "train", "sentences": [{"raw": "A dog runs."}, ...]}, ...]}

Images lie beside the file, in a usual folder beside it (`images/`, `filepath` where that is given), or in
`--images-root`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diptych.core.errors import DataError, Reason
from diptych.core.registry import register
from diptych.core.types import FileImage, Pair

from .cells import no_strings, strings
from .image_files import ImageRoot
from .options import normalise_split
from .reading import Reading
from .textfile import head, load_json


def looks_like_karpathy(path: Path) -> bool:
    """Whether the file starts like Karpathy's: an object with images, each with sentences."""
    start = head(path).lstrip(b"\xef\xbb\xbf \r\n\t")
    return start.startswith(b"{") and b'"images"' in start and b'"sentences"' in start


def find(path: Path) -> Path | None:
    """The file itself, or the one in the folder that looks like it."""
    if path.is_file():
        return path
    return next((file for file in sorted(path.glob("*.json")) if looks_like_karpathy(file)), None)


@register.reader("karpathy", "Karpathy's dataset_*.json")
def read(reading: Reading) -> Iterator[Pair]:
    """One Pair an image; `restval` counts as train. Raises DataError when the file has another shape."""
    path = find(reading.path)
    if path is None:
        raise DataError(f"{reading.path} has no JSON file with images and sentences", Reason.MISSING)
    content = load_json(reading, path)
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list):
        raise DataError(f"{path} is not Karpathy's format: expected an object with a list under 'images'")
    root = ImageRoot(reading, path.parent)
    for number, record in enumerate(images):
        where = f"{path.name} image {number}"
        if not isinstance(record, Mapping) or not isinstance(name := record.get("filename"), str):
            reading.skip(where, Reason.BAD_ROW, "no 'filename'")
            continue
        folder = record.get("filepath")
        image = root.find(where, f"{folder}/{name}" if folder else name)
        if image is not None:
            yield _pair(reading, image, record, where)


def _pair(reading: Reading, image: FileImage, record: Mapping[str, Any], where: str) -> Pair:
    for part in no_strings(record.get("sentences")):
        reading.skip(where, Reason.BAD_ROW, f"sentences: no text in {part}")
    texts = reading.texts(where, strings(record.get("sentences")))
    split = record.get("split")
    return Pair(record["filename"], (image,), tuple(texts), normalise_split(split if isinstance(split, str) else None))
