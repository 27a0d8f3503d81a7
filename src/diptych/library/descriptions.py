"""An image's description: from its source when it is indexed, and from people afterwards. Neither erases the other's.

When somebody changes a description, the row keeps the source's last one in `said`. When the image is indexed again, the
source's new texts, split, group and metadata are taken, except for those that somebody has changed since. In rows of an
earlier development version `said` is empty: they keep everything that the source has no value for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from diptych.library.store.rows import Row


def described(row: Row) -> dict[str, Any]:
    """A row's description, JSON-ready."""
    return {"texts": list(row.texts), "split": row.split, "group": row.group, "meta": dict(row.meta)}


def is_touched(row: Row) -> bool:
    """Whether somebody changed the row's description or name since it was indexed."""
    return bool(row.said) or row.title is not None


def patched(before: Row, after: Row) -> Row:
    """A row after somebody changed its description; its source's last description is kept in `said`."""
    said = before.said if before.said is not None else described(before)
    return replace(after, said=None if described(after) == said else said)


def kept(new: Row, old: Row, *, source_speaks: bool) -> Row:
    """The row of the same image indexed again: `new`, with what stays of the old row.

    A source without texts and metadata, such as a plain folder, changes none of them.
    """
    if not source_speaks:
        return _with(replace(new, title=old.title, said=old.said), described(old))
    if old.said is None:
        return replace(new, title=old.title)
    now, mine = described(new), described(old)
    if not old.said:
        merged = {key: now[key] or mine[key] for key in ("texts", "split", "group")}
        merged["meta"] = {**mine["meta"], **now["meta"]}
    else:
        said = old.said
        merged = {key: now[key] if mine[key] == said[key] else mine[key] for key in ("texts", "split", "group")}
        merged["meta"] = _merged(now["meta"], mine["meta"], said["meta"])
    return _with(replace(new, title=old.title, said=None if merged == now else now), merged)


def filled(new: Row, old: Row) -> Row:
    """A row added again: its new description, and the old one where that says nothing."""
    return replace(
        new,
        title=new.title or old.title,
        texts=new.texts or old.texts,
        split=new.split or old.split,
        group=new.group or old.group,
        meta={**old.meta, **new.meta},
    )


def _merged(now: Mapping[str, Any], mine: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    changed = {key for key in mine.keys() | said.keys() if mine.get(key) != said.get(key)}
    unchanged = {key: value for key, value in now.items() if key not in changed}
    return unchanged | {key: value for key, value in mine.items() if key in changed}


def _with(row: Row, description: Mapping[str, Any]) -> Row:
    return replace(row, **{**description, "texts": tuple(description["texts"])})
