"""`diptych library rm`, `undo`, `trash`, `purge`."""

import re
from dataclasses import asdict
from shlex import quote
from typing import Annotated

from cyclopts import Parameter, validators

from diptych.cli.places import Km, Place, narrowed
from diptych.cli.shared import Common, LibraryFolder, shortened
from diptych.core.errors import ConfigError
from diptych.core.notes import Note
from diptych.core.text import number, one_line
from diptych.library import Library
from diptych.library.bucket import shown

_ID = re.compile(r"[0-9a-f]{16}")


def rm(
    *targets: str,
    library: LibraryFolder,
    where: str | None = None,
    near: Place = None,
    km: Km = None,
    common: Common = Common(),
) -> None:
    """Put images into the trash: by their ids, by their paths, or by a filter (--where, --near, or both).

    They are hidden everywhere, and no file is touched. `diptych library undo` brings them back. Indexing their folder
    again also brings back what was named by its path, because that is how a folder is taken out of a library; what was
    named by id, --where or --near stays away.

    An argument of 16 hexadecimal digits is an id, as search prints it; every other one is a path, of an image or of
    a folder, whether or not it still exists. Write ./NAME for a file whose name looks like an id.

    Examples:
        diptych library rm 4f0c2a9b1d3e5f67 --library ~/pictures.library
        diptych library rm ~/Pictures/old --library ~/pictures.library
        diptych library rm --where "width < 100" --library ~/pictures.library
        diptych library rm --near 35.34,25.13 --km 1 --library ~/pictures.library

    Args:
        targets: Ids, or paths of images and folders; not both in one command.
        where: All images for which this holds, as for diptych search --where: "folder = 'Summer'".
    """
    ids = [target for target in targets if _ID.fullmatch(target)]
    paths = [target for target in targets if not _ID.fullmatch(target)]
    filters = [name for name, given in (("--where", where), ("--near", near)) if given is not None]
    if bool(ids) + bool(paths) + bool(filters) != 1:
        found = [*(name for name, given in (("ids", ids), ("paths", paths)) if given), *filters]
        raise ConfigError(f"found {' and '.join(found) or 'nothing to remove'}; expected ids, paths, --where or --near")
    collection = Library.open(library)
    among, placeless = narrowed(collection, where, near, km)
    deletion = collection.remove(paths) if paths else collection.delete(ids or None, where=among)
    text, notes = f"{shown(library)}: {number(len(deletion.ids), 'image')} put into the trash", [*placeless]
    if deletion.ids:
        text += f"; to bring them back: diptych library undo {deletion.batch} --library {quote(shown(library))}"
    elif among is not None:
        notes.append(Note("nothing_passes", 1, collection.nothing_passes(among)))
    else:
        named = "of these ids" if ids else f"at or below {', '.join(map(one_line, paths[:3]))}"
        notes.append(Note("nothing_found", len(targets), f"the library has no image {named}; named"))
    common.show({**asdict(deletion), "removed": len(deletion.ids)}, text, notes)


def undo(
    batch: str | None = None, /, *, library: LibraryFolder, ids: list[str] | None = None, common: Common = Common()
) -> None:
    """Bring back what was put into the trash: by the newest command, or by the one named.

    Examples:
        diptych library undo --library ~/pictures.library
        diptych library undo 9d2f6e0c41ab7758 --library ~/pictures.library
        diptych library undo --ids 4f0c2a9b1d3e5f67 --library ~/pictures.library

    Args:
        batch: Images that one command put there: its batch, as rm and trash print it.
        ids: Only these images.
    """
    undone = Library.open(library).undo(batch, ids=ids)
    text = f"{shown(library)}: {number(len(undone.restored), 'image')} brought back"
    if undone.kept:
        text += f"; {len(undone.kept)} stay in the trash, because another image is at their path now"
    common.show(asdict(undone), text)


def trash(*, library: LibraryFolder, common: Common = Common()) -> None:
    """List the trash: what was removed and not yet purged, newest first.

    Examples:
        diptych library trash --library ~/pictures.library
        diptych library trash --library ~/pictures.library --json | jq -r '.[].item.path'
    """
    found = Library.open(library).trash()
    lines = shortened([f"{one.deleted}  {one.batch}  {one.item.id}  {one_line(one.item.path)}" for one in found])
    common.show([asdict(one) for one in found], "\n".join(lines) or "the trash is empty")


def purge(
    *,
    library: LibraryFolder,
    days: Annotated[float, Parameter(validator=validators.Number(gte=0))] = 30.0,
    now: bool = False,
    common: Common = Common(),
) -> None:
    """Delete old trash for good. This cannot be undone.

    Thumbnails go, and the files of uploaded images; files that were indexed where they lie are not touched.

    Examples:
        diptych library purge --library ~/pictures.library
        diptych library purge --library ~/pictures.library --now

    Args:
        days: What was put into the trash at least this many days ago.
        now: Everything in the trash.
    """
    opened = Library.open(library)
    count = opened.purge(0.0 if now else days)
    text = f"{shown(library)}: {number(count, 'image')} purged"
    if left := len(opened.trash()):
        text += f"; {left} were put into the trash less than {days:g} days ago and stay; --now takes all"
    common.show({"purged": count}, text)
