"""The order that hits and lists are given in: by score or id, by the date a photo was taken, or by its pixels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from diptych.core.errors import ConfigError
from diptych.core.types import Hit
from diptych.library.store.protocol import Store
from diptych.library.store.where import FilterError, condition
from diptych.library.view import ORDERS, SIZE, TAKEN

from .query import QueryWarning

SCORE, BY_ID = "score", "id"  # the usual order of hits, and of lists


class UndatedWarning(QueryWarning):
    """Hits that say no date, where they are put in order by it."""


def check(order: str, usual: str, columns: Mapping[str, str]) -> bool:
    """Whether it is another order than the usual one. Raises ConfigError for one that there is not."""
    if order == usual:
        return False
    if order not in ORDERS:
        raise ConfigError(f"cannot sort by {order[:40]!r}; choose from {', '.join((usual, *ORDERS))}")
    if order != SIZE:
        try:
            condition(TAKEN, "not null", None, columns)
        except FilterError as error:
            raise ConfigError(f"cannot sort by {order}: {error.reason}") from error
    return True


def in_order(hits: Sequence[Hit], order: str, store: Store, notes: list[str] | None = None) -> list[Hit]:
    """Hits, best first, put in another order, with ranks from 0: equal ones stay as they were.

    By date, each has its own in `meta` as PHOTO_TAKEN, as exact as it is written, and those without one come last: how
    many goes into `notes`, or is warned of (`UndatedWarning`).
    """
    if order == SIZE:
        ordered = sorted(hits, key=lambda hit: -hit.meta["width"] * hit.meta["height"])
    else:
        rows = store.get([hit.id for hit in hits], vectors=False)
        taken = {row.id: row.photo["taken"] for row in rows if row.photo and "taken" in row.photo}
        dated = [replace(hit, meta={**hit.meta, TAKEN: taken[hit.id]}) for hit in hits if hit.id in taken]
        undated = [hit for hit in hits if hit.id not in taken]
        ordered = [*sorted(dated, key=lambda hit: str(hit.meta[TAKEN]), reverse=True), *undated]
        if undated:
            said = f"{len(undated)} of the {len(hits)} found say no date and come last"
            if notes is None:
                warnings.warn(said, UndatedWarning, stacklevel=4)
            else:
                notes.append(said)
    return [replace(hit, rank=rank) for rank, hit in enumerate(ordered)]


def clock(taken: int) -> str:
    """What a camera's clock showed, from nanoseconds since 1970: 2024-05-01T14:30:05."""
    return (datetime(1970, 1, 1) + timedelta(seconds=taken // 10**9)).isoformat()
