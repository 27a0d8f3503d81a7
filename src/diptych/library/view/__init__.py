"""What a search reads: a snapshot of the rows in memory-mapped arrays and the journal of later writes, or the store.

`View` is what both ways have in common, `open_view` chooses; `Snapshot` holds all rows of one version as arrays.
"""

from __future__ import annotations

from diptych.library.store.places import Place

from .base import Points, Ranking, RowFacts, View
from .journalled import JournalledSnapshot
from .local import LocalView
from .ordered import ORDERS, SIZE, TAKEN
from .snapshot import Snapshot
from .snapshots import Snapshots

__all__ = [
    "ORDERS", "SIZE", "TAKEN", "JournalledSnapshot", "Points", "Ranking", "RowFacts", "Snapshot", "Snapshots", "View",
    "open_view",
]  # fmt: skip


def open_view(snapshots: Snapshots, place: Place) -> View:
    """The view of a place: its own search where it has one, else the snapshots of it."""
    if place.has_own_search:
        from .remote import RemoteView

        return RemoteView(snapshots)
    return LocalView(snapshots)
