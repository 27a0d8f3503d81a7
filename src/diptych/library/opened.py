"""An open library: its card, its place, and the view that reads go to. What it can do is in the classes above it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError, LibraryError, ModelError
from diptych.core.file_names import escape
from diptych.core.memory import give_back
from diptych.core.shapes import Float32
from diptych.library.rendering.thumbnails import Thumbs
from diptych.library.store.places import JournalledStore, open_place, snapshot_folder
from diptych.library.store.where import Where
from diptych.library.view.local import View
from diptych.library.view.snapshot import Snapshot

from . import card
from .card import Card
from .encoder import Encoder
from .store import lock
from .view import accelerator, journal, snapshot

_THUMBS, _SNAPSHOT_LOCK = "thumbs", "snapshot.lock"
_PATIENCE = 1.0  # seconds for which a reader waits for the journal of a write under way, before it looks for itself
_MOST_PATIENCE = 60.0  # while somebody still writes: tidying a large table up takes many seconds
_REWRITE_ROWS = 1000  # changed since the last snapshot, and at least
_REWRITE_SHARE = 0.01  # of it: then a new one is worth the work
_REWRITE_BYTES = 16_000_000  # of the journal since then: a second for whoever opens the library
_ATTEMPTS = 3


class OpenLibrary:
    """What all parts of a library share."""

    def __init__(self, folder: Path, about: Card, model: Encoder | None = None) -> None:
        if model is not None:
            about.check(model, folder)
        self.folder = folder
        self.card = about
        self.thumbs = Thumbs(folder / _THUMBS)
        self._model = model
        self._place = open_place(about, folder)
        self._snapshots = snapshot_folder(about, folder)
        self._current: View | None = None
        self._behind_since: float | None = None
        self._making = threading.Lock()
        self._matched: tuple[str | None, Where | None, list[str]] = (None, None, [])  # by the last filter
        self._writes = 0  # since the store was compacted by this process

    @property
    def is_current(self) -> bool:
        """False once the library was embedded anew: open it again, with its new model."""
        try:
            return card.read(self.folder).generation == self.card.generation
        except LibraryError:
            return False

    @property
    def model(self) -> Encoder | None:
        """The model the library was opened with, or has loaded since; None before it was needed."""
        return self._model

    @property
    def is_remote(self) -> bool:
        """Whether a server has the rows, and does the searching."""
        return self._place.is_remote

    @property
    def version(self) -> str | None:
        """Changes with every write; cheap to ask for; None before the first."""
        return self._place.token()

    def columns(self) -> dict[str, str]:
        """Name -> kind (text, integer, number, boolean, timestamp) of what `where` may ask about."""
        return dict(self._store().columns())

    def matching(self, where: str | Where) -> list[str]:
        """Ids of the pictures for which `where` holds, in order. Raises FilterError or LimitError."""
        wanted, version = self._filter(where), self._place.token()
        if self._place.is_remote:  # others write there without our knowing
            return list(self._store().matching(wanted))
        known = self._matched
        if known[:2] != (version, wanted):  # else it is the next page
            self._matched = known = (version, wanted, self._store().matching(wanted))
        return list(known[2])

    def nothing_passes(self, where: str | Where, secret: Collection[str] = ()) -> str:
        """What to say when a filter leaves nothing: what is there instead, but for the columns in `secret`."""
        from diptych.library.view.hints import nothing_passes  # rarely needed

        store = self._store()
        return nothing_passes(self._filter(where), store, store.count(), secret)

    def _needed_model(self) -> Encoder:
        """The library's model; the one that its card names where it was opened without.

        Raises LibraryError when that is not there, or is another by now.
        """
        if self._model is None:
            try:
                model = loaded(self.card.model)
            except ModelError as error:
                raise LibraryError(
                    f"the library {escape(str(self.folder))} needs its model {self.card.model!r}, which cannot be "
                    f"loaded ({error}); open the library with the model, or its folder, as `model`"
                ) from error
            self.card.check(model, self.folder)
            self._model = model
        return self._model

    def _version(self) -> str | None:
        return self._place.token()

    def _store(self) -> Any:
        return JournalledStore(self._place.pictures(), self._place.token, self._snapshots)

    def _filter(self, where: str | Where) -> Where:
        if not isinstance(where, str):
            return where
        from diptych.library.store.where_sql import parse  # only here, for the sake of everybody who gives no filter

        return parse(where, self._store().columns())

    def _checked(self, vector: np.ndarray[Any, Any]) -> Float32[np.ndarray, d]:
        if vector.shape != (self.card.dim,) or not np.isfinite(vector).all():
            raise ConfigError(
                f"the query vector has shape {vector.shape}, {int((~np.isfinite(vector)).sum())} values not finite; "
                f"expected {self.card.dim} finite values"
            )
        return normalise(vector)

    @contextlib.contextmanager
    def _writing(self, wait: float = 0.0) -> Iterator[Any]:
        """The store, for the one writer. Raises LibraryError when there is another, or the library moved on."""
        with disk_errors(self.folder), lock.writer(self.folder, wait):
            if not self.is_current:
                raise LibraryError(
                    f"the library {escape(str(self.folder))} was embedded anew by another model since it was opened; "
                    f"open it again with the model that its {card.FILE} names"
                )
            yield self._store()

    # -- views -------------------------------------------------------------------------------------

    def _view(self) -> View:
        """The newest version that was acknowledged, as far as it can be told cheaply."""
        token, view = self._place.token(), self._current
        if view is not None and view.version == token:
            self._behind_since = None
            return view
        with self._making:
            return self._newer_view(token)

    def _newer_view(self, token: str | None) -> View:
        view = self._current
        found = None if view is None else view.advanced(token)
        if found is None and (view is None or snapshot.in_use(self._snapshots) != view.base.folder.name):
            found = self._loaded(token)
        if found is None and self._is_patient():
            return self._current if self._current is not None else self._waited_for()
        if found is None:
            found = self._rebuilt()
        self._current, self._behind_since = found, None
        return found

    def _is_patient(self) -> bool:
        """Whether a missing journal entry may still come: the writer has made its version, and is flushing it."""
        if self._current is None:
            return self._place.token() is not None and (self._snapshots / snapshot.POINTER).exists()
        now = time.monotonic()
        if self._behind_since is None:
            self._behind_since = now
        if not self._current.base.folder.exists():
            return False
        behind = now - self._behind_since
        return behind < _PATIENCE or (behind < _MOST_PATIENCE and lock.is_held(self.folder))

    def _waited_for(self) -> View:
        """The first view of this process: a short wait for a writer, else a new snapshot."""
        for _ in range(4):
            found = self._loaded(self._place.token())
            if found is not None:
                break
            time.sleep(0.05)
        self._current = found or self._rebuilt()
        return self._current

    def _loaded(self, token: str | None) -> View | None:
        """The view of this version or a later one from what lies on disk, if it leads there."""
        base = snapshot.load(self._snapshots, self.card.id, self.card.dim)
        return None if base is None else View(base, base.version).advanced(token)

    def _rebuilt(self, *, anew: bool = False) -> View:
        """From the store. `anew`: whatever lies on disk is damaged."""
        for attempt in range(_ATTEMPTS):
            try:
                store, token = self._place.standing()
                try:
                    return self._laid_out(store, token, if_needed=not anew)
                except OSError:  # a disk that cannot be written can still be searched
                    return View(snapshot.in_memory(store, self.card.dim, token), token)
            except LibraryError:  # its files may have been compacted away under it
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError  # for the type checker: the loop returns or raises

    def _laid_out(self, store: Any, token: str, *, if_needed: bool = False) -> View:
        """A new snapshot on disk. One process at a time builds, so that none removes another's.

        With `if_needed` not when, by the time it is this process's turn, another has built it.
        """
        with lock.exclusive(self.folder / _SNAPSHOT_LOCK):
            if if_needed and (there := self._loaded(token)) is not None:
                return there
            made = lay_out(self._snapshots, store, self.card, token)
        return self._loaded(token) or View(made, token)

    def rebuild_snapshot(self) -> None:
        """Make a new snapshot while much was written since the current one; writes and searches go on meanwhile.

        Raises OSError when it cannot be written.
        """
        for _ in range(_ATTEMPTS):
            view = self._loaded(self._place.token())
            if view is not None and not self._is_worth_rewriting(view):
                return
            with contextlib.suppress(LibraryError):  # its files may have been compacted away under it
                store, token = self._place.standing()
                self._laid_out(store, token)

    def _refresh(self, *, whole: bool = True) -> None:
        """After writing: a view, so that the next search starts at once. What fails here costs time, not data.

        `whole` lays out a new snapshot if anything was written; else that is begun beside the writes when it is due.
        """
        with contextlib.suppress(OSError, LibraryError):
            token = self._place.token()
            view = (None if self._current is None else self._current.advanced(token)) or self._loaded(token)
            if (view is None and snapshot.in_use(self._snapshots) is None) or (
                whole and (view is None or view.changed or view.followed > _REWRITE_BYTES)
            ):
                store, token = self._place.standing()
                view = self._laid_out(store, token)
            elif not whole and (view is None or self._is_worth_rewriting(view)) and not self.is_rebuilding_snapshot:
                from .view import snapshot_rebuild  # a search needs no processes

                snapshot_rebuild.start(self.folder)
            self._current = view or self._current

    @property
    def is_rebuilding_snapshot(self) -> bool:
        """Whether some process is making a new snapshot."""
        return lock.is_held(self.folder, _SNAPSHOT_LOCK)

    def _is_worth_rewriting(self, view: View) -> bool:
        least = max(_REWRITE_ROWS, _REWRITE_SHARE * len(view.base))
        return view.changed > least or view.followed > _REWRITE_BYTES

    def _snapshot_on_disk(self) -> Snapshot | None:
        """What a reader would search now, if it lies on disk."""
        view = self._loaded(self._place.token())
        return None if view is None else view.merged


def loaded(model: Encoder | str | Path) -> Encoder:
    """A model as it is, or the one that a shipped name or a folder stands for."""
    if not isinstance(model, str | Path):
        return model
    from diptych.models import load  # a library that is only read needs none

    return load(model)


def lasting_name(model: Encoder | str | Path) -> str:
    """What to load a model by later; just its name where it is no model of ours."""
    from diptych.models import DualEncoder
    from diptych.models import lasting_name as of_ours

    return of_ours(model) if isinstance(model, DualEncoder | str | Path) else model.name


def lay_out(folder: Path, store: Any, about: Card, token: str) -> Snapshot:
    """A new snapshot, its index and what was written meanwhile, made the current one in one step."""

    def finish(made: Snapshot, make_current: Callable[[], None]) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # without the accelerator searching is exact
            accelerator.prepare(made)
        journal.hand_over(folder, made, make_current)

    made = snapshot.build(folder, store, about.id, about.dim, token, finish)
    give_back()
    return made


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """A full or read-only disk, in one line."""
    try:
        yield
    except OSError as error:
        raise LibraryError(
            f"cannot write the library {escape(str(folder))}: {error.strerror or error}; "
            f"what was acknowledged is kept and can be searched: make room or fix the permissions, then run this again"
        ) from error


def bytes_below(folder: Path) -> int:
    """How much the files below a folder take."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(base, name).stat().st_size
    return total
