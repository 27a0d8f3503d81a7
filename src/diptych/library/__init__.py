"""A searchable collection of pictures: on disk, or on a server."""

from __future__ import annotations

from .collection import Info, Library
from .encoder import Encoder
from .items import Added, Item, NewItem, Page, Prepared
from .report import IndexReport
from .trash import Deletion, Trashed, Undone

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
