"""Folders that `diptych generator draw --folder` wrote: images with the text that each was drawn from.

generate.json  0000-000000.png  0000-000001.png  0001-000000.png      TEXT-NUMBER, both from 0
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from diptych.core.errors import DataError, Reason
from diptych.core.registry import register
from diptych.core.types import FileImage, Pair

from .reading import Reading
from .textfile import head

_ABOUT = "generate.json"
_NAME = re.compile(r"(\d{4,})-\d{6,}\.png")


def is_drawn(folder: Path) -> bool:
    """Whether the folder has the file that says what was drawn, and that file begins like ours."""
    path = folder / _ABOUT
    return path.is_file() and b'"texts"' in head(path)


@register.reader("drawn", "folder of generated images that diptych generator draw wrote", lists_once=True)
def read(reading: Reading) -> Iterator[Pair]:
    """One Pair an image, with the text that it was drawn from. The id is the file's name.

    Raises DataError when generate.json does not list the texts.
    """
    path = reading.path / _ABOUT
    try:
        texts = json.loads(path.read_bytes())["texts"]
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise TypeError("its texts are no list of strings")
    except OSError as error:
        raise DataError(f"cannot open {path}: {error.strerror or error}", Reason.MISSING) from error
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} does not say what was drawn ({error}); draw the folder again") from error
    for file in sorted(reading.path.glob("*.png")):
        named = _NAME.fullmatch(file.name)
        if named is None or int(named[1]) >= len(texts):
            reading.skip(file.name, Reason.BAD_ROW, f"not named TEXT-NUMBER.png with a text of {_ABOUT}")
            continue
        yield Pair(file.name, (FileImage(file),), tuple(reading.texts(file.name, [texts[int(named[1])]])))
