"""Write pairs as a source that the readers read again: JSON lines, one pair each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diptych.core import fingerprint
from diptych.core.files import atomic_write, write_bytes
from diptych.core.types import FileImage, ImageRef, Origin, Pair, Text
from diptych.data.cache import bytes_of
from diptych.data.images import SUFFIXES
from diptych.data.readers.columns import has_role
from diptych.data.video import VideoImage


def write_pairs(out: Path, pairs: Iterable[Pair]) -> int:
    """Replace `out` by one JSON object a pair, and return how many there are; texts keep all that is known of them.

    Images and videos in files below the folder of `out` are named relative to it, others by their whole path;
    images from tars and tables get files of their own in `<out>-images`. A pair whose images are all
    gone is left out; one of texts only has an empty list of images.
    """
    count = 0
    with atomic_write(out) as stream:
        for pair in pairs:
            images = [name for image in pair.images if (name := _image(image, out)) is not None]
            if images or not pair.images:
                line = json.dumps(_row(pair, images), ensure_ascii=False) + "\n"
                stream.write(line.encode("utf-8", "backslashreplace"))
                count += 1
    return count


def _row(pair: Pair, images: list[Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"id": pair.id}
    row |= {"image": images[0]} if len(images) == 1 else {"images": images}
    row |= {name: value for name, value in (("split", pair.split), ("group", pair.group)) if value is not None}
    row["texts"] = [_described(text) for text in pair.texts]
    return row | {name: value for name, value in pair.meta.items() if not has_role(name)}


def _described(text: Text) -> dict[str, Any]:
    known: dict[str, Any] = {"lang": text.lang, "meaning": text.meaning, "engine": text.engine}
    known |= {"role": text.role, "label": text.label, "item": text.item}
    described: dict[str, Any] = {"text": text.value, "field": text.field}
    described |= {name: value for name, value in known.items() if value is not None}
    return described if text.origin is Origin.HUMAN else described | {"origin": text.origin.value}


def _image(image: ImageRef, out: Path) -> Any:
    """What a row says of an image: a path, or the part of a video; None for an image that is gone."""
    if isinstance(image, FileImage):
        return _path(image.path, out)
    if isinstance(image, VideoImage):
        return {"path": _path(image.path, out), "start": image.start, "end": image.end}
    data = bytes_of(image)
    if data is None:
        return None
    suffix = Path(image.name).suffix.lower()
    name = fingerprint.of_bytes(data) + (suffix if suffix in SUFFIXES else ".jpg")
    path = out.parent / f"{out.stem}-images" / name
    if not path.exists():
        write_bytes(path, data)
    return path.relative_to(out.parent).as_posix()


def _path(path: Path, out: Path) -> str:
    path, folder = path.resolve(), out.parent.resolve()
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
