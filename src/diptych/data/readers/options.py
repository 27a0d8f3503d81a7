"""What a user may state about a source; what is not stated is detected from the source itself."""

from __future__ import annotations

import codecs
import math
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

from diptych.core.checks import several
from diptych.core.config import unknown
from diptych.core.errors import ConfigError
from diptych.core.types import Origin

# The names that data sets in the wild give to the three splits.
SPLITS = {
    **dict.fromkeys(("train", "training", "restval"), "train"),  # restval: Karpathy's extra COCO training images
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How to read a source of pairs. None means: detected from the source itself."""

    images_optional: ClassVar[bool] = False  # whether a table without a column of images is read by its texts

    format: str | None = None
    """Name of a reader, such as csv or webdataset; detected when left out."""
    image_column: str | None = None
    """Column (or JSON key) that holds the image: a path, or encoded bytes."""
    text_columns: tuple[str, ...] = ()
    """Columns that hold the texts: a,b or a b, or repeat the flag."""
    texts_only: bool = False
    """Read no images: a record is a group of texts that mean the same, or texts that ask and texts that are found."""
    query_column: str | None = None
    """Of texts only: column with the text that asks, or the first of two, such as sentence1."""
    document_column: str | None = None
    """Of texts only: column with the text that is found, or the second of two, such as sentence2."""
    negative_column: str | None = None
    """Of texts only: column with texts that are not related to the query."""
    label_column: str | None = None
    """Of texts only: column that says how related the two are: 0 is unrelated, more is more."""
    label_scale: str | None = None
    """Of texts only: LOW:HIGH, the labels that there are, such as 0:5 or 1:5; rows with others are left out."""
    text_parts: tuple[str, ...] = ()
    """Join these parts of each record into one long text, in this order: title,ingredients,instructions."""
    origins: tuple[str, ...] = ()
    """Keep only texts of these origins: human, translated, back_translated."""
    id_column: str | None = None
    """Column that names the record."""
    split_column: str | None = None
    """Column that says train, val or test."""
    group_column: str | None = None
    """Column that holds the class of the record."""
    lang: str | None = None
    """Language (ISO 639-1, such as en) of texts whose source does not say it."""
    encoding: str | None = None
    """Encoding of text files, such as windows-1252 or gb18030; detected when left out."""
    extra_images: bool = False
    """Read masks, depth maps and their like beside an image (0.seg.png, a_mask.png) as images too."""
    images_root: Path | None = None
    """Folder that relative image paths start from."""
    split: str | None = None
    """Keep only this split: train, val (also dev, validation) or test; held-out is what training keeps for
    validation, also where the source has no splits."""

    def __post_init__(self) -> None:
        for name in ("text_columns", "text_parts", "origins"):  # one may be given without a tuple around it
            object.__setattr__(self, name, tuple(several(getattr(self, name), str, f"names as {name}")))
        if self.label_scale is not None:
            parse_scale(self.label_scale)
        if self.reads_texts_only and self.image_column is not None:
            raise ConfigError(f"found the image column {self.image_column!r} for a source of texts only; leave one out")
        for origin in self.origins:
            if origin not in tuple(Origin):
                raise unknown("origin", origin, Origin)
        if self.encoding is not None and not _is_text_encoding(self.encoding):
            raise ConfigError(
                f"unknown encoding {self.encoding!r}; expected a name such as utf-8, utf-16, windows-1252, gb18030, "
                "big5, shift_jis or euc-kr"
            )

    @property
    def reads_texts_only(self) -> bool:
        """Whether the user says that there are no images."""
        sides = (self.query_column, self.document_column, self.negative_column, self.label_column)
        return self.texts_only or any(column is not None for column in sides)


class TextSourceOptions(SourceOptions):
    """How to read a source whose texts alone are wanted."""

    images_optional = True

    @classmethod
    def of(cls, options: SourceOptions) -> TextSourceOptions:
        """The same options."""
        return cls(**{each.name: getattr(options, each.name) for each in fields(options)})


def parse_scale(stated: str) -> tuple[float, float]:
    """ "1:5" -> (1.0, 5.0): the lowest label, which says unrelated, and the highest.

    Raises ConfigError for anything else.
    """
    try:
        low, high = map(float, stated.split(":"))
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"found the label scale {stated!r}; expected LOW:HIGH, such as 0:5 or 1:5")
    return low, high


def _is_text_encoding(name: str) -> bool:
    try:
        return isinstance(codecs.decode(b"", name), str) and isinstance("".encode(name), bytes)
    except (LookupError, TypeError, ValueError):
        return False


def normalise_split(name: str | None) -> str | None:
    """The usual spellings become train, val or test; another name is kept in lower case; blank is None."""
    cleaned = (name or "").strip().lower()
    return SPLITS.get(cleaned, cleaned) or None


def split_of_name(name: str) -> str | None:
    """The split that a file or folder name states: "train-00000-of-00004.parquet" -> "train"."""
    first = re.split(r"[-_.\s]", name.lower(), maxsplit=1)[0]
    return SPLITS.get(first)
