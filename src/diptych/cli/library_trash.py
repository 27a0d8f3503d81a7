"""`diptych library delete`, `undo`, `trash`, `purge`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from diptych.core.errors import ConfigError
from diptych.core.notes import Note, notes_json
from diptych.core.text import one_line
from diptych.library import Library

from .shared import Common

COMMON = Common()
MOST_LISTED = 20


def delete(library: Path, /, *ids: str, where: str | None = None, common: Common = COMMON) -> None:
    """Put pictures into the trash, by their ids or by a filter; undo brings them back.

    They show up nowhere any more, and indexing their folder again does not bring them back. No file is touched.

    For example:

        diptych library delete ~/pictures.library 4f0c2a9b1d3e5f67

        diptych library delete ~/pictures.library --where "width < 100"

    Args:
        library: Folder of the library.
        ids: Pictures, by the ids that diptych search prints.
        where: All pictures for which this holds, as for diptych search --where: "folder = 'Summer'".
    """
    if bool(ids) == (where is not None):
        raise ConfigError("expected either ids or --where, exactly one of them")
    collection = Library.open(library)
    deletion = collection.delete(ids or None, where=where)
    hints = [collection.nothing_passes(where)] if where is not None and not deletion.ids else []
    text = f"{library}: {len(deletion.ids)} pictures deleted; to bring them back: " + (
        f"diptych library undo {library} {deletion.batch}" if deletion.ids else "; ".join(["nothing to undo", *hints])
    )
    notes = {"notes": notes_json(Note("nothing_passes", 1, hint) for hint in hints)} if hints else {}
    common.show({**asdict(deletion), **notes}, text)


def undo(library: Path, batch: str | None = None, /, *, ids: list[str] | None = None, common: Common = COMMON) -> None:
    """Bring back what a deletion took: the newest one, or the one named.

    For example:

        diptych library undo ~/pictures.library

        diptych library undo ~/pictures.library 9d2f6e0c41ab7758

        diptych library undo ~/pictures.library --ids 4f0c2a9b1d3e5f67

    Args:
        library: Folder of the library.
        batch: The deletion, as delete and trash print it.
        ids: Only these pictures.
    """
    undone = Library.open(library).undo(batch, ids=ids)
    text = f"{library}: {len(undone.restored)} pictures are back"
    if undone.kept:
        text += f"; {len(undone.kept)} stay in the trash, because another picture is at their path now"
    common.show(asdict(undone), text)


def trash(library: Path, *, common: Common = COMMON) -> None:
    """What was deleted and not yet purged, newest first.

    For example:

        diptych library trash ~/pictures.library

        diptych library trash ~/pictures.library --json | jq -r '.[].item.path'

    Args:
        library: Folder of the library.
    """
    found = Library.open(library).trash()
    lines = [f"{one.deleted}  {one.batch}  {one.item.id}  {one_line(one.item.path)}" for one in found[:MOST_LISTED]]
    if len(found) > MOST_LISTED:
        lines.append(f"and {len(found) - MOST_LISTED} more (all with --json)")
    common.show([asdict(one) for one in found], "\n".join(lines) or "the trash is empty")


def purge(
    library: Path,
    /,
    *,
    days: Annotated[float, Parameter(validator=validators.Number(gte=0))] = 30.0,
    now: bool = False,
    common: Common = COMMON,
) -> None:
    """Drop for good what was deleted some time ago. This cannot be undone.

    Thumbnails go, and the files of uploaded pictures; files that were indexed where they lie are not touched.

    For example:

        diptych library purge ~/pictures.library

        diptych library purge ~/pictures.library --now

    Args:
        library: Folder of the library.
        days: What was deleted at least this many days ago.
        now: Everything in the trash.
    """
    count = Library.open(library).purge(0.0 if now else days)
    common.show({"purged": count}, f"{library}: {count} pictures purged")
