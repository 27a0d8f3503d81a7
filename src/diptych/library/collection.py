"""The library: a folder with a store, thumbnails, and the name of the model that made its vectors."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.core.errors import LibraryError
from diptych.core.file_names import escape
from diptych.core.protocols import SILENT, Progress
from diptych.library.indexing.report import IndexReport
from diptych.library.maintenance.maintainer import Care
from diptych.library.store.places import open_place
from diptych.library.store.rows import location
from diptych.library.store.trash import Batch, Deletion

from . import card
from .card import LANCE, Card
from .encoder import Encoder
from .matching import Matching
from .opened import bytes_below, disk_errors, lasting_name, loaded

if TYPE_CHECKING:
    from diptych.library.indexing.run import Acknowledge, IndexOptions
    from diptych.library.indexing.sources import Survey

_KEEP_SECONDS = 3600.0  # old versions that a reader may still be using
_COMPACT_FROM = 20  # versions; fewer are not worth the work after a run


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
    store: str = LANCE  # where the rows are: "lance" in the folder, or the address of a server


class Library(Matching, Care):
    """A searchable collection of pictures on disk, made by one model.

    Make one with `create`, open one with `open`; it loads its model when that is first needed. Searching needs
    the model's text tower only for words and its image tower only for pictures; `like`, and `search` with a
    vector, need no model.
    """

    @classmethod
    def create(
        cls, folder: Path | str, model: Encoder | str | Path, loaded_by: str | None = None, *, store: str = LANCE
    ) -> Library:
        """A new, empty library of a model, or of the one that a name or folder stands for.

        `loaded_by` is the name or folder to load the model by next time; left out, it is the one given.

        `store` says where its rows are: "lance" in the folder, or on a server, "milvus://HOST:PORT/COLLECTION".

        Raises LibraryError when the folder is a library already, or holds something else.
        """
        folder = Path(folder)
        if loaded_by is None:
            loaded_by = lasting_name(model)
        model = loaded(model)
        shown = escape(str(folder))
        if card.exists(folder):
            raise LibraryError(f"{shown} is a library already; open it, or choose another folder")
        with disk_errors(folder):
            if folder.exists() and (not folder.is_dir() or not _is_fresh(folder)):
                raise LibraryError(f"{shown} exists and is not a library; choose an empty or new folder")
            about = Card.for_model(model, loaded_by, store)
            place = open_place(about, folder)  # needs its package, before a folder is made
            folder.mkdir(parents=True, exist_ok=True)
            place.check_free()
            card.write(about, folder)
        return cls(folder, about, model)

    @classmethod
    def open(cls, folder: Path | str, model: Encoder | str | Path | None = None) -> Library:
        """An existing library. Without a model (or its name or folder) it loads its own when that is needed.

        Raises LibraryError when there is no library, or it belongs to another model.
        """
        folder = Path(folder)
        return cls(folder, card.read(folder), None if model is None else loaded(model))

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
        the folders named now go into the trash, unless all of their folder is away. What was said about a
        picture here stays when its file is edited, moved, or comes back. A finished `survey` may stand in for
        the paths. `acknowledge` is called with the paths of each batch once it is durable.

        Raises DataError for a path that is missing or has no pictures and never had, before anything is changed;
        LibraryError when another process is writing; Interrupted, which says what is kept, for a Ctrl-C.
        """
        from diptych.library.indexing.run import IndexOptions, IndexRun
        from diptych.library.indexing.sources import Survey, survey
        from diptych.library.indexing.texts import holds_texts

        model = self._needed_model()
        with self._writing() as store:
            if holds_texts(store):
                raise LibraryError("the library holds texts; make another for pictures, or index with texts")
            found = paths if isinstance(paths, Survey) else survey(paths, format, is_known=self.knows)
            run = IndexRun(store, self.thumbs, model, found, options or IndexOptions(), progress, acknowledge)
            report = run.run()
            if store.version >= _COMPACT_FROM and self._place.versions_kept() >= _COMPACT_FROM:
                store.compact(_KEEP_SECONDS)
            self._refresh()
        return report

    def knows(self, root: str) -> bool:
        """Whether there are rows of a source, or at or below a path; by its written form."""
        return any(
            source == root or _is_below(path, root)
            for block in self._store().scan(["path", "source"])
            for path, source in zip(block["path"], block["source"], strict=True)
        )

    def remove(self, paths: Iterable[Path | str]) -> Deletion:
        """Put the pictures at or below these paths into the trash, whether or not the files exist.

        `undo` brings them back, and so does indexing the same files again.
        """
        prefixes = [escape(os.path.abspath(os.fsdecode(path))) for path in paths]  # noqa: PTH100
        with self._writing() as store:
            gone = [
                identifier
                for block in store.scan(["id", "path"])
                for identifier, path in zip(block["id"], block["path"], strict=True)
                if any(_is_below(location(path, self.folder), prefix) for prefix in prefixes)
            ]
            return self._trash_rows(store, store.get(gone), Batch.of_gone())

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
            version=self._place.token() or "",
            bytes_on_disk=bytes_below(self.folder),
            columns=dict(store.columns()),
            store=self.card.store,
        )


def _is_below(path: str, prefix: str) -> bool:
    """Whether a written path is this one, or in this folder or container."""
    return path == prefix or path.startswith((prefix.rstrip("/") + "/", prefix + "::"))


def _is_fresh(folder: Path) -> bool:
    """Whether a folder is empty, or holds no more than a `create` that was killed leaves behind."""
    return all(entry.name.startswith(f".{card.FILE}.") for entry in folder.iterdir())
