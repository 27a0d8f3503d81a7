"""The library: a folder with its rows, thumbnails, and the name of the model that made its vectors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from diptych.core.checks import PATH, of_type
from diptych.core.errors import ConfigError, LibraryError
from diptych.library.indexing.indexer import Indexer
from diptych.library.maintenance.maintainer import Maintenance
from diptych.library.store.places import open_place

from . import card
from .bucket import address_of, folder_of, shown
from .card import LANCE, Card
from .encoder import Encoder
from .opened import Opened, disk_errors, lasting_name, loaded
from .reader import Reader
from .rendering.thumbnails import Thumbnails
from .searcher import Searcher
from .uploads import Uploads
from .writer import Writer

if TYPE_CHECKING:
    from .reranker import Reranker

A_FOLDER = "the folder or the address of a library"
P = ParamSpec("P")
R = TypeVar("R")


def _method_of(part: str, method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """A method of `Library` that one of its parts has: with the same parameters and docstring."""

    @functools.wraps(method)
    def call(library: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(getattr(library, part), *args, **kwargs)

    return call


class Library:
    """A searchable collection of images, texts or moments of videos, made by one model.

    Make one with `create`, open one with `open`; it loads its model when that is first needed. Searching needs
    the model's text tower only for words and its image tower only for images; `like`, and `search` with a
    vector, need no model.

    Its parts do the work: `reader`, `searcher`, `writer`, `indexer` and `maintenance`.
    """

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self.reader, self.writer = Reader(opened), Writer(opened)
        self.searcher = Searcher(opened, self.reader)
        self.indexer, self.maintenance = Indexer(opened), Maintenance(opened)

    @classmethod
    def create(
        cls, folder: Path | str, model: Encoder | str | Path, loaded_by: str | None = None, *, store: str = LANCE
    ) -> Library:
        """A new, empty library for a model, given as an object, a shipped name, a folder or an address.

        `loaded_by` is what to load the model by next time; left out, the shipped name, the full folder, or the address
        with its revision.

        The folder may be an address on object storage, s3://BUCKET/NAME.

        `store` says where its rows are: "lance" in the folder, or on a server, "milvus://HOST:PORT/COLLECTION".

        Raises LibraryError when the folder is a library already, or holds something else.
        """
        folder, encoder = folder_of(of_type(folder, PATH, A_FOLDER)), loaded(model)
        loaded_by = lasting_name(encoder) if loaded_by is None else loaded_by
        name = shown(folder)
        if card.exists(folder):
            raise LibraryError(f"{name} is a library already; open it, or choose another folder")
        with disk_errors(folder):
            if address_of(folder) is None and folder.exists() and (not folder.is_dir() or not _is_fresh(folder)):
                raise LibraryError(f"{name} exists and is not a library; choose an empty or new folder")
            if address_of(folder) is not None and store != LANCE:
                raise ConfigError(f"the rows of {name} are on object storage already; leave the store {store!r} out")
            about = Card.for_model(encoder, loaded_by, store)
            place = open_place(about, folder)  # needs its package, before a folder is made
            folder.mkdir(parents=True, exist_ok=True)
            place.check_free()
            card.write(about, folder)
        return cls(Opened(folder, about, encoder))

    @classmethod
    def open(cls, folder: Path | str, model: Encoder | str | Path | None = None, *, device: str = "auto") -> Library:
        """An existing library. Without a model (or its name, folder or address) it loads its own when that is needed.

        `device` is where a model that is loaded here runs, as in `diptych.load`.

        Raises LibraryError when there is no library, or it belongs to another model.
        """
        folder = folder_of(of_type(folder, PATH, A_FOLDER))
        about = card.read(folder)
        return cls(Opened(folder, about, None if model is None else loaded(model, device), device))

    # -- what it is --------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """Its folder; of a library on object storage this machine's working folder, which holds only what can be
        made again.
        """
        return self.opened.folder

    @property
    def card(self) -> Card:
        """Its identity, and the model that made its vectors."""
        return self.opened.card

    @property
    def model(self) -> Encoder | None:
        """The model it was opened with, or has loaded since; None before one was needed."""
        return self.opened.model

    def required_model(self) -> Encoder:
        """Its model, loaded now where it was opened without one.

        Raises LibraryError when that is not there, OtherModelError when another is called so by now.
        """
        return self.opened.required_model()

    @property
    def version(self) -> str | None:
        """Changes with every write; cheap to ask for; None before the first."""
        return self.opened.view.version

    @property
    def is_current(self) -> bool:
        """False once it was embedded again by another model: open it again, with that model."""
        return self.opened.is_current

    @property
    def thumbnails(self) -> Thumbnails:
        """The thumbnails of its images."""
        return self.opened.thumbnails

    @property
    def uploads(self) -> Uploads:
        """The files of uploaded images."""
        return self.opened.uploads

    @property
    def reranker(self) -> Reranker | None:
        """What `attach` gave."""
        return self.searcher.reranker

    def __len__(self) -> int:
        return len(self.reader)

    # -- what it does ------------------------------------------------------------------------------

    search = _method_of("searcher", Searcher.search)
    search_many = _method_of("reader", Reader.search_many)
    like = _method_of("reader", Reader.like)
    in_order = _method_of("reader", Reader.in_order)
    vector = _method_of("reader", Reader.vector)
    vector_of = _method_of("reader", Reader.vector_of)
    attach = _method_of("searcher", Searcher.attach)
    reordered = _method_of("searcher", Searcher.reordered)
    judge = _method_of("searcher", Searcher.judge)
    with_words = _method_of("searcher", Searcher.with_words)
    get = _method_of("reader", Reader.get)
    items = _method_of("reader", Reader.items)
    some = _method_of("reader", Reader.some)
    facts = _method_of("reader", Reader.facts)
    image = _method_of("reader", Reader.image)
    original = _method_of("reader", Reader.original)
    thumbnail = _method_of("reader", Reader.thumbnail)
    duplicates = _method_of("reader", Reader.duplicates)
    trash = _method_of("reader", Reader.trash)
    columns = _method_of("reader", Reader.columns)
    near = _method_of("reader", Reader.near)
    without_place = _method_of("reader", Reader.without_place)
    matching = _method_of("reader", Reader.matching)
    nothing_passes = _method_of("reader", Reader.nothing_passes)
    count = _method_of("reader", Reader.count)
    facets = _method_of("reader", Reader.facets)
    dates = _method_of("reader", Reader.dates)
    holds_texts = _method_of("reader", Reader.holds_texts)
    points = _method_of("reader", Reader.points)
    snapshot = _method_of("reader", Reader.snapshot)
    info = _method_of("reader", Reader.info)
    unfamiliar = _method_of("reader", Reader.unfamiliar)

    index = _method_of("indexer", Indexer.index)
    index_videos = _method_of("indexer", Indexer.index_videos)
    index_texts = _method_of("indexer", Indexer.index_texts)
    add_tokens = _method_of("indexer", Indexer.add_tokens)
    read_words = _method_of("indexer", Indexer.read_words)
    knows = _method_of("indexer", Indexer.knows)

    add = _method_of("writer", Writer.add)
    patch = _method_of("writer", Writer.patch)
    delete = _method_of("writer", Writer.delete)
    remove = _method_of("writer", Writer.remove)
    undo = _method_of("writer", Writer.undo)
    purge = _method_of("writer", Writer.purge)

    verify = _method_of("maintenance", Maintenance.verify)
    repair = _method_of("maintenance", Maintenance.repair)
    compact = _method_of("maintenance", Maintenance.compact)
    export = _method_of("maintenance", Maintenance.export)
    reread = _method_of("maintenance", Maintenance.reread)
    tune = _method_of("maintenance", Maintenance.tune)
    use_index = _method_of("maintenance", Maintenance.use_index)
    reembed = _method_of("maintenance", Maintenance.reembed)


def _is_fresh(folder: Path) -> bool:
    """Whether a folder is empty, or holds no more than a `create` that was killed leaves behind."""
    return all(entry.name.startswith(f".{card.FILE}.") for entry in folder.iterdir())
