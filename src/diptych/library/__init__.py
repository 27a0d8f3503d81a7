"""A searchable collection of images, texts or moments of videos: on disk, or on a server.

`Library` is what people use; it is made of a reader, a writer, an indexer and maintenance over one open library. The
rows are in `store`, searches read a `view`; `rendering` draws what was found.

Where a hit's score is computed, step by step from `Library.search` (`searcher.py`):

- `Reader.search` (`reader.py`) makes the query a vector, and `View.search` ranks the rows by their cosine with it;
- in a folder the view is `view/local.py`, and `view/exact.py` computes the cosines;
- on a server it is `view/remote.py`, which asks `MilvusStore.search` (`store/milvus.py`);
- with `rerank`, `Reranker.order` (`reranker.py`) adds the cross-encoder's score and orders the first hits again.

Why an image was skipped while indexing: see `indexing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diptych.core.lazy import lazy

if TYPE_CHECKING:
    from diptych.core.on_ray import RayEngine

    from .encoder import Encoder, as_queries
    from .index_choice import IndexChoice
    from .indexing.options import IndexOptions
    from .indexing.report import IndexReport
    from .items import Added, Item, NewItem, Page, Prepared, Trashed
    from .library import Library
    from .opened import model_of
    from .reader import Answer, Info
    from .store.trash import Deletion, Undone
    from .view import Points, RowFacts, Snapshot

__all__ = [
    "Added",
    "Answer",
    "Deletion",
    "Encoder",
    "IndexChoice",
    "IndexOptions",
    "IndexReport",
    "Info",
    "Item",
    "Library",
    "NewItem",
    "Page",
    "Points",
    "Prepared",
    "RayEngine",
    "RowFacts",
    "Snapshot",
    "Trashed",
    "Undone",
    "as_queries",
    "model_of",
]
__getattr__, __dir__ = lazy(__name__)
