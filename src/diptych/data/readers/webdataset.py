"""WebDataset: tars whose members belong together by name. Nothing is extracted, no pickle is opened."""

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

from diptych.core.errors import Reason
from diptych.core.types import BytesImage, ImageRef, Pair, TarImage, Text
from diptych.data.images import SUFFIXES

from .columns import CAPTION_NAMES, FIELD_NAMES
from .files import split_of, table_files
from .options import normalise_split
from .reading import Reading, is_unicode
from .rows import strings
from .textfile import head

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
PICKLES = frozenset({"pyd", "pkl", "pickle", "pth", "pt"})
MAX_TEXT = 1 << 20  # bytes of a txt, json or cls member
MAX_COMPRESSED_IMAGE = 20 << 20  # bytes; an image of a compressed tar has to be held in memory
_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
# What tarfile and the unpackers raise on damaged files, besides their own errors.
_TAR_ERRORS = (
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
    MemoryError,
)


@dataclass(slots=True)
class _Sample:
    """Members seen so far under one key."""

    key: str
    images: list[ImageRef] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)
    group: str | None = None


def read(job: Reading) -> Iterator[Pair]:
    """One Pair for each run of members with the same key (name up to the first dot after the last slash).

    jpg, png, webp, … are images; txt has captions, one a line; json may hold captions and more; cls is the
    class. Images of an uncompressed tar stay in it and are read in place.
    """
    for path in table_files(job.path, ENDINGS):
        for sample in _samples(job, path):
            pair = _pair(job, sample, path)
            if pair is not None:
                yield pair


def _samples(job: Reading, path: Path) -> Iterator[_Sample]:
    current: _Sample | None = None
    pickles = 0
    try:
        for tar, member in _members(job, path):
            key, ending = _key_and_ending(member.name)
            if not key.rsplit("/", 1)[-1]:  # hidden files such as .DS_Store
                continue
            if current is None or current.key != key:
                if current is not None:
                    yield current
                current = _Sample(key)
            if ending.rpartition(".")[2] in PICKLES:
                pickles += 1
                continue
            _add(job, path, tar, member, ending, current)
    except _TAR_ERRORS as error:
        job.skip(path.name, Reason.TRUNCATED, f"damaged or no tar; the rest is left out: {error}")
    if current is not None:
        yield current
    if pickles:
        job.skip(path.name, Reason.BAD_ROW, f"{pickles} pickles in it, which could run code: never opened")


def _members(job: Reading, path: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Regular members in file order. Raises one of _TAR_ERRORS where the tar is damaged."""
    with _open(path) as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # else every header stays in memory
            if not member.isreg() or member.issparse():
                continue
            if is_unicode(member.name):
                yield tar, member
            else:
                job.skip(f"{path.name}::{member.name}", Reason.BAD_ROW, "the name is not valid UTF-8")
        if not is_compressed(path) and not _ends_at(path, tar.offset):
            raise tarfile.ReadError("no end mark after the last member")


def _ends_at(path: Path, offset: int) -> bool:
    """Whether the end mark, a block of zeros, is there: tarfile takes a cut header for the end."""
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def _open(path: Path) -> tarfile.TarFile:
    return tarfile.open(path, "r|*") if is_compressed(path) else tarfile.open(path, "r:")


def is_compressed(path: Path) -> bool:
    """Whether the tar is packed with gzip, bzip2 or xz."""
    return head(path, 8).startswith(_MAGIC)


def _key_and_ending(name: str) -> tuple[str, str]:
    """("a/b", "seg.png") for "a/b.seg.png"."""
    folder, _, base = name.rpartition("/")
    stem, _, ending = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem), ending.lower()


def _add(job: Reading, path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, ending: str, sample: _Sample) -> None:
    where = f"{path.name}::{member.name}"
    kind = ending.rpartition(".")[2]
    if f".{kind}" in SUFFIXES:
        image = _image(job, path, tar, member, where)
        if image is not None:
            sample.images.append(image)
    elif kind in ("txt", "json", "cls"):
        content = _content(job, tar, member, where)
        if content is not None:
            _add_text(job, sample, kind, content, where)


def _image(job: Reading, path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> ImageRef | None:
    if is_compressed(path):
        if member.size > MAX_COMPRESSED_IMAGE:
            job.skip(where, Reason.TOO_LARGE, f"{member.size} bytes in a compressed tar; unpack to .tar first")
            return None
        return BytesImage(_bytes(tar, member), where)
    return TarImage(path, member.name, member.offset_data, member.size)


def _content(job: Reading, tar: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> str | None:
    if member.size > MAX_TEXT:
        job.skip(where, Reason.TOO_LARGE, f"{member.size} bytes; texts have at most {MAX_TEXT}")
        return None
    try:
        return _bytes(tar, member).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        job.skip(where, Reason.BAD_ROW, f"not UTF-8: {error.reason} at byte {error.start}")
        return None


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)  # a reader on the member's bytes: nothing touches the disk
    if stream is None:
        raise tarfile.TarError(f"{member.name} has no data")
    return stream.read()


def _add_text(job: Reading, sample: _Sample, kind: str, content: str, where: str) -> None:
    if kind == "txt":
        sample.captions += [line for line in content.splitlines() if line.strip()]
    elif kind == "cls":
        sample.group = content.strip() or None
    else:
        try:
            record = json.loads(content)
        except (ValueError, RecursionError) as error:
            job.skip(where, Reason.BAD_ROW, f"not JSON: {error}")
            return
        if isinstance(record, Mapping):
            sample.record.update(record)
        else:
            sample.captions += strings(record)


def _pair(job: Reading, sample: _Sample, path: Path) -> Pair | None:
    where = f"{path.name}::{sample.key}"
    if not sample.images:
        job.skip(where, Reason.NO_IMAGE, "no image member under this key")
        return None
    split = sample.record.get("split")
    return Pair(
        id=f"{path.name.split('.')[0]}/{sample.key}",  # keys may come again in another shard
        images=tuple(sample.images),
        texts=_texts(job, sample, where),
        split=normalise_split(split if isinstance(split, str) else None) or split_of(path),
        group=sample.group,
        meta={name: value for name, value in sample.record.items() if isinstance(value, int | bool)},
    )


def _texts(job: Reading, sample: _Sample, where: str) -> tuple[Text, ...]:
    """Captions of txt members, then those of the JSON; img2dataset writes the same one to both."""
    lang = sample.record.get("lang")
    lang = lang if isinstance(lang, str) else None
    found = job.texts(where, sample.captions, lang=lang)
    wanted = job.options.text_columns or (*CAPTION_NAMES, *FIELD_NAMES)
    for name in wanted:
        label = "caption" if name in CAPTION_NAMES else name
        seen = {text.value for text in found}
        found += [
            text
            for text in job.texts(where, strings(sample.record.get(name)), lang=lang, field=label)
            if text.value not in seen
        ]
    if not found:
        job.skip(where, Reason.EMPTY_TEXT, "no text")
    return tuple(found)
