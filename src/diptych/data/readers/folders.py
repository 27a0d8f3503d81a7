"""Folders of image files, or of sounds.

a.jpg  a.txt  b.jpg        captions, one a line, in the text file of the same name
train/a.jpg  val/b.jpg     a first folder called train, val or test is the split
dog/1.jpg  cat/2.jpg       one sub-folder for each class ("classes")
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import Path

from diptych.core.errors import DataError, Reason
from diptych.core.registry import register
from diptych.core.text import is_unicode, plain
from diptych.core.types import FileImage, Pair, Text
from diptych.data.image_walk import ImageWalk

from .image_files import EXTRA_IMAGES, Spellings, folded, masked_stem
from .options import SPLITS
from .reading import Reading
from .textfile import lines

MAX_CAPTION_FILE = 1 << 20  # bytes
UNREAD_TEXT = "text files that are named like no image of their folder (a.txt is for a.jpg), not read"


@register.reader("images", "folder of images, captions in same-stem .txt files if any", lists_once=True)
def read_images(reading: Reading) -> Iterator[Pair]:
    """Every image below the folder, in the order of the names, those that links lead to last.

    `a/b.txt` beside `a/b.jpg` holds its captions, one a line. A first folder called train, val or
    test is the split. The id is the path from the folder. A single image file is a source too. Masks and depth maps
    beside an image (`a_mask.png`) are read only with `extra_images`.
    """
    return _read(reading, sounds=False)


@register.reader("sounds", "folder of sounds, texts in same-stem .txt files if any", lists_once=True)
def read_sounds(reading: Reading) -> Iterator[Pair]:
    """Every sound below the folder, each in the place of an image, as `read_images`: `a/b.txt` is for `a/b.wav`."""
    return _read(reading, sounds=True)


def _read(reading: Reading, *, sounds: bool) -> Iterator[Pair]:
    spellings = Spellings(reading)
    if reading.path.is_file():
        yield _image_pair(reading, reading.path.parent, reading.path, spellings)
        return
    for folder, paths in groupby(image_files(reading, reading.path, sounds=sounds), key=lambda path: path.parent):
        named = set()
        for path in paths:
            yield _image_pair(reading, reading.path, path, spellings)
            if not path.is_symlink():
                named.add(folded(path.with_suffix(".txt").name))
        if named:
            _note_other_texts(reading, folder, named)


@register.reader("classes", "one folder of images for each class", lists_once=True)
def read_classes(reading: Reading) -> Iterator[Pair]:
    """`class/image.jpg` or `split/class/image.jpg`: the class is the group, and a text ("a_b" -> "a b")."""
    for path in image_files(reading, reading.path):
        folders = path.relative_to(reading.path).parts[:-1]
        split = SPLITS.get(folders[0].lower()) if len(folders) > 1 else None
        names = folders[1:] if split else folders
        if not names:
            reading.skip(str(path), Reason.BAD_ROW, "not in a class folder")
            continue
        label = Text(names[0].replace("_", " ").strip(), reading.options.lang, "class")
        yield Pair(_identifier(reading.path, path), (FileImage(path),), (label,), split, names[0])


def image_files(reading: Reading, folder: Path, *, sounds: bool = False) -> Iterator[Path]:
    """Images, or sounds, below `folder`, each once.

    What is passed over is noted, and names that are not Unicode are skipped.
    """
    walk = ImageWalk(folder, reading.notes, partial(_unreadable, reading), show=plain, sounds=sounds)
    for entries in walk.folders():
        stems = {Path(entry.name).stem for entry in entries}
        for entry in entries:
            path = Path(entry.path)
            if not is_unicode(str(path.relative_to(folder))):
                reading.skip(str(path), Reason.BAD_ROW, "the file name is not valid UTF-8; rename the file")
            elif not (sounds or reading.options.extra_images) and masked_stem(path.stem) in stems:
                reading.note("extra_image", EXTRA_IMAGES, entry.name)
            else:
                yield path


def _unreadable(reading: Reading, folder: str, error: OSError) -> None:
    if Path(folder) == reading.path:
        raise DataError(f"cannot open {reading.path}: {error.strerror}", Reason.MISSING) from error
    reading.skip(folder, Reason.MISSING, error.strerror or str(error))


def _image_pair(reading: Reading, root: Path, path: Path, spellings: Spellings) -> Pair:
    folders = path.relative_to(root).parts[:-1]
    split = SPLITS.get(folders[0].lower()) if folders else None
    return Pair(_identifier(root, path), (FileImage(path),), _captions(reading, path, spellings), split)


def _identifier(root: Path, path: Path) -> str:
    return plain(path.relative_to(root).as_posix())


def _note_other_texts(reading: Reading, folder: Path, named: set[str]) -> None:
    """Note the files of a folder that may hold captions, but are named like none of its images."""
    try:
        listed = sorted(folder.iterdir())
    except OSError:  # gone since its images were listed, which are missing by themselves
        return
    for path in listed:
        if path.suffix.lower() in (".txt", ".caption") and folded(path.name) not in named and path.name[0] != ".":
            reading.note("unread_text", UNREAD_TEXT, plain(path.relative_to(reading.path).as_posix()))


def _captions(reading: Reading, image: Path, spellings: Spellings) -> tuple[Text, ...]:
    path = image.with_suffix(".txt")
    try:
        if not path.is_file():
            path = spellings.find(path.parent, path.name)[0] or path
        size = path.stat().st_size
    except OSError:
        return ()
    if size > MAX_CAPTION_FILE:
        reading.skip(str(path), Reason.TOO_LARGE, f"{size} bytes; a caption file has at most {MAX_CAPTION_FILE}")
        return ()
    noted = len(reading.skipped)
    try:
        found = [text for where, line in lines(reading, path) for text in reading.texts(where, [line])]
    except DataError as error:
        reading.skip(str(path), Reason.BAD_ROW, str(error))
        return ()
    if not found and len(reading.skipped) == noted:
        reading.skip(str(path), Reason.EMPTY_TEXT, "no caption in the file")
    return tuple(found)
