"""From the paths named to `index` to the images behind them: files, folders, and sources of pairs."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diptych.core import checks
from diptych.core.errors import DataError, Reason
from diptych.core.file_names import DistinctNames, escape, unescape
from diptych.core.notes import Notes
from diptych.core.text import plain
from diptych.core.types import BytesImage, FileImage, ImageRef, Pair, Skipped, TarImage
from diptych.data.image_inputs import SOUND_SUFFIXES, SUFFIXES
from diptych.data.image_walk import LINKED, ImageWalk, is_image_file, is_sound_file
from diptych.data.readers import SourceOptions, open_source
from diptych.library.store.row_codec import column_name
from diptych.library.store.rows import Row, content_of, description_digest

from . import card

ANY_SOURCE = SourceOptions()
_NO_META: Mapping[str, Any] = {}  # one for all images without any
AWAY, EMPTY = "it is not there", "it is empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundItem:
    """An image or a text that a source has.

    `described`: whether the source has texts and metadata. A plain folder has none, so indexing it never erases those
    of another source.
    """

    path: str  # written form; unique in the library
    source: str
    bytes: int
    modified_ns: int
    described: bool = False
    texts: tuple[str, ...] = ()
    split: str | None = None
    group: str | None = None
    meta: Mapping[str, Any] = field(default_factory=lambda: _NO_META)
    content: str = ""  # of its bytes, where the source gave them; else they have not been read

    @property
    def digest(self) -> str:
        """Fingerprint of the description, as `Row.digest`."""
        return description_digest(self.texts, self.split, self.group, self.meta)

    def row(self, identifier: str, content: str, size: tuple[int, int], vector: Any) -> Row:
        """Its row in a library."""
        return Row(
            id=identifier,
            path=self.path,
            source=self.source,
            content=content,
            bytes=self.bytes,
            modified_ns=self.modified_ns,
            width=size[0],
            height=size[1],
            vector=vector,
            texts=self.texts,
            split=self.split,
            group=self.group,
            meta=self.meta,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundImage(FoundItem):
    """An image that a source has, and where its bytes are.

    Of an image in a file of its own nothing is kept but the path, because there may be a million of them.
    """

    inside: ImageRef | None = None  # of a part of a tar, a table or a video

    @property
    def ref(self) -> ImageRef:
        """Where its bytes are."""
        return self.inside or FileImage(Path(unescape(self.path)))

    @property
    def is_inside(self) -> bool:
        """Whether it is part of a tar or a table, where its name is only a label."""
        return self.inside is not None


@dataclass(slots=True)
class Survey:
    """Everything that was found, and what could not be read."""

    found: dict[str, FoundImage] = field(default_factory=dict)  # by path
    folders: list[str] = field(default_factory=list)  # walked roots, written form
    sources: set[str] = field(default_factory=set)  # all roots, written form
    missing: dict[str, str] = field(default_factory=dict)  # roots that are not there or cannot be read, and why
    unreadable: list[str] = field(default_factory=list)  # folders that refused to be listed
    skipped: list[Skipped] = field(default_factory=list)
    links: list[str] = field(default_factory=list)  # images that are links to files
    notes: Notes = field(default_factory=Notes)
    _with_bytes: dict[str, tuple[Path, SourceOptions]] = field(default_factory=dict)  # sources to read again

    def add(self, found: FoundImage) -> None:
        """Keep an image; a richer description of the same path wins."""
        if found.path not in self.found or found.described:
            self.found[found.path] = found

    def drop(self, source: str) -> None:
        """Remove what was found of a source that could not be read to its end."""
        self.found = {path: found for path, found in self.found.items() if found.source != source}
        self._with_bytes.pop(source, None)

    def add_source(self, root: Path, status: os.stat_result, options: SourceOptions) -> None:
        """Keep the images of a source of pairs, but never their bytes: those are read again later."""
        shown = escape(str(root))
        source = open_source(root, options)
        names = DistinctNames()
        for pair, position, ref in _images(source):
            found = _described(pair, position, ref, shown, status, names)
            if found is not None:
                self._note_shared_column(found)
            if found is None:
                detail = f"{shown} lists it, but there is no such file"
                self.skipped.append(Skipped(escape(ref.name), Reason.MISSING, detail))
            elif isinstance(found.inside, BytesImage):
                self._with_bytes[shown] = (root, options)
                self.add(replace(found, inside=BytesImage(b"", found.inside.label)))
            else:
                self.add(self._with_texts_of_its_other_record(found))
        self.skipped += source.skipped
        self.notes.extend(source.notes)

    def _note_shared_column(self, found: FoundImage) -> None:
        """Keys of one image that become the same column: all are kept, and --where asks about the last one."""
        columns: dict[str, str] = {}
        for key, value in found.meta.items():
            other = columns.setdefault(column_name(key), key) if value is not None else key
            if other != key:
                detail = (
                    f"images with {other!r} and {key!r}, which are one column to --where: it has the last one's value"
                )
                self.notes.add("shared_column", detail, found.path)

    def _with_texts_of_its_other_record(self, found: FoundImage) -> FoundImage:
        """A file that several records of one source have is one item, with the texts of them all."""
        before = self.found.get(found.path)
        if before is None or before.source != found.source or found.is_inside:
            return found
        detail = "images that several records of a source have, each one item with the texts of them all"
        self.notes.add("joined_item", detail, found.path)
        return replace(before, texts=tuple(dict.fromkeys((*before.texts, *found.texts))))

    def images(self) -> Iterator[FoundImage]:
        """All images, ready to be read."""
        yield from (found for found in self.found.values() if not isinstance(found.inside, BytesImage))
        left = {path for path, found in self.found.items() if isinstance(found.inside, BytesImage)}
        for shown, (root, options) in self._with_bytes.items():
            status, names = root.stat(), DistinctNames()
            for pair, position, ref in _images(open_source(root, options)):
                found = _described(pair, position, ref, shown, status, names)
                if found is not None and isinstance(ref, BytesImage) and found.path in left:
                    left.remove(found.path)
                    yield found


def survey(
    paths: Path | str | Iterable[Path | str],
    format: str | None = None,
    options: SourceOptions = ANY_SOURCE,
    *,
    is_known: Callable[[str], bool] = lambda root: False,
    sounds: bool = False,
) -> Survey:
    """Find the images of all paths: folders are walked, other files are read as images or as lists of them.

    With `format` (the name of a reader) every path is read as such a source of pairs, folders too; `options` say
    more about files that list images. With `sounds`, for a model of sounds, it is the sounds of folders that are found.
    Raises DataError when a path is missing or leads to no image at all, unless `is_known` says that the library
    has rows of it (by its written form): then it is noted, so that a run can keep them.
    """
    result = Survey()
    named = [Path(os.path.abspath(os.fsdecode(path))) for path in checks.paths(paths)]  # noqa: PTH100 - keep symlinks as named
    roots = list(dict.fromkeys(named))
    if not roots:
        raise DataError("no path was given; expected folders, images, or files that list images")
    for root in roots:
        shown = escape(str(root))
        try:
            _survey_root(root, replace(options, format=format or options.format), result, sounds)
        except DataError as error:
            if not is_known(shown):
                raise
            result.drop(shown)
            result.missing[shown] = away(root) or f"it cannot be used ({str(error).partition(';')[0]})"
    _drop_links(result)
    return result


def away(root: Path) -> str | None:
    """Why nothing is found at a path that was named: it is not there, or it is a folder without a visible file."""
    if not os.path.lexists(root):
        return AWAY
    return EMPTY if os.path.isdir(root) and not has_file(str(root)) else None  # noqa: PTH112


def has_file(folder: str) -> bool:
    """Whether a folder, or one below it, has a visible file."""
    for _, folders, files in os.walk(folder):
        if any(not name.startswith(".") for name in files):
            return True
        folders[:] = [name for name in folders if not name.startswith(".")]
    return False


def _drop_links(result: Survey) -> None:
    """Links to files that another of the paths named has led to: each image is read once."""
    for link in result.links:
        path, target = escape(link), escape(os.path.realpath(link))
        if path in result.found and target != path and target in result.found and not result.found[path].described:
            del result.found[path]
            result.notes.add("link", LINKED, path)


def _survey_root(root: Path, options: SourceOptions, result: Survey, sounds: bool) -> None:
    shown = escape(str(root))
    try:
        status = root.stat()
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot read {shown}: {getattr(error, 'strerror', None) or error}; expected a folder, an image, or "
            f"a file that lists images; check the name, and that its drive is there (the library is unchanged)",
            Reason.MISSING,
        ) from error
    result.sources.add(shown)
    if options.format is not None:
        _survey_source(root, status, options, result)
    elif stat.S_ISDIR(status.st_mode):
        result.folders.append(shown)
        _walk(root, result, sounds)
    elif (is_sound_file if sounds else is_image_file)(root):
        result.add(_file(str(root), status, shown))
    else:
        _survey_source(root, status, options, result)


def _file(path: str, status: os.stat_result, source: str) -> FoundImage:
    return FoundImage(
        path=escape(path),
        source=source,
        bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
    )


def _walk(root: Path, result: Survey, sounds: bool) -> None:
    """Add every image, or every sound, below the root. Raises DataError when there is none."""
    shown = escape(str(root))
    if card.exists(root):
        raise DataError(f"{shown} is itself a library; expected a folder of images", Reason.NO_IMAGE)

    def unreadable(folder: str, error: OSError) -> None:
        result.unreadable.append(escape(folder))
        detail = f"cannot list the folder: {error.strerror}; its images in the library are kept"
        result.skipped.append(Skipped(escape(folder), Reason.MISSING, detail))

    # a library inside the folder: its thumbnails are not images of the user's
    walk = ImageWalk(
        root,
        result.notes,
        unreadable,
        is_closed=lambda entries: any(entry.name == card.FILE for entry in entries),
        show=lambda name: plain(escape(name)),
        sounds=sounds,
    )
    count = 0
    for entry in walk:
        count += 1
        _add_entry(entry, shown, result)
    result.links += map(str, walk.links)
    if count:
        return
    if result.unreadable:
        found = f"folders that cannot be read ({result.unreadable[0]})"
    elif walk.others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in walk.others.most_common(5))
        found = f"{walk.others.total()} other files ({kinds})"
    else:
        found = "nothing"
    what, suffixes = ("sounds", SOUND_SUFFIXES) if sounds else ("images", SUFFIXES)
    raise DataError(
        f"no {what} in {shown}: found {found}; expected files ending in "
        f"{', '.join(sorted(suffixes))}; name a folder that has some (the library is unchanged)",
        Reason.NO_IMAGE,
    )


def _add_entry(entry: os.DirEntry[str], source: str, result: Survey) -> None:
    try:
        status = entry.stat()
    except OSError as error:
        detail = f"cannot read it: {error.strerror}"
        result.skipped.append(Skipped(escape(entry.path), Reason.MISSING, detail))
        return
    if not stat.S_ISREG(status.st_mode):
        detail = "it is a pipe or device; expected a file"
        result.skipped.append(Skipped(escape(entry.path), Reason.NOT_AN_IMAGE, detail))
        return
    result.add(_file(entry.path, status, source))


def _images(source: Iterable[Pair]) -> Iterator[tuple[Pair, int, ImageRef]]:
    return ((pair, position, ref) for pair in source for position, ref in enumerate(pair.images))


def _survey_source(root: Path, status: os.stat_result, options: SourceOptions, result: Survey) -> None:
    """A file (or, with a format, a folder) that lists pairs: its texts and metadata become searchable."""
    before = len(result.found)
    result.add_source(root, status, options)
    if len(result.found) == before:
        raise DataError(
            f"{escape(str(root))} leads to no image that is there; expected a list of images with paths "
            f"relative to it (the library is unchanged)",
            Reason.NO_IMAGE,
        )


def _described(
    pair: Pair, position: int, ref: ImageRef, source: str, listed: os.stat_result, names: DistinctNames
) -> FoundImage | None:
    """One image of a pair, or None when there is no such file."""
    content = ""
    if isinstance(ref, FileImage):
        path = Path(os.path.abspath(ref.path))  # noqa: PTH100
        try:
            status = path.stat()
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        written, size, modified = str(path), status.st_size, status.st_mtime_ns
    elif isinstance(ref, TarImage):
        written = names.give(f"{ref.tar.absolute()}::{ref.member}")
        size, modified = ref.size, listed.st_mtime_ns
    elif isinstance(ref, BytesImage):
        label = f"{pair.id}/{position}" if len(pair.images) > 1 else pair.id
        written = names.give(f"{source}::{label}")
        size, modified, content = len(ref.data), listed.st_mtime_ns, content_of(ref.data)
    else:  # a part of a video
        written, size, modified = names.give(os.path.abspath(ref.name)), 0, listed.st_mtime_ns  # noqa: PTH100
    return FoundImage(
        inside=None if isinstance(ref, FileImage) else ref,
        path=escape(written),
        source=source,
        bytes=size,
        modified_ns=modified,
        described=True,
        texts=tuple(text.value for text in pair.texts),
        split=pair.split,
        group=pair.group,
        meta=pair.meta,
        content=content,
    )
