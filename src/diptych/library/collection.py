"""The library: a folder with a store, thumbnails, and the name of the model that made its vectors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError, DataError, LibraryError, LimitError
from diptych.core.protocols import SILENT, Progress
from diptych.core.types import Hit

from . import accelerator, card, exact, lock, snapshot
from . import query as queries
from .card import Card
from .encoder import Encoder
from .matching import Matching
from .names import escape
from .report import IndexReport
from .snapshot import DamagedError, Snapshot
from .thumbs import Thumbs

if TYPE_CHECKING:
    from .checking import Verdict
    from .indexing import Acknowledge, IndexOptions
    from .sources import Survey

_STORE, _SNAPSHOT, _THUMBS = "store", "snapshot", "thumbs"
_SNAPSHOT_LOCK = "snapshot.lock"
_KEEP_SECONDS = 3600.0  # old versions that a reader may still be using
_COMPACT_FROM = 20  # versions; fewer are not worth the work after a run
_MAX_WHERE = 1000  # characters


@dataclass(frozen=True, slots=True)
class Info:
    """What a library holds."""

    folder: str
    pictures: int
    model: str
    fingerprint: str
    dim: int
    created: str
    version: str
    bytes_on_disk: int
    columns: dict[str, str]


class Library(Matching):
    """A searchable collection of pictures on disk, made by one model.

    Make one with `create`, open one with `open`. Searching needs the model's text tower only for
    words and its image tower only for pictures; an open library without a model can still do
    `like` and `search` with a vector.
    """

    def __init__(self, folder: Path, about: Card, model: Encoder | None = None) -> None:
        if model is not None:
            about.check(model, folder)
        self.folder = folder
        self.card = about
        self.thumbs = Thumbs(folder / _THUMBS)
        self._model = model
        self._snapshot: Snapshot | None = None

    @classmethod
    def create(cls, folder: Path | str, model: Encoder, loaded_by: str | None = None) -> Library:
        """A new, empty library. `loaded_by` is the name or folder to load the model by next time.

        Raises LibraryError when the folder is a library already, or holds something else.
        """
        folder = Path(folder)
        shown = escape(str(folder))
        if card.exists(folder):
            raise LibraryError(f"{shown} is a library already; open it, or choose another folder")
        with _disk_errors(folder):
            if folder.exists() and (not folder.is_dir() or not _is_fresh(folder)):
                raise LibraryError(f"{shown} exists and is not a library; choose an empty or new folder")
            folder.mkdir(parents=True, exist_ok=True)
            about = Card.for_model(model, loaded_by)
            card.write(about, folder)
        return cls(folder, about, model)

    @classmethod
    def open(cls, folder: Path | str, model: Encoder | None = None) -> Library:
        """An existing library. Raises LibraryError when there is none, or it belongs to another model."""
        folder = Path(folder)
        return cls(folder, card.read(folder), model)

    def __len__(self) -> int:
        return len(self.snapshot())

    # -- writing -----------------------------------------------------------------------------------

    def index(
        self,
        paths: Iterable[Path | str] | Survey,
        *,
        format: str | None = None,
        options: IndexOptions | None = None,
        progress: Progress = SILENT,
        acknowledge: Acknowledge | None = None,
    ) -> IndexReport:
        """Bring the library up to date with files, folders, or sources of pairs (`format`: a reader's name).

        New and edited pictures are embedded; moved files and copies keep their vectors; files gone from
        the folders named now are removed. A finished `survey` may stand in for the paths. `acknowledge`
        is called with the paths of each batch once it is durable.

        Raises DataError for a path that is missing or has no pictures, before anything is changed, and
        LibraryError when another process is writing.
        """
        from .indexing import IndexOptions, IndexRun
        from .sources import Survey, survey

        model = self._needed_model()
        with _disk_errors(self.folder), lock.writer(self.folder):
            found = paths if isinstance(paths, Survey) else survey(paths, format)
            store = self._store()
            run = IndexRun(store, self.thumbs, model, found, options or IndexOptions(), progress, acknowledge)
            report = run.run()
            if store.version >= _COMPACT_FROM and _manifests(self.folder / _STORE) >= _COMPACT_FROM:
                store.compact(_KEEP_SECONDS)
            self._refresh(store)
        return report

    def remove(self, paths: Iterable[Path | str]) -> int:
        """Forget the pictures at or below these paths, whether or not the files exist. Returns how many."""
        prefixes = [escape(os.path.abspath(os.fsdecode(path))) for path in paths]  # noqa: PTH100
        with _disk_errors(self.folder), lock.writer(self.folder):
            store = self._store()
            gone = [
                identifier
                for block in store.scan(["id", "path"])
                for identifier, path in zip(block["id"], block["path"], strict=True)
                if any(_is_below(path, prefix) for prefix in prefixes)
            ]
            store.write([], gone)
            self._refresh(store)
        return len(gone)

    def compact(self) -> None:
        """Drop old versions, merge small files, put thumbnails in order, rewrite the snapshot."""
        from .checking import remake_thumbs

        with _disk_errors(self.folder), lock.writer(self.folder):
            store = self._store()
            store.compact(keep_seconds=0.0)
            contents = {content for block in store.scan(["content"]) for content in block["content"]}
            for path in self.thumbs.orphans(contents):
                path.unlink(missing_ok=True)
            remake_thumbs(store, self.thumbs)
            self._snapshot = self._built(store)

    # -- reading -----------------------------------------------------------------------------------

    def search(
        self,
        query: str | Path | Float32[np.ndarray, d],
        k: int = 10,
        where: str | None = None,
        *,
        cut: bool = False,
        rerank: int = 0,
        budget_ms: float | None = None,
    ) -> list[Hit]:
        """The k nearest pictures to words, a sum (see `query`), a picture's path, or a vector; best first.

        Equal scores are ordered by id. `where` is a SQL expression over `info().columns`. `cut` shortens
        text over 1,000 characters instead of refusing it. Raises LimitError, DataError or ConfigError
        for a query, k or filter that cannot be used.

        With `rerank` the nearest so many are put in order by the attached matcher; `budget_ms` bounds its
        time instead, or as well (see `Reranker.order`). Raises LibraryError without a matcher or its tokens.
        """
        queries.check_k(k)
        if rerank or budget_ms is not None:
            return self._reranked(query, k, where, rerank, budget_ms, cut=cut)
        return self._nearest(self.vector(query, cut=cut), k, where)

    def like(self, identifier: str, k: int = 10, where: str | None = None) -> list[Hit]:
        """The k pictures nearest to one of the library's own, itself left out."""
        queries.check_k(k)
        view = self.snapshot()
        rows = view.find([identifier])
        if not len(rows):
            raise DataError(
                f"no picture has the id {identifier[:40]!r}; expected one of the ids that search --json prints"
            )
        hits = self._nearest(np.asarray(view.vectors[rows[0]]), k + 1, where)
        others = [hit for hit in hits if hit.id != identifier][:k]
        return [Hit(rank, hit.id, hit.score, hit.path, hit.meta) for rank, hit in enumerate(others)]

    def vector(self, query: str | Path | Float32[np.ndarray, d], *, cut: bool = False) -> Float32[np.ndarray, d]:
        """The unit vector of a query."""
        if isinstance(query, np.ndarray):
            return self._checked(query)
        model = self._needed_model()
        if isinstance(query, Path):
            try:
                return self._checked(model.encode_images([query])[0])
            except DataError as error:  # its message may hold a name that is not valid Unicode
                raise DataError(escape(str(error)), error.reason) from error
        terms = queries.parse(queries.check_text(query, cut=cut))
        return self._checked(queries.vector(terms, model))

    def snapshot(self) -> Snapshot:
        """The newest version, laid out for searching; rebuilt when it is missing, stale or damaged."""
        version = self._version()
        if self._snapshot is None or self._snapshot.version != version:
            self._snapshot = self._loaded(version) or self._rebuilt()
        return self._snapshot

    def thumbnail(self, identifier: str) -> bytes | None:
        """The JPEG thumbnail of a picture by its id, or None when there is none."""
        view = self.snapshot()
        rows = view.find([identifier])
        return self.thumbs.read(view.row(int(rows[0]))["content"]) if len(rows) else None

    def info(self) -> Info:
        """What the library holds."""
        store = self._store()
        return Info(
            folder=escape(str(self.folder)),
            pictures=store.count(),
            model=self.card.model,
            fingerprint=self.card.fingerprint,
            dim=self.card.dim,
            created=self.card.created,
            version=self._version() or "",
            bytes_on_disk=_bytes_below(self.folder),
            columns=dict(store.columns()),
        )

    def verify(self) -> Verdict:
        """Check rows, vectors, files, thumbnails and the snapshot against each other."""
        from .checking import check

        version = self._version()
        return check(self._store(), self.thumbs, self._loaded(version), version, self.card.dim)

    # -- inside ------------------------------------------------------------------------------------

    def _nearest(self, vector: Float32[np.ndarray, d], k: int, where: str | None) -> list[Hit]:
        try:
            return self._hits(self.snapshot(), vector, k, where)
        except DamagedError:
            self._snapshot = self._rebuilt()
            return self._hits(self._snapshot, vector, k, where)

    def _hits(self, view: Snapshot, vector: Float32[np.ndarray, d], k: int, where: str | None) -> list[Hit]:
        rows = None if where is None else view.find(self._matching(where))
        found = accelerator.nearest(view, vector, k, rows)
        if found is None:
            found = exact.nearest(view.vectors, vector, k, rows)
        hits = []
        for rank, (row, score) in enumerate(zip(*found, strict=True)):
            about = view.row(int(row))
            hits.append(Hit(rank, view.id(int(row)), float(np.float32(score)), about["path"], about["meta"]))
        return hits

    def _matching(self, where: str) -> list[str]:
        if len(where) > _MAX_WHERE:
            raise LimitError(f"--where has {len(where):,} characters, the limit is {_MAX_WHERE:,}; shorten it")
        return list(self._store().matching(where))

    def _checked(self, vector: np.ndarray[Any, Any]) -> Float32[np.ndarray, d]:
        if vector.shape != (self.card.dim,) or not np.isfinite(vector).all():
            raise ConfigError(
                f"the query vector has shape {vector.shape}, {int((~np.isfinite(vector)).sum())} values not finite; "
                f"expected {self.card.dim} finite values"
            )
        return normalise(vector)

    def _needed_model(self) -> Encoder:
        if self._model is None:
            raise LibraryError(
                f"the library {escape(str(self.folder))} was opened without its model; "
                f"open it with model {self.card.model!r}"
            )
        return self._model

    def _store(self) -> Any:
        from .lance import LanceStore

        return LanceStore(self.folder / _STORE, self.card.dim)

    def _version(self) -> str | None:
        from .lance import version_on_disk

        return version_on_disk(self.folder / _STORE)

    def _loaded(self, version: str | None) -> Snapshot | None:
        return snapshot.load(self.folder / _SNAPSHOT, self.card.id, self.card.dim, version)

    def _rebuilt(self) -> Snapshot:
        store = self._store()
        try:
            return self._built(store)
        except OSError:  # a disk that cannot be written can still be searched
            return snapshot.in_memory(store, self.card.dim, self._version() or "")

    def _built(self, store: Any) -> Snapshot:
        """A new snapshot on disk. One process at a time builds, so that none removes another's."""
        with lock.exclusive(self.folder / _SNAPSHOT_LOCK):
            made = snapshot.build(self.folder / _SNAPSHOT, store, self.card.id, self.card.dim, self._version)
            accelerator.prepare(made)
        return made

    def _refresh(self, store: Any) -> None:
        """After writing: a fresh snapshot, so that the next search starts at once."""
        self._snapshot = self._loaded(self._version()) or self._built(store)


def _is_below(path: str, prefix: str) -> bool:
    """Whether a written path is this one, or in this folder or container."""
    return path == prefix or path.startswith((prefix.rstrip("/") + "/", prefix + "::"))


def _is_fresh(folder: Path) -> bool:
    """Whether a folder is empty, or holds no more than a `create` that was killed leaves behind."""
    return all(entry.name.startswith(f".{card.FILE}.") for entry in folder.iterdir())


def _manifests(store: Path) -> int:
    return sum(1 for _ in store.glob("*.lance/_versions/*.manifest"))


def _bytes_below(folder: Path) -> int:
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(base, name).stat().st_size
    return total


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """A full or read-only disk, in one line."""
    try:
        yield
    except OSError as error:
        raise LibraryError(
            f"cannot write the library {escape(str(folder))}: {error.strerror or error}; "
            f"what was acknowledged is kept: make room or fix the permissions, then run this again"
        ) from error
