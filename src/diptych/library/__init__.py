"""A searchable collection of images, texts or moments of videos: on disk, or on a server.

`Library` is what people use; it is made of a reader, a writer, an indexer and maintenance over one open library. The
rows are in `store`, searches read a `view`; `rendering` draws what was found.

A search goes from `Reader.search` (a query becomes a vector) to `View.search`: for a library in a folder that is
`view/local.py` (which rows), then `view/exact.py` (which computes the scores). On a server it is `view/remote.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diptych.core.lazy import lazy

if TYPE_CHECKING:
    from .collection import Library
    from .encoder import Encoder
    from .indexing.options import IndexOptions
    from .indexing.report import IndexReport
    from .items import Added, Item, NewItem, Page, Prepared, Trashed
    from .reader import Answer, Info
    from .store.trash import Deletion, Undone
    from .view import RowFacts, Snapshot

__all__ = [
    "Added",
    "Answer",
    "Deletion",
    "Encoder",
    "IndexOptions",
    "IndexReport",
    "Info",
    "Item",
    "Library",
    "NewItem",
    "Page",
    "Prepared",
    "RowFacts",
    "Snapshot",
    "Trashed",
    "Undone",
]
__getattr__, __dir__ = lazy(__name__)
