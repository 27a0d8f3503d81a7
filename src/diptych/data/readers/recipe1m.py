"""Recipe1M as published: layer1.json (recipes), layer2.json (their images), pictures by partition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diptych.core.errors import DataError, Reason
from diptych.core.types import FileImage, Pair

from .options import normalise_split
from .reading import Reading, is_unicode
from .rows import strings
from .textfile import json_array

LAYER1, LAYER2 = "layer1.json", "layer2.json"


def read(job: Reading) -> Iterator[Pair]:
    """One Pair a recipe that has images; both files are streamed, never held as a whole.

    Images lie at `<root>/<partition>/a/b/c/d/abcd….jpg`, `<root>/<partition>/…`, or `<root>/…`, where
    root is the folder of layer1.json, or the `images` folder in it. Recipes without any image in
    layer2.json are left out without a word (most have none). Raises DataError when a layer is missing.
    """
    folder = job.path if job.path.is_dir() else job.path.parent
    for name in (LAYER1, LAYER2):
        if not (folder / name).is_file():
            raise DataError(f"{folder} has no {name}; Recipe1M needs {LAYER1} and {LAYER2}", Reason.MISSING)
    images = _images_by_recipe(job, folder / LAYER2)
    given = job.options.images_root
    roots = [given] if given is not None else [folder, folder / "images"]
    for number, record in enumerate(json_array(folder / LAYER1)):
        where = f"{LAYER1} recipe {number}"
        if not _has_id(record):
            job.skip(where, Reason.BAD_ROW, "expected an object with an 'id'")
        elif record["id"] in images:
            pair = _pair(job, roots, record, images[record["id"]])
            if pair is not None:
                yield pair


def _has_id(record: Any) -> bool:
    return isinstance(record, Mapping) and isinstance(record.get("id"), str) and is_unicode(record["id"])


def _images_by_recipe(job: Reading, path: Path) -> dict[str, tuple[str, ...]]:
    found = {}
    for number, record in enumerate(json_array(path)):
        try:
            names = tuple(str(image["id"]) for image in record["images"])
            found[str(record["id"])] = names
        except (TypeError, KeyError):
            job.skip(f"{LAYER2} recipe {number}", Reason.BAD_ROW, "expected an 'id' and 'images' with ids")
    return found


def _pair(job: Reading, roots: list[Path], record: Mapping[str, Any], names: tuple[str, ...]) -> Pair | None:
    identifier = record["id"]
    partition = str(record.get("partition") or "")
    images = []
    for name in names:
        path = _find(roots, partition, name)
        if path is None:
            job.skip(identifier, Reason.MISSING, f"no image {name} below {', '.join(map(str, roots))}")
        else:
            images.append(FileImage(path))
    if not images:
        return None
    wanted = job.options.text_columns or ("title", "ingredients", "instructions")
    texts = []
    for field in wanted:
        if values := strings(record.get(field)):
            texts += job.texts(identifier, ["\n".join(values)], field=field)
    url = record.get("url")
    meta = {"url": url} if isinstance(url, str) and is_unicode(url) else {}
    return Pair(identifier, tuple(images), tuple(texts), normalise_split(partition), meta=meta)


def _find(roots: list[Path], partition: str, name: str) -> Path | None:
    name = Path(name).name  # ids are plain file names; anything else must not lead elsewhere
    nested = Path(*name[:4], name)
    for root in roots:
        for path in (root / partition / nested, root / nested, root / partition / name, root / name):
            if path.is_file():
                return path
    return None
