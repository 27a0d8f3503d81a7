"""Caltech-UCSD Birds 200-2011, with the ten captions an image of Reed et al. (2016).

The folder holds lists of `number value` lines (images.txt, image_class_labels.txt, classes.txt,
train_test_split.txt), images in `images/CLASS/NAME.jpg`, and captions in `text_c10/CLASS/NAME.txt`, one a line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from diptych.core.errors import DataError, Reason
from diptych.core.registry import register
from diptych.core.text import is_unicode
from diptych.core.types import FileImage, Pair

from .image_files import Spellings
from .reading import Reading
from .textfile import lines

IMAGES, CLASSES, LABELS, SPLIT = "images.txt", "classes.txt", "image_class_labels.txt", "train_test_split.txt"
TEXTS = ("text_c10", "text", "captions")  # folders of texts, in the birds' folder or beside it
_BY_CLASS = (("trainclasses.txt", "train"), ("valclasses.txt", "val"), ("testclasses.txt", "test"))


def is_cub(path: Path) -> bool:
    """Whether a folder holds the birds' lists."""
    return (path / IMAGES).is_file() and (path / LABELS).is_file()


@register.reader("cub", "CUB-200-2011 birds: its lists, and a folder of captions")
def read(reading: Reading) -> Iterator[Pair]:
    """One Pair a bird: its caption file's lines are its texts, its species is its class.

    The split is by class where Reed's trainclasses.txt, valclasses.txt and testclasses.txt are there (text to
    image is measured on species never seen), else that of train_test_split.txt. Captions are looked for in
    `text_c10/CLASS/NAME.txt` or `text/CLASS/NAME.txt`; without any the pairs have no texts.

    Raises DataError when a list is missing or the images are.
    """
    folder = reading.path if reading.path.is_dir() else reading.path.parent
    names = _table(reading, folder / IMAGES)
    labels = _table(reading, folder / LABELS)
    classes = _table(reading, folder / CLASSES) if (folder / CLASSES).is_file() else {}
    splits = _splits(reading, folder, names)
    images = reading.options.images_root or folder / "images"
    if not images.is_dir():
        raise DataError(f"no folder {images}; name the birds' images with --images-root", Reason.MISSING)
    texts = _text_folder(folder)
    spellings = Spellings(reading)
    for identifier, name in names.items():
        if not _is_inside(name):
            reading.skip(f"{IMAGES} {identifier}", Reason.BAD_ROW, f"not a path below the images: {name}")
            continue
        path = images / name if (images / name).is_file() else spellings.find(images, name)[0]
        if path is None:
            reading.skip(name, Reason.MISSING, f"no image {name} in {images}")
            continue
        label = classes.get(labels.get(identifier, ""), "") or name.partition("/")[0]
        captions = _captions(reading, texts, name) if texts else []
        yield Pair(
            id=name,
            images=(FileImage(path),),
            texts=tuple(reading.texts(name, captions, lang="en")),
            split=splits.get(identifier),
            group=_species(label),
        )


def _table(reading: Reading, path: Path) -> dict[str, str]:
    """`number value` lines."""
    if not path.is_file():
        raise DataError(f"{path.parent} has no {path.name}, which CUB-200-2011 comes with", Reason.MISSING)
    found = {}
    for where, line in lines(reading, path):
        number, _, value = line.strip().partition(" ")
        if value.strip():
            found[number] = value.strip()
        else:
            reading.skip(where, Reason.BAD_ROW, "expected a number and a value")
    return found


def _splits(reading: Reading, folder: Path, names: Mapping[str, str]) -> dict[str, str]:
    by_class: dict[str, str] = {}
    for file, split in _BY_CLASS:
        for place in (folder, folder.parent):
            if (place / file).is_file():
                by_class |= {line.strip(): split for _, line in lines(reading, place / file)}
                break
    if by_class:
        folders = {identifier: name.partition("/")[0] for identifier, name in names.items()}
        return {identifier: by_class[folder] for identifier, folder in folders.items() if folder in by_class}
    if not (folder / SPLIT).is_file():
        return {}
    return {number: "train" if value == "1" else "test" for number, value in _table(reading, folder / SPLIT).items()}


def _text_folder(folder: Path) -> Path | None:
    candidates = (place / name for place in (folder, folder.parent) for name in TEXTS)
    return next((path for path in candidates if path.is_dir()), None)


def _captions(reading: Reading, folder: Path, name: str) -> list[str]:
    path = (folder / name).with_suffix(".txt")
    if not path.is_file():
        reading.skip(name, Reason.EMPTY_TEXT, f"no captions {path.name} in {path.parent}")
        return []
    return [line for _, line in lines(reading, path)]


def _is_inside(name: str) -> bool:
    return is_unicode(name) and not Path(name).is_absolute() and ".." not in Path(name).parts


def _species(label: str) -> str | None:
    """ "001.Black_footed_Albatross" -> "Black footed Albatross"."""
    number, dot, rest = label.partition(".")
    return (rest if dot and number.isdigit() else label).replace("_", " ").strip() or None
