"""WebDataset: tars whose members belong together by name. Nothing is extracted, no pickle is opened.

    0001.jpg  0001.txt  0001.json  0001.cls        one record: image, caption, further columns, class

A `.txt` member is one caption, `.json` an object like a row of a table.
"""

from __future__ import annotations

import json
import lzma
import struct
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.core.errors import DataError, Reason
from diptych.core.registry import register
from diptych.core.text import is_unicode
from diptych.core.types import BytesImage, ImageRef, Pair, TarImage, Text
from diptych.data.images import SUFFIXES

from .cells import strings
from .encodings import decoded
from .files import file_split, source_files
from .image_files import EXTRA_IMAGES, masked_stem, names_mask
from .options import normalise_split
from .reading import Reading
from .rows import SAMPLE_ROWS, RowReader
from .textfile import head

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
TEXTS = frozenset({"txt", "text", "caption"})
FEW_SAMPLES = 100  # of a compressed tar, whose images are held in memory
PICKLES = frozenset({"pyd", "pkl", "pickle", "pth", "pt"})
MAX_TEXT = 1 << 20  # bytes of a txt, json or cls member
MAX_COMPRESSED_IMAGE = 20 << 20  # bytes; an image of a compressed tar has to be held in memory
_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
# What tarfile and the unpackers raise on damaged files, besides their own errors.
_TAR_ERRORS = (
    *(tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
    *(OSError, EOFError, ValueError, TypeError, OverflowError, RecursionError, MemoryError),
)


@dataclass(slots=True)
class _Sample:
    """Members seen so far under one key."""

    key: str
    images: list[tuple[str, ImageRef]] = field(default_factory=list)  # with what is between key and kind: "seg"
    captions: list[str] = field(default_factory=list)  # of txt members and lists in json members
    record: dict[str, Any] = field(default_factory=dict)  # of json members
    group: str | None = None

    @property
    def is_described(self) -> bool:
        """Whether there is anything besides its images."""
        return bool(self.captions or self.record or self.group)


@register.reader("webdataset", "tars with members grouped by name")
def read(reading: Reading) -> Iterator[Pair]:
    """One Pair for each run of members with the same key: the name up to the first dot after the last slash.

    Where images and texts under one key share more of their names ("v1.0_0.png", "v1.0_0.txt"), the key is longer,
    which is noted. jpg, png, webp, … are images; a txt member is one caption, also with several lines; json may hold
    captions and more, and a caption that is in both is read once; cls is the class. The first image is read, and
    numbered ones ("0.1.jpg"); masks and depth maps ("0.seg.png") only with `extra_images`. Images of an uncompressed
    tar are read in place.
    """
    for path in source_files(reading, ENDINGS):
        rows, shard = RowReader(reading, path.parent), _Shard(reading, path)
        most = FEW_SAMPLES if shard.is_packed else SAMPLE_ROWS
        last = ""
        for sample, _ in rows.sampled(((sample, sample.record) for sample in shard.samples()), most):
            # "0_mask" after "0" is no record of its own
            if not reading.options.extra_images and masked_stem(sample.key) == last and not sample.captions:
                reading.notes.add("extra_image", EXTRA_IMAGES, sample.key, part=sample.key.removeprefix(last))
                continue
            last = sample.key
            where = f"{path.name}::{sample.key}"
            if sample.images:
                yield _pair(reading, rows, sample, path, where)
            else:
                reading.skip(where, Reason.NO_IMAGE, "no image member under this key")


class _Shard:
    """One tar, whose members are read in file order and grouped by name."""

    def __init__(self, reading: Reading, path: Path) -> None:
        self._reading, self._path = reading, path
        self.is_packed = head(path, 8).startswith(_MAGIC)  # with gzip, bzip2 or xz

    def samples(self) -> Iterator[_Sample]:
        """The samples. What is damaged is skipped, from there on to the end of the tar."""
        # the members under one key: by what comes before their kind, and by name
        key, run, names = "", dict[str, _Sample](), set[str]()
        pickles = 0
        try:
            for tar, member in self._members():
                own, ending = _key_and_ending(member.name)
                if not own.rsplit("/", 1)[-1]:  # such as .DS_Store
                    self._reading.note("hidden", "hidden members of tars, passed over", member.name)
                    continue
                if own != key or member.name in names:  # a key given twice in a row
                    yield from self._separated(key, run)
                    key, run, names = own, {}, set()
                names.add(member.name)
                between, _, kind = ending.rpartition(".")
                sample = run.setdefault(between, _Sample(key))
                if kind in PICKLES:
                    pickles += 1
                else:
                    self._add(tar, member, ending, sample)
        except _TAR_ERRORS as error:
            self._reading.skip(self._path.name, Reason.TRUNCATED, f"damaged or no tar; the rest is left out: {error}")
        yield from self._separated(key, run)
        if pickles:
            detail = f"{pickles} pickles in it, which could run code: never opened"
            self._reading.skip(self._path.name, Reason.BAD_ROW, detail)

    def _separated(self, key: str, run: dict[str, _Sample]) -> Iterator[_Sample]:
        """The members under one key as one sample, or as several where its dots are part of their names.

        "v1.0_0.png" and "v1.0_0.txt" are no further image and caption of "v1.0_1.png" and "v1.0_1.txt".
        """
        whole = [part for part, one in run.items() if one.images and one.is_described and not names_mask(part)]
        whole = sorted(whole, key=len, reverse=True) if len(whole) > 1 else [""]
        found: dict[str, _Sample] = {}
        for part, one in run.items():
            home = next((other for other in whole if not other or f"{part}.".startswith(f"{other}.")), part)
            sample = found.setdefault(home, _Sample(f"{key}.{home}" if home else key))
            sample.images += [(between.removeprefix(home).removeprefix("."), image) for between, image in one.images]
            sample.captions += one.captions
            sample.record |= one.record
            sample.group = sample.group if one.group is None else one.group
        if len(found) > 1:
            detail = "records whose names have dots in them, separated by the part that their images and texts share"
            examples = (f"{self._path.name}::{one.key}" for one in found.values())
            self._reading.notes.add("dotted_name", detail, *examples, count=len(found))
        yield from found.values()

    def _members(self) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        """Regular members in file order. Raises one of _TAR_ERRORS where the tar is damaged."""
        with tarfile.open(self._path, "r|*") if self.is_packed else tarfile.open(self._path, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # else every header stays in memory
                if not member.isreg() or member.issparse():
                    continue
                if is_unicode(member.name):
                    yield tar, member
                else:
                    where = f"{self._path.name}::{member.name}"
                    self._reading.skip(where, Reason.BAD_ROW, "the name is not valid UTF-8")
            if not self.is_packed and not _ends_at(self._path, tar.offset):
                raise tarfile.ReadError("no end mark after the last member")

    def _add(self, tar: tarfile.TarFile, member: tarfile.TarInfo, ending: str, sample: _Sample) -> None:
        where = f"{self._path.name}::{member.name}"
        kind = ending.rpartition(".")[2]
        if f".{kind}" in SUFFIXES:
            image = self._image(tar, member, where)
            if image is not None:
                sample.images.append((ending.rpartition(".")[0], image))
        elif kind in (*TEXTS, "json", "cls"):
            content = self._content(tar, member, where)
            if content is not None:
                _add_text(self._reading, sample, kind, content, where)
        else:
            detail = "members of tars of kinds that are not read"
            self._reading.notes.add("other_kind", detail, member.name, part=f".{kind}")

    def _image(self, tar: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> ImageRef | None:
        if self.is_packed:
            if member.size > MAX_COMPRESSED_IMAGE:
                detail = f"{member.size} bytes in a compressed tar; unpack to .tar first"
                self._reading.skip(where, Reason.TOO_LARGE, detail)
                return None
            return BytesImage(_bytes(tar, member), where)
        return TarImage(self._path, member.name, member.offset_data, member.size)

    def _content(self, tar: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> str | None:
        if member.size > MAX_TEXT:
            self._reading.skip(where, Reason.TOO_LARGE, f"{member.size} bytes; texts have at most {MAX_TEXT}")
            return None
        try:
            content, encoding = decoded(_bytes(tar, member), where, self._reading.options.encoding)
        except DataError as error:
            self._reading.skip(where, Reason.BAD_ROW, str(error))
            return None
        if encoding.remark:
            self._reading.note("encoding", f"members of tars {encoding.remark}", where)
        return content


def _ends_at(path: Path, offset: int) -> bool:
    """Whether the end mark, a block of zeros, is there: tarfile takes a cut header for the end."""
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def _key_and_ending(name: str) -> tuple[str, str]:
    """("a/b", "seg.png") for "a/b.seg.png"."""
    folder, _, base = name.rpartition("/")
    stem, _, ending = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem), ending.lower()


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)  # a reader on the member's bytes: nothing touches the disk
    if stream is None:
        raise tarfile.TarError(f"{member.name} has no data")
    return stream.read()


def _add_text(reading: Reading, sample: _Sample, kind: str, content: str, where: str) -> None:
    if kind in TEXTS:
        sample.captions.append(content)
        if "\n" in content.strip():
            reading.note("caption_of_lines", "texts of several lines in one member, read as one text each", where)
    elif kind == "cls":
        sample.group = content.strip() or None
    else:
        try:
            record = json.loads(content)
        except (ValueError, RecursionError) as error:
            reading.skip(where, Reason.BAD_ROW, f"not JSON: {error}")
            return
        if isinstance(record, Mapping):
            sample.record.update(record)
        else:
            sample.captions += strings(record)


def _pair(reading: Reading, rows: RowReader, sample: _Sample, path: Path, where: str) -> Pair:
    split = sample.record.get("split")
    return Pair(
        id=f"{path.name.split('.')[0]}/{sample.key}",  # keys may come again in another shard
        images=_images(reading, sample),
        texts=_texts(reading, rows, sample, where),
        split=normalise_split(split if isinstance(split, str) else None) or file_split(reading, path),
        group=sample.group,
        meta={name: value for name, value in sample.record.items() if isinstance(value, int | bool)},
    )


def _images(reading: Reading, sample: _Sample) -> tuple[ImageRef, ...]:
    """The images of a record: the one named like the key or, without one, all that are no masks; numbered ones too."""
    if reading.options.extra_images:
        return tuple(image for _, image in sample.images)
    plain = [image for between, image in sample.images if not between]
    numbered = [image for between, image in sample.images if between.isdigit()]
    named = [image for between, image in sample.images if between and not between.isdigit() and not names_mask(between)]
    chosen = tuple([*plain[:1], *numbered] or named or [image for _, image in sample.images])
    for between, image in sample.images:
        if image not in chosen:
            reading.notes.add("extra_image", EXTRA_IMAGES, image.name, part=between)
    return chosen


def _texts(reading: Reading, rows: RowReader, sample: _Sample, where: str) -> tuple[Text, ...]:
    """Captions of txt members that the JSON does not hold too, as img2dataset writes them, then those of the JSON."""
    said = rows.texts(sample.record, rows.columns(tuple(sample.record), where, needs_image=False), where, quiet=True)
    copies = {_collapsed(text.value) for text in said}
    copies.add(_collapsed(" ".join(text.value for text in said if text.field == "caption")))
    lang = sample.record.get("lang")
    own = [caption for caption in sample.captions if _collapsed(caption) not in copies or not caption.strip()]
    found = (*reading.texts(where, own, lang=lang if isinstance(lang, str) else None), *said)
    if not found:
        reading.skip(where, Reason.EMPTY_TEXT, "no text")
    return found


def _collapsed(text: str) -> str:
    return " ".join(text.split())
