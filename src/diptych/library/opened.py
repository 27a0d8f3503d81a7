"""An open library: its card, its files, its rows, its model, and the view that reads go to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import quote

from diptych.core.checks import kind_of, of_type
from diptych.core.errors import ConfigError, LibraryError, ModelError
from diptych.library.bucket import shown
from diptych.library.rendering.thumbnails import thumbnails_of
from diptych.library.store import Where, lock, parse_where
from diptych.library.store.places import open_place
from diptych.library.store.protocol import Store
from diptych.library.view import Snapshots, open_view

from . import card
from .card import Card
from .encoder import Encoder
from .uploads import uploads_of


class Opened:
    """What reading, writing, indexing and maintenance of one library share."""

    def __init__(self, folder: Path, about: Card, model: Encoder | None = None, device: str = "auto") -> None:
        if model is not None:
            about.check(model, folder, lasting_name(model))
        self.folder = folder
        self.card = about
        self.thumbnails, self.uploads = thumbnails_of(folder), uploads_of(folder)
        self.place = open_place(about, folder)
        self.snapshots = Snapshots(folder, about, self.place)
        self.view = open_view(self.snapshots, self.place)
        self.model = model
        self._device = device  # of a model that is loaded later

    @property
    def is_current(self) -> bool:
        """False once the library was embedded again by another model: open it again, with that model."""
        try:
            return card.read(self.folder).generation == self.card.generation
        except LibraryError:
            return False

    def required_model(self) -> Encoder:
        """The library's model; the one that its card names where it was opened without.

        Raises LibraryError when that is not there, OtherModelError when another is called so by now.
        """
        if self.model is None:
            self.model = model_of(self.card, self.folder, lambda name: loaded(name, self._device))
        return self.model

    def store(self) -> Store:
        """The rows; writes through it also go into the readers' journal."""
        return self.snapshots.store()

    def parsed(self, where: str | Where) -> Where:
        """A filter as a tree. Raises FilterError or LimitError."""
        of_type(where, str | Where, 'a filter as a str, such as "width > 400"')
        return parse_where(where, self.store().columns()) if isinstance(where, str) else where

    @contextlib.contextmanager
    def writing(self, wait: float = 0.0) -> Iterator[Store]:
        """The store, for the one writer. Raises LibraryError when there is another, or the library has a new model."""
        with disk_errors(self.folder), lock.writer(self.folder, wait):
            if not self.is_current:
                raise LibraryError(
                    f"the library {shown(self.folder)} was embedded again by another model since it was opened; "
                    f"open it again with the model that its {card.FILE} names"
                )
            yield self.store()


def model_of(about: Card, folder: Path, load: Callable[[str], Encoder] | None = None) -> Encoder:
    """The model that a library's card names.

    Raises LibraryError when it is not there, OtherModelError when another is called so by now.
    """
    try:
        model = (load or loaded)(about.model)
    except ModelError as error:
        name = shown(folder)
        raise LibraryError(
            f"the library {name} needs its model {about.model!r}, which cannot be loaded ({error}); open the library "
            "with the model where it is now (--model), or embed it again by another: diptych library reembed "
            f"--library {quote(name)} --model {quote(about.unpinned_model)}"
        ) from error
    about.check(model, folder, about.model)
    return model


def loaded(model: Encoder | str | Path, device: str = "auto") -> Encoder:
    """The model itself, or the one that a shipped name, a folder or an address names."""
    if not isinstance(model, str | Path):
        if not hasattr(model, "fingerprint"):
            raise ConfigError(f"found {kind_of(model)}; expected a model, its name, folder or address")
        return model
    from diptych.models import load  # a library that is only read needs none

    return load(model, device=device)


def lasting_name(model: Encoder) -> str:
    """What to load a model by later; just its name where it is no model of ours."""
    from diptych.models import DualEncoder
    from diptych.models import lasting_name as of_ours

    return of_ours(model) if isinstance(model, DualEncoder) else model.name


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """A full or read-only disk, in one line."""
    try:
        yield
    except OSError as error:
        raise LibraryError(
            f"cannot write the library {shown(folder)}: {error.strerror or error}; "
            f"what was acknowledged is kept and can be searched: make room or fix the permissions, then run this again"
        ) from error
