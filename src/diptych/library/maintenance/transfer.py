"""A library as one portable folder or tar: what it is made of, in open formats, with a hash of every file.

manifest.json            what this is, the library's card, and size and hash of each file below; written last
items.jsonl              one row per line, without its vector
vectors-00000.safetensors   the vectors of the next 50,000 rows, in the same order
trash.jsonl, trash-00000.safetensors   the same for deleted rows, with the time and batch of their deletion

thumbs/aa/CONTENT.jpg    thumbnails
files/aa/CONTENT.jpg     uploaded images

Rows and trash are of one version of the store.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import safetensors.numpy

from diptych.core.batched import batched
from diptych.core.errors import ConfigError, LibraryError
from diptych.core.file_names import escape
from diptych.core.files import files_below, fsync_folder, fsync_tree
from diptych.core.fingerprint import of_file
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Bool, Float32
from diptych.core.version import __version__
from diptych.library import card
from diptych.library.bucket import address_of, folder_of, read_note, shown, write_note
from diptych.library.card import LANCE, Card
from diptych.library.opened import Opened
from diptych.library.rendering.thumbnails import FOLDER as THUMBNAILS
from diptych.library.rendering.thumbnails import thumbnails_of
from diptych.library.store import lock
from diptych.library.store.places import open_place
from diptych.library.store.protocol import Store
from diptych.library.store.row_codec import STORED, from_cells
from diptych.library.store.rows import OWNED, TRASH_COLUMNS, Row, content_of, is_owned
from diptych.library.uploads import FOLDER as UPLOADS
from diptych.library.uploads import uploads_of

FORMAT = 2
MANIFEST = "manifest.json"
SHARD = 50_000  # rows of a file of vectors
_KIND = "diptych library"
_IMPORTING = "importing.json"
_NAME = re.compile(
    r"(?:items|trash)\.jsonl|(?:vectors|trash)-\d{5}\.safetensors|(?:thumbs|files)/[0-9a-f]{2}/\w[\w.-]{0,80}"
)
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export or import holds."""

    target: str
    images: int
    trashed: int
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Noted:
    bytes: int
    hash: str  # BLAKE2b, 32 hex digits


class _FolderSink:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    def add(self, name: str, source: bytes | Path) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, bytes):
            path.write_bytes(source)
        else:
            shutil.copyfile(source, path)

    def close(self) -> None:
        fsync_tree(self._folder)


class _TarSink:
    def __init__(self, path: Path) -> None:
        self._stream = path.open("xb")
        self._tar = tarfile.TarFile(fileobj=self._stream, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, name: str, source: bytes | Path) -> None:
        about = tarfile.TarInfo(name)
        about.mode, about.mtime = 0o644, int(time.time())
        if isinstance(source, bytes):
            about.size = len(source)
            self._tar.addfile(about, io.BytesIO(source))
        else:
            with source.open("rb") as stream:
                about.size = os.fstat(stream.fileno()).st_size
                self._tar.addfile(about, stream)

    def close(self) -> None:
        self._tar.close()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()


_Sink = _FolderSink | _TarSink


def export(opened: Opened, target: Path, progress: Progress = SILENT) -> Exported:
    """Write everything to `target`, which appears when it is whole. Raises LibraryError when it is there already."""
    shown = escape(str(target))
    if target.exists():
        raise LibraryError(f"{shown} is there already; expected a new name: choose another, or remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        inside = aside / "export"
        sink: _Sink = _TarSink(inside) if target.suffix == ".tar" else _FolderSink(inside)
        with contextlib.closing(sink), _Exporting(sink, opened, aside) as exporting:
            images, trashed = exporting.rows(opened.place.at_one_version()[0], progress)
            about = {
                "kind": _KIND,
                "format": FORMAT,
                "diptych": __version__,
                "library": card.to_json(opened.card),
                "pictures": images,
                "trashed": trashed,
            }
            sink.add(MANIFEST, exporting.manifest(about))
        inside.rename(target)
        fsync_folder(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Exported(shown, images, trashed, exporting.files, exporting.bytes)


class _Exporting:
    """The files of an export, one after the other, each noted with its hash. Lines and notes grow on disk, `aside`."""

    def __init__(self, sink: _Sink, opened: Opened, aside: Path) -> None:
        self._sink, self._thumbnails, self._uploads = sink, opened.thumbnails, opened.uploads
        self._aside = aside
        self._notes = (aside / MANIFEST).open("w+b")
        self._named: set[bytes] = set()  # digests of the names of the files
        self.files = self.bytes = 0

    def __enter__(self) -> _Exporting:
        return self

    def __exit__(self, *_: object) -> None:
        self._notes.close()

    def manifest(self, about: Mapping[str, Any]) -> Path:
        """What an export says about itself, with the note of each file."""
        path = self._aside / "whole.json"
        self._notes.seek(0)
        with path.open("wb") as stream:
            stream.write(json.dumps(about, indent=1).removesuffix("\n}").encode() + b',\n "files": {')
            shutil.copyfileobj(self._notes, stream)
            stream.write(b"\n }\n}\n")
        return path

    def rows(self, store: Store, progress: Progress) -> tuple[int, int]:
        """All rows, and the files that go with them; how many rows are live, and how many in the trash.

        They are read in one pass, so that a row is in exactly one of the two, also on a server without versions.
        """
        columns = sorted(STORED - {"vector", "modified", "name", "folder", "suffix", "texts", "digest"})
        live_columns = [name for name in columns if name not in TRASH_COLUMNS]
        with (self._aside / "items.jsonl").open("wb") as items, (self._aside / "trash.jsonl").open("wb") as gone:
            live = _RowFiles(self.add, live_columns, items, "vectors")
            trash = _RowFiles(self.add, columns, gone, "trash")
            for block in progress.track(store.scan([*columns, "vector"], "all"), "exporting"):
                trashed = np.array([one is not None for one in block["deleted_at"]], dtype=bool)
                live.take(block, ~trashed)
                trash.take(block, trashed)
                for content, path in zip(block["content"], block["path"], strict=True):
                    self._files(content, path)
            live.close()
            trash.close()
        return live.count, trash.count

    def _files(self, content: str, path: str) -> None:
        jpeg = self._thumbnails.read(content)  # verify names what is missing; a purge may run meanwhile
        if jpeg is not None:
            self.add(f"thumbs/{content[:2]}/{content}.jpg", jpeg)
        if is_owned(path) and (data := self._uploads.read(path)) is not None:
            self.add(path.removeprefix("./"), data)

    def add(self, name: str, source: bytes | Path) -> None:
        """A file of the export, once."""
        digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
        if digest not in self._named:
            noted = _Noted(len(source) if isinstance(source, bytes) else source.stat().st_size, _content_of(source))
            self._sink.add(name, source)
            separator = b"," if self.files else b""
            self._notes.write(separator + f"\n  {json.dumps(name)}: {json.dumps(asdict(noted))}".encode())
            self._named.add(digest)
            self.files += 1
            self.bytes += noted.bytes


class _RowFiles:
    """The lines and vectors of live rows, or of those in the trash. The lines are collected in a file."""

    def __init__(
        self, add: Callable[[str, bytes | Path], None], columns: Sequence[str], lines: IO[bytes], vectors: str
    ) -> None:
        self._add, self._columns, self._lines, self._vectors_name = add, columns, lines, vectors
        self._waiting: list[np.ndarray[Any, Any]] = []
        self._shards = 0
        self.count = 0

    def take(self, block: Mapping[str, Any], chosen: Bool[np.ndarray, n]) -> None:
        """Add the chosen rows of a block that `Store.scan` gave."""
        for at in np.flatnonzero(chosen):
            line = json.dumps({name: block[name][at] for name in self._columns}, ensure_ascii=True)
            self._lines.write(f"{line}\n".encode())
        self.count += int(chosen.sum())
        self._waiting.append(block["vector"][chosen])
        while sum(map(len, self._waiting)) >= SHARD:
            joined = np.concatenate(self._waiting)
            self._shard(joined[:SHARD])
            self._waiting = [joined[SHARD:]]

    def close(self) -> None:
        if sum(map(len, self._waiting)):
            self._shard(np.concatenate(self._waiting))
        self._lines.flush()
        file = Path(self._lines.name)
        self._add(file.name, file)

    def _shard(self, vectors: Float32[np.ndarray, "n d"]) -> None:
        data = safetensors.numpy.save({"vectors": np.ascontiguousarray(vectors)})
        self._add(f"{self._vectors_name}-{self._shards:05d}.safetensors", data)
        self._shards += 1


def _content_of(source: bytes | Path) -> str:
    return of_file(source) if isinstance(source, Path) else content_of(source)


# -- back again ------------------------------------------------------------------------------------


def check_export(source: Path, progress: Progress = SILENT) -> Exported:
    """Whether an export is whole: every file there, each with its size and hash. Raises LibraryError when not."""
    with _as_folder(source) as folder:
        return _checked(folder, escape(str(source)), progress)[0]


def restore(
    source: Path | str, folder: Path | str, *, store: str = LANCE, model: str | None = None, progress: Progress = SILENT
) -> Exported:
    """Make a library of an export: in a new folder, its rows in the store that is named. The library keeps its ids.

    `model` is the name or folder to load the model by here. Killed, the same call begins again. Raises LibraryError
    when the export is damaged, or when the folder holds something else.
    """
    from diptych.library.opened import disk_errors

    source, folder = Path(source), folder_of(folder)
    name = shown(folder)
    with disk_errors(folder), _as_folder(source) as exported:
        report, manifest = _checked(exported, escape(str(source)), progress)
        about = replace(_card(manifest, escape(str(source))), store=store, generation=0)
        about = replace(about, model=model or about.model)
        if card.exists(folder):
            raise LibraryError(f"{name} is a library already; expected a new folder")
        is_folder = address_of(folder) is None
        if not is_folder and store != LANCE:
            raise ConfigError(f"the rows of {name} are on object storage already; leave the store {store!r} out")
        begun = read_note(folder, _IMPORTING) is not None
        if is_folder and not begun and folder.exists() and any(folder.iterdir()):
            raise LibraryError(f"{name} exists and is not empty; expected a new or empty folder")
        place = open_place(about, folder)
        if not is_folder and not begun:
            place.check_free()
        folder.mkdir(parents=True, exist_ok=True)
        if is_folder:  # before the lock, whose file would make the folder look like another's
            write_note(folder, _IMPORTING, {"library": about.id})
        with lock.writer(folder):
            if begun:
                place.drop()
            if is_folder:
                place.check_free()
            write_note(folder, _IMPORTING, {"library": about.id})
            _fill(exported, folder, place.store(), about, progress)
            card.write(about, folder)
            write_note(folder, _IMPORTING, None)
    return replace(report, target=name)


def _fill(exported: Path, folder: Path, store: Store, about: Card, progress: Progress) -> None:
    if address_of(folder) is None:
        for name in (THUMBNAILS, UPLOADS):
            if (exported / name).is_dir():
                shutil.rmtree(folder / name, ignore_errors=True)
                shutil.copytree(exported / name, folder / name)
                fsync_tree(folder / name)
    else:
        thumbnails, uploads = thumbnails_of(folder), uploads_of(folder)
        for file in progress.track(files_below(exported / THUMBNAILS), "importing thumbnails"):
            thumbnails.write(file.stem, file.read_bytes())
        thumbnails.flush()
        for file in progress.track(files_below(exported / UPLOADS), "importing uploads"):
            uploads.write(OWNED + str(file.relative_to(exported / UPLOADS)), file.read_bytes())
    _write_rows(store, _rows(exported, "items", "vectors", about.dim), "importing items", progress)
    if (exported / "trash.jsonl").exists():
        _write_rows(store, _rows(exported, "trash", "trash", about.dim), "importing trash", progress)


def _write_rows(store: Store, rows: Iterator[Row], doing: str, progress: Progress) -> None:
    for batch in batched(progress.track(rows, doing), _ROWS_AT_ONCE):
        store.write(batch)


def _rows(exported: Path, name: str, vectors_name: str, dim: int) -> Iterator[Row]:
    vectors: Any = np.empty((0, dim), dtype=np.float32)
    shard, at = 0, 0
    with (exported / f"{name}.jsonl").open("rb") as lines:
        for line in lines:
            if at == len(vectors):
                vectors = safetensors.numpy.load_file(exported / f"{vectors_name}-{shard:05d}.safetensors")["vectors"]
                shard, at = shard + 1, 0
                if vectors.ndim != 2 or vectors.shape[1] != dim or vectors.dtype != np.float32:
                    raise LibraryError(f"the export has vectors of shape {vectors.shape}, expected {dim} columns")
            yield from_cells(json.loads(line), vectors[at])
            at += 1


def _is_name(name: str) -> bool:
    """Whether an export has files of such names; none leads out of its folder."""
    return bool(_NAME.fullmatch(name)) and ".." not in name


@contextlib.contextmanager
def _as_folder(source: Path) -> Iterator[Path]:
    """The export as a folder; a tar is unpacked aside, its names checked first."""
    shown = escape(str(source))
    if source.is_dir():
        yield source
        return
    if not source.is_file():
        raise LibraryError(
            f"there is no export at {shown}; make one with: diptych library export {shown} --library LIBRARY"
        )
    with tempfile.TemporaryDirectory(prefix=".diptych-import.", dir=source.parent) as temporary:
        try:
            with tarfile.open(source, "r:") as tar:
                for member in tar:
                    content = tar.extractfile(member) if member.isfile() else None
                    if content is None or not (member.name == MANIFEST or _is_name(member.name)):
                        raise LibraryError(f"{shown} has an entry {member.name[:80]!r}, which no export has")
                    path = Path(temporary, member.name)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with path.open("wb") as stream:  # not `extract`: its filter is missing before Python 3.11.4
                        shutil.copyfileobj(content, stream)
        except (tarfile.TarError, EOFError) as error:
            raise LibraryError(f"{shown} is no whole tar ({error}); expected an export: copy it again") from error
        yield Path(temporary)


def _checked(folder: Path, shown: str, progress: Progress) -> tuple[Exported, dict[str, Any]]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        files = {str(name): _Noted(**noted) for name, noted in manifest["files"].items()}
        if manifest["kind"] != _KIND or manifest["format"] != FORMAT:
            raise LibraryError(
                f"{shown} has export format {manifest['format']}, this diptych reads {FORMAT}; export the library again"
            )
        images, trashed = int(manifest["pictures"]), int(manifest["trashed"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LibraryError(
            f"{shown} is no export: {MANIFEST} is missing or damaged ({error}); copy it again"
        ) from error
    damaged = []
    for name, noted in progress.track(files.items(), "checking", total=len(files)):
        path = folder / name
        if not _is_name(name):
            raise LibraryError(f"{shown} names a file {name[:80]!r}, which no export has")
        if not path.is_file() or path.stat().st_size != noted.bytes or of_file(path) != noted.hash:
            damaged.append(name)
    if damaged:
        raise LibraryError(
            f"{shown} is damaged: {len(damaged)} of {len(files)} files are missing or have another hash "
            f"(first: {damaged[0]}); copy it again, or use another backup"
        )
    return Exported(shown, images, trashed, len(files), sum(noted.bytes for noted in files.values())), manifest


def _card(manifest: Mapping[str, Any], shown: str) -> Card:
    try:
        return card.from_json(manifest["library"])
    except (KeyError, TypeError, ConfigError) as error:
        raise LibraryError(f"{shown} does not say which library it is ({error}); use another backup") from error
