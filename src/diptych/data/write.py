"""Write pairs as a source that the readers read again: JSON lines, one pair each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diptych.core.files import atomic_write, write_bytes
from diptych.core.types import FileImage, ImageRef, Pair, Text
from diptych.data.language import CODES
from diptych.data.readers.columns import FIELD_NAMES


def write_pairs(path: Path, pairs: Iterable[Pair]) -> int:
    """Write a JSONL source and return how many pairs it holds.

    Image files are named by their absolute path; images inside tars or tables are copied out into
    `<stem>.images/` beside the file. Texts keep language and field: "caption", "caption_de",
    "title_fr", ... Fields with other names than the readers know become captions; `meta` is not kept.
    """
    folder = path.with_name(f"{path.stem}.images")
    count = 0
    with atomic_write(path) as stream:
        for pair in pairs:
            stream.write((json.dumps(_row(pair, folder, count), ensure_ascii=False) + "\n").encode())
            count += 1
    return count


def _row(pair: Pair, folder: Path, number: int) -> dict[str, Any]:
    images = [_image(ref, folder, f"{number:07}-{place}") for place, ref in enumerate(pair.images)]
    row: dict[str, Any] = {"id": pair.id, "image": images[0] if len(images) == 1 else images}
    for text in pair.texts:
        row.setdefault(_column(text), []).append(text.value)
    row |= {name: value for name, value in (("split", pair.split), ("group", pair.group)) if value is not None}
    return {name: _one(value) if name != "image" else value for name, value in row.items()}


def _column(text: Text) -> str:
    field = text.field if text.field in FIELD_NAMES else "caption"
    return f"{field}_{text.lang}" if text.lang in CODES else field


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _image(ref: ImageRef, folder: Path, name: str) -> str:
    if isinstance(ref, FileImage):
        return str(ref.path.absolute())
    with ref.open() as source:
        target = folder / f"{name}{Path(ref.name).suffix.lower() or '.img'}"
        write_bytes(target, source.read())
    return str(target.absolute())
