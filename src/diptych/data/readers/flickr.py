"""Flickr8k and Flickr30k as published: a token file, lists of the splits, a folder of photos.

1000268201.jpg#0	A child climbs the stairs .        a line of captions.token.txt or results_20130124.token
1000268201.jpg                                         a line of Flickr_8k.trainImages.txt
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from diptych.core.errors import DataError, Reason
from diptych.core.registry import register
from diptych.core.types import Pair

from .image_files import ImageRoot
from .options import normalise_split
from .reading import Reading
from .textfile import head, lines

_TOKEN = re.compile(r"(?P<name>.+?)#(?P<number>\d+)\t(?P<caption>.*)")
_SPLIT_LIST = re.compile(r"(?:^|[._-])(train|dev|val|valid|validation|test)(?:images)?\.txt$", re.IGNORECASE)
TOKEN_FILES = ("captions.token.txt", "Flickr8k.token.txt", "results_20130124.token", "captions.txt")


def find(path: Path) -> Path | None:
    """The token file: the file itself, or the one in the folder (its first line is `name#0<TAB>caption`)."""
    if path.is_file():
        return path if _is_token_file(path) else None
    others = sorted([*path.glob("*.token"), *path.glob("*.token.txt")])
    candidates = [path / name for name in TOKEN_FILES] + others
    return next((file for file in candidates if file.is_file() and _is_token_file(file)), None)


@register.reader("flickr", "Flickr8k or Flickr30k: token file and lists of splits")
def read(reading: Reading) -> Iterator[Pair]:
    """One Pair a photo, in the order of the token file; the split is that of the list that names it.

    A photo in two lists gives a Pair in each, for the doctor to find. Raises DataError when there is
    no token file.
    """
    token_file = find(reading.path)
    if token_file is None:
        raise DataError(f"{reading.path} has no token file; expected one of {', '.join(TOKEN_FILES)}", Reason.MISSING)
    captions = _captions(reading, token_file)
    splits = _splits(reading, token_file.parent)
    root = ImageRoot(reading, token_file.parent)
    for name, values in captions.items():
        image = root.find(name, name)
        if image is None:
            continue
        texts = tuple(reading.texts(name, values))
        for split in splits.get(name) or splits.get(Path(name).stem) or [None]:
            yield Pair(name, (image,), texts, split)
    stems = {Path(name).stem for name in captions}
    for name, found in splits.items():
        if name not in captions and name not in stems:
            reading.skip(name, Reason.EMPTY_TEXT, f"in the {found[0]} list, but not in {token_file.name}")


def _is_token_file(path: Path) -> bool:
    first = head(path, 1 << 12).removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0]
    return _TOKEN.match(first.decode("utf-8", "replace")) is not None


def _captions(reading: Reading, path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for where, line in lines(reading, path):
        match = _TOKEN.fullmatch(line)
        if match is None:
            reading.skip(where, Reason.BAD_ROW, "expected name#number<TAB>caption")
        else:
            found.setdefault(match["name"], []).append(match["caption"])
    return found


def _splits(reading: Reading, folder: Path) -> dict[str, list[str | None]]:
    """Image name (with or without suffix, as listed) -> the splits whose lists name it."""
    found: dict[str, list[str | None]] = defaultdict(list)
    for path in sorted(folder.glob("*.txt")):
        match = _SPLIT_LIST.search(path.name)
        if match is None or "token" in path.name:
            continue
        split = normalise_split(match[1])
        for _, line in lines(reading, path):
            listed = found[line.strip()]
            if split not in listed:
                listed.append(split)
    return found
