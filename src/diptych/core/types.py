"""The records that flow through Diptych: readers make `Pair`s, searches give `Hit`s."""

from __future__ import annotations

import dataclasses
import io
import stat
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from .errors import DataError, Reason, opening


class Origin(StrEnum):
    """Who wrote a text."""

    HUMAN = "human"
    TRANSLATED = "translated"  # by a machine, from a text of the same meaning
    BACK_TRANSLATED = "back_translated"  # by a machine, into another language and back


class Role(StrEnum):
    """The side of a text, where texts are found by texts."""

    QUERY = "query"
    DOCUMENT = "document"


SOUND = "sound"  # the field of a text that is spoken


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a pair.

    `lang` is an ISO 639-1 code ("en") or None when unknown; `field` says which part of the
    record it is: caption, title, ingredients, instructions, ... Texts of one pair with the same
    `meaning` say the same thing: translations of each other; None is a meaning of its own.
    `engine` names the machine that wrote it and its way, such as "apertium en-es-en".

    With the field "sound" it is a spoken text: `value` is the full path of a file of sound.

    In a record of texts only, `role` says which side a text is of; None where there are no sides, as among
    paraphrases. Of a document, `label` says how related it is to the record's queries: 0 is unrelated, more is more,
    None is related without a label. `item` is its id in the source: documents of several records with one id, or
    without ids of one value, are one item of a gallery.

    `source` is the number of its source, from 0, where a training reads several.
    """

    value: str
    lang: str | None = None
    field: str = "caption"
    origin: Origin = Origin.HUMAN
    meaning: int | None = None
    engine: str | None = None
    role: Role | None = None
    label: float | None = None
    item: str | None = None
    source: int = dataclasses.field(default=0, compare=False, repr=False)

    @property
    def is_sound(self) -> bool:
        """Whether it is spoken, in a file that `value` names."""
        return self.field == SOUND

    @property
    def relevance(self) -> float:
        """How related a document is to its record's queries: its label, 1 without one."""
        return 1.0 if self.label is None else self.label

    @property
    def item_key(self) -> tuple[bool, str]:
        """Equal for documents that are one item of a gallery."""
        return (False, self.value) if self.item is None else (True, self.item)


class ImageRef(ABC):
    """Where an image is. Two references are equal when they lead to the same place, or hold the same bytes."""

    __slots__ = ()

    @property
    @abstractmethod
    def name(self) -> str:
        """What a person would call it in a message."""

    @abstractmethod
    def open(self) -> IO[bytes]:
        """The encoded bytes as a seekable stream. Raises DataError(missing) when they are gone."""

    def content(self) -> bytes:
        """What identifies it wherever it lies: the encoded bytes. Raises DataError as `open` does."""
        with self.open() as stream:
            return stream.read()

    @abstractmethod
    def stated_bytes(self) -> int | None:
        """How many bytes `open` gives, without opening; None when that is not known before.

        Raises DataError: missing, or not_an_image for a folder, pipe or device.
        """


@dataclass(frozen=True, slots=True)
class FileImage(ImageRef):
    """An image in a file of its own."""

    path: Path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def open(self) -> IO[bytes]:
        """The encoded bytes as a stream. Raises DataError(missing) when the file is gone."""
        with opening(self.path):
            return self.path.open("rb")

    def stated_bytes(self) -> int:
        """The size of the file. Raises DataError: missing, or not_an_image for a folder, pipe or device."""
        try:
            status = self.path.stat()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            cause = getattr(error, "strerror", None) or error
            raise DataError(f"cannot open {self.name}: {cause}", Reason.MISSING) from error
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait forever
            raise DataError(f"{self.name} is a folder, pipe or device; expected an image file", Reason.NOT_AN_IMAGE)
        return status.st_size


@dataclass(frozen=True, slots=True)
class TarImage(ImageRef):
    """An image inside an uncompressed tar, read in place: nothing is ever extracted."""

    tar: Path
    member: str
    offset: int  # bytes from the start of the tar to the member's data
    size: int  # bytes

    @property
    def name(self) -> str:
        """The tar and the member: "shard.tar::0001.jpg"."""
        return f"{self.tar}::{self.member}"

    def open(self) -> IO[bytes]:
        """The encoded bytes as a stream. Raises DataError(missing) when the tar is gone."""
        with opening(self.tar):
            stream = self.tar.open("rb")
        with stream:
            stream.seek(self.offset)
            return io.BytesIO(stream.read(self.size))

    def stated_bytes(self) -> int:
        """The size of the member, by the tar's header."""
        return self.size


@dataclass(frozen=True, slots=True)
class BytesImage(ImageRef):
    """An image held in memory, as encoded bytes (a Parquet cell, an upload)."""

    data: bytes = field(repr=False)
    label: str = field(default="image", compare=False)

    @property
    def name(self) -> str:
        """The label."""
        return self.label

    def open(self) -> IO[bytes]:
        """The encoded bytes as a stream."""
        return io.BytesIO(self.data)

    def stated_bytes(self) -> int:
        """The length of the bytes."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Pair:
    """One record of a collection: the images and the texts that belong together.

    Every text describes every image, so all of them are positives of each other. `group` is
    the class for class-aware losses; `split` is "train", "val", "test" or None when the source
    has none; `meta` holds whatever else the source said, as JSON-ready values.

    A record without images holds texts only: paraphrases of each other, or queries with the documents that
    were judged for them (`Text.role`).

    `id` is a label that the user gave: it may repeat, and nothing is looked up by it. `key` is the
    record's identity, which a source gives: no two of its records have the same. Within one list of
    pairs the identity is the position.
    """

    id: str
    images: tuple[ImageRef, ...]
    texts: tuple[Text, ...] = ()
    split: str | None = None
    group: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    key: str = field(default="", compare=False)
    is_named: bool = field(default=True, compare=False)  # False: the id is only an image's name, or a row's place

    @property
    def identity(self) -> str:
        """The key; the id for a pair that did not come from a source."""
        return self.key or self.id

    @property
    def queries(self) -> tuple[Text, ...]:
        """The texts that ask."""
        return tuple(text for text in self.texts if text.role is Role.QUERY)

    @property
    def documents(self) -> tuple[Text, ...]:
        """The texts that are judged for the queries."""
        return tuple(text for text in self.texts if text.role is Role.DOCUMENT)

    @property
    def is_gallery(self) -> bool:
        """Whether it holds documents without a query: they are there to be ranked, in every split."""
        return not self.images and bool(self.texts) and all(text.role is Role.DOCUMENT for text in self.texts)


def numbered_label(label: str, occurrence: int) -> str:
    """A name that no other (label, occurrence) has: the label itself for the first (0), "label~2" for the second.

    A "~" in a label is doubled.
    """
    plain = label.replace("~", "~~")
    return f"{plain}~{occurrence + 1}" if occurrence else plain


@dataclass(frozen=True, slots=True)
class Skipped:
    """One input that was left out, and why. A bad file never stops a batch: it becomes one of these.

    `notes` help to find the cause: the first bytes, the decoder's own message.
    """

    name: str
    reason: Reason
    detail: str = ""
    notes: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def to_json(self) -> dict[str, str]:
        """JSON-ready."""
        return {"name": self.name, "reason": self.reason.value, "detail": self.detail}

    def error(self) -> DataError:
        """An error that says the same, for work in which nothing may be left out."""
        made = DataError(self.detail or f"cannot read {self.name}", self.reason)
        for note in self.notes:
            made.add_note(note)
        return made


@dataclass(frozen=True, slots=True)
class Hit:
    """One result of a search, best first.

    `score` is a cosine in [-1, 1] unless `scored_by` says otherwise. It is computed in
    `diptych.library.view.exact`; after re-ranking, in `diptych.library.reranker`.
    """

    rank: int  # its place in the list, 0 first; what is printed, and JSON, count from 1
    id: str
    score: float
    path: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    scored_by: str = "cosine"
