"""Finds image files by the names in tables, in usual folders and other spellings; and tells masks from images."""

from __future__ import annotations

import contextlib
import os.path
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from diptych.core.errors import DataError, Reason
from diptych.core.text import is_unicode
from diptych.core.types import FileImage

from .reading import Reading

_SPELT = "files found by another spelling of their names (accents in one or two characters; upper and lower case)"
EXTRA_IMAGES = "images beside the image of a record, such as masks, not read (--extra-images reads them)"
_WORDS = (
    r"seg(m|mentation|map)?|masks?|depth(map)?|disp(arity)?|normals?|matte|alpha|trimap|edges?|canny|hed|pose|openpose|"
    r"label_?ids?|instance_?ids?|semantic|instances?|panoptic|annot(ation)?s?|flow|saliency|parsing|sketch"
)
_MASK = re.compile(rf"(.*[._\-\s])?({_WORDS})[\d._\-]*", re.IGNORECASE)
_ENDS_IN_MASK = re.compile(rf"(?P<base>.+)[._\-\s]({_WORDS})[\d._\-]*", re.IGNORECASE)
# Tried in this order beside the table; the later ones are the original names of the Flickr sets.
FOLDERS = (
    *("", "images", "Images", "img", "photos"),
    *("Flicker8k_Dataset", "Flickr8k_Dataset", "flickr30k-images", "flickr30k_images", "../images"),
)
PATIENCE = 1000  # images missing in a row, from the start, before the folder is taken for a wrong one
_URL = re.compile(r"[a-z][a-z0-9+]+://", re.IGNORECASE)


class Spellings:
    """Finds names in folders that differ only in case or in how accents are encoded. Each folder is listed once."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._folders: dict[Path, dict[str, list[str]]] = {}

    def find(self, folder: Path, name: str) -> tuple[Path | None, list[str]]:
        """The one file below `folder` whose path differs from `name` in spelling only, else None.

        The list has the names that could be meant, where there are several.
        """
        place = folder
        for part in Path(name).parts:
            if part in ("..", "/") or os.path.exists(place / part):  # noqa: PTH110 - False too for a name that is too long
                place /= part
                continue
            found = self._listing(place).get(folded(part), [])
            same = [other for other in found if _composed(other) == _composed(part)] or found
            if len(same) != 1:
                return None, same
            place /= same[0]
        if not place.is_file():
            return None, []
        self._reading.notes.name("other_spelling", _SPELT, f"{name} as {place.name}")
        return place, []

    def _listing(self, folder: Path) -> Mapping[str, list[str]]:
        if folder not in self._folders:
            names = self._folders[folder] = defaultdict(list)
            with contextlib.suppress(OSError):  # no such folder, or one that may not be read: nothing is in it
                for name in sorted(entry.name for entry in folder.iterdir()):
                    names[folded(name)].append(name)
        return self._folders[folder]


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """What spellings of one name have in common."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def names_mask(part: str) -> bool:
    """Whether a word of a file's name says that it is a mask or the like: "seg", "depth", "0_mask"."""
    return _MASK.fullmatch(part) is not None


def masked_stem(stem: str) -> str | None:
    """The stem of the image that a mask belongs to, by the mask's own stem: "a" for "a_mask"; None for others."""
    match = _ENDS_IN_MASK.fullmatch(stem)
    return match["base"] if match else None


class ImageRoot:
    """Finds image files by the names a table gives them, and remembers where the last one was."""

    def __init__(self, reading: Reading, folder: Path) -> None:
        self._reading = reading
        given = reading.options.images_root
        self._folders = [given] if given is not None else [folder / name for name in FOLDERS]
        self._spellings = Spellings(reading)
        self._unclear: list[str] = []  # names that the last one sought may stand for
        self._misses = 0
        self._hits = 0
        if given is not None and not given.is_dir():
            raise DataError(f"the images root {given} is not a folder", Reason.MISSING)

    def find(self, where: str, name: str, what: str = "image") -> FileImage | None:
        """The image (or `what` it is) called `name`, or None after skipping it.

        Raises DataError when none of the first PATIENCE images exists: the folder must be wrong.
        """
        name = name.strip()
        if not name:
            self._reading.skip(where, Reason.NO_IMAGE, "empty image path")
        elif _URL.match(name):
            self._reading.skip(where, Reason.NO_IMAGE, f"{name} is an address; download the images first")
        elif not is_unicode(name):
            self._reading.skip(where, Reason.BAD_ROW, f"image path is not valid Unicode: {name}")
        elif (path := self._search(name)) is not None:
            self._hits += 1
            return FileImage(path)
        else:
            self._miss(where, name, what)
        return None

    def find_any(self, where: str, names: Sequence[str]) -> FileImage | None:
        """The first image there is of these names, or None after skipping it by the first name; else as `find`."""
        there = next((name for name in names if self._exact(name) is not None), None)
        there = there or next((name for name in names if self._search(name) is not None), names[0])
        return self.find(where, there)

    def _search(self, name: str) -> Path | None:
        self._unclear = []
        exact = self._exact(name)
        if exact is not None:
            return exact
        for folder in self._folders:
            found, self._unclear = self._spellings.find(folder, name.replace("\\", "/"))
            if found is not None or self._unclear:
                return found
        return None

    def _exact(self, name: str) -> Path | None:
        for spelling in (name, name.replace("\\", "/")) if "\\" in name else (name,):
            for place, folder in enumerate(self._folders):
                path = folder / spelling
                if os.path.isfile(path):  # noqa: PTH113 - False too for a name that is too long
                    self._folders.insert(0, self._folders.pop(place))
                    return path
        return None

    def _miss(self, where: str, name: str, what: str) -> None:
        self._misses += 1
        there = dict.fromkeys(str(folder) for folder in self._folders if folder.is_dir())
        looked = ", ".join(there) or str(self._folders[0])
        several = f"; it may be {' or '.join(self._unclear)}: write the one that is meant" if self._unclear else ""
        self._reading.skip(where, Reason.MISSING, f"no {what} {name} in {looked}{several}")
        if not self._hits and self._misses >= PATIENCE:
            raise DataError(
                f"none of the first {self._misses} images of {self._reading.path} exists (the last: {name}); "
                f"looked in {looked}; name their folder with --images-root",
                Reason.MISSING,
            )
