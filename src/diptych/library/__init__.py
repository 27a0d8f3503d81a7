"""A searchable collection of pictures: on disk, or on a server."""

from __future__ import annotations

from diptych.library.indexing.report import IndexReport
from diptych.library.store.trash import Deletion, Trashed, Undone

from .collection import Info, Library
from .encoder import Encoder
from .items import Added, Item, NewItem, Page, Prepared

__all__ = [
    "Added",
    "Deletion",
    "Encoder",
    "IndexReport",
    "Info",
    "Item",
    "Library",
    "NewItem",
    "Page",
    "Prepared",
    "Trashed",
    "Undone",
]
