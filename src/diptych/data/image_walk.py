"""One walk over a folder of images, for the folder readers and for `index`: which files are read, which are not.

Imports no decoder, so that what only searches stays light.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from pathlib import Path

from diptych.core.errors import DataError
from diptych.core.extras import is_installed
from diptych.core.notes import Notes

from .image_inputs import OTHER_SUFFIXES, RAW_SUFFIXES, SOUND_SUFFIXES, SUFFIXES

HIDDEN = "hidden images and folders, passed over"
OTHER_KIND = "files of other kinds, passed over"
RAW_TWIN = "RAW images beside an image of the same name, which stands for both"
RAW_KEPT = "RAW images read, because the image of the same name is damaged"
RAW_UNREAD = "RAW images, passed over: pip install 'diptych[raw]' reads them"
LINKED = "links to files and folders that are read already, passed over"
NO_SUFFIX = "images whose names have no suffix, read by what they hold"
_JPEG_END, _TAIL = b"\xff\xd9", 4_096  # bytes at the end of a file that hold the marker, and what cameras put behind it
_CHECKED = frozenset({".heic", ".heif", ".avif", ".webp"})  # whose containers say how long they are
_MOST_SUFFIX = 6  # characters, with the dot; what is longer is part of a name

Entry = os.DirEntry[str]


class ImageWalk:
    """Files below a folder that are taken for images, each once: names in order, links last.

    Hidden files and folders, images of kinds that are not read, and links to what is read anyway are passed over
    and noted. Loops of links end. `others` counts further files by suffix; `links` are the links among the images.
    """

    def __init__(
        self,
        root: Path,
        notes: Notes,
        on_error: Callable[[str, OSError], None],
        *,
        is_closed: Callable[[list[Entry]], bool] = lambda entries: False,
        show: Callable[[str], str] = str,
        sounds: bool = False,
    ) -> None:
        """`on_error` gets the folders that cannot be listed; a folder below the root that `is_closed` is left out.

        With `sounds` it is the sounds that are read, by their suffixes alone.
        """
        self._sounds = sounds
        self._root, self._notes, self._on_error, self._is_closed, self._show = root, notes, on_error, is_closed, show
        self._real = [os.path.realpath(root)]  # of all trees walked
        self._targets: set[str] = set()  # of the links to files
        self._links: deque[Entry] = deque()
        self.others: Counter[str] = Counter()
        self.links: list[Path] = []

    def folders(self) -> Iterator[list[Entry]]:
        """The images of each folder, parents first, then those that links lead to."""
        yield from self._tree(str(self._root), is_root=True)
        while self._links:
            yield from self._linked(self._links.popleft())

    def __iter__(self) -> Iterator[Entry]:
        """The images."""
        for entries in self.folders():
            yield from entries

    def _tree(self, top: str, *, is_root: bool = False) -> Iterator[list[Entry]]:
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self._on_error(folder, error)
                continue
            if not (is_root and folder == top) and self._is_closed(listed):
                continue
            images: list[Entry] = []
            inner: list[str] = []
            for entry in listed:
                if entry.name.startswith("."):
                    self._note_hidden(entry)
                elif entry.is_symlink():
                    self._links.append(entry)
                elif _is_folder(entry):
                    inner.append(entry.path)
                elif self._is_image(entry):
                    images.append(entry)
            waiting += reversed(inner)
            images = self._without_twins(images)
            if images:
                yield images

    def _without_twins(self, images: list[Entry]) -> list[Entry]:
        """The images of a folder without RAW files beside which there is another image of the same name, undamaged."""
        named: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in images:
            if _suffix(entry.name) in SUFFIXES:
                named[_stem(entry.name)].append(entry)
        kept = []
        for entry in images:
            twins = named.get(_stem(entry.name), []) if _suffix(entry.name) in RAW_SUFFIXES else []
            if not twins:
                kept.append(entry)
            elif all(_is_damaged(Path(twin.path)) for twin in twins):
                self._notes.add("raw_kept", RAW_KEPT, self._show(entry.name))
                kept.append(entry)
            else:
                self._notes.add("raw_twin", RAW_TWIN, self._show(entry.name))
        return kept

    def _linked(self, entry: Entry) -> Iterator[list[Entry]]:
        target = os.path.realpath(entry.path)
        is_folder = _is_folder(entry)
        if not is_folder and not self._is_image(entry):
            return
        above = is_folder and any(Path(real).is_relative_to(target) for real in self._real)
        # a file of another name, or none, is not read by itself
        is_read = is_folder or (is_sound_file if self._sounds else is_image_file)(Path(target))
        if above or target in self._targets or (is_read and any(_is_seen(target, real) for real in self._real)):
            self._notes.add("link", LINKED, self._show(entry.path))
            return
        self._targets.add(target)
        if is_folder:
            self._real.append(target)
            yield from self._tree(entry.path)
        else:
            self.links.append(Path(entry.path))
            yield [entry]

    def _is_image(self, entry: Entry) -> bool:
        suffix = _suffix(entry.name)
        if suffix in (SOUND_SUFFIXES if self._sounds else SUFFIXES):
            return True
        if suffix in RAW_SUFFIXES and not self._sounds:
            if reads_raw():
                return True
            self._notes.add("raw_unread", RAW_UNREAD, self._show(entry.name), part=suffix)
        if self._sounds:
            self.others[self._show(suffix) or "without suffix"] += 1
            return False
        if suffix in OTHER_SUFFIXES:
            self._notes.add("other_kind", OTHER_KIND, self._show(entry.name), part=suffix)
        elif suffix == "" and holds_image(entry.path):
            self._notes.add("no_suffix", NO_SUFFIX, self._show(entry.name))
            return True
        self.others[self._show(suffix) or "without suffix"] += 1
        return False

    def _note_hidden(self, entry: Entry) -> None:
        if _is_folder(entry) or _suffix(entry.name) in (SOUND_SUFFIXES if self._sounds else SUFFIXES):
            self._notes.add("hidden", HIDDEN, self._show(entry.name))


def _is_damaged(path: Path) -> bool:
    """Whether an image cannot be read. One that ends as its kind does is only opened; any other one is decoded."""
    from .images import decode, read_header  # only what indexes gets here

    try:
        read_header(path)
        with path.open("rb") as stream:
            stream.seek(-min(_TAIL, path.stat().st_size), os.SEEK_END)
            ends = _JPEG_END in stream.read()
        if not (ends or _suffix(path.name) in _CHECKED):
            decode(path)
    except (DataError, OSError):
        return True
    return False


def is_image_file(path: Path) -> bool:
    """Whether a file is taken for an image: by its suffix or, without one, by its first bytes."""
    suffix = _suffix(path.name)
    return path.is_file() and (suffix in SUFFIXES | RAW_SUFFIXES or (not suffix and holds_image(path)))


@functools.cache
def reads_raw() -> bool:
    """Whether RAW files of cameras can be read here."""
    return is_installed("rawpy")


def is_sound_file(path: Path) -> bool:
    """Whether a file is taken for a sound, by its suffix."""
    return path.suffix.lower() in SOUND_SUFFIXES and path.is_file()


def holds_image(path: str | Path) -> bool:
    """Whether the first bytes of a regular file are those of an image."""
    from .images.formats import HEAD, sniff

    with contextlib.suppress(OSError):
        if stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - opening a pipe would wait forever
            with open(path, "rb") as stream:  # noqa: PTH123
                return sniff(stream.read(HEAD)) is not None
    return False


def _suffix(name: str) -> str:
    """The suffix in lower case; "" where what follows the last dot is part of the name ("IMG 12.05.2019")."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a name, not a path
    is_part = len(suffix) > _MOST_SUFFIX or suffix[1:].isdigit() or " " in suffix
    return "" if is_part and suffix not in SUFFIXES | RAW_SUFFIXES | OTHER_SUFFIXES else suffix


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122 - a name, not a path


def _is_folder(entry: Entry) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_seen(target: str, real: str) -> bool:
    """Whether the walk over the tree `real` comes by `target` without a link: nothing hidden on the way."""
    path = Path(target)
    return path.is_relative_to(real) and not any(part.startswith(".") for part in path.relative_to(real).parts)
