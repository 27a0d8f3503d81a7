"""`diptych library duplicates`."""

from shlex import quote

from diptych.cli.places import Km, Place, narrowed
from diptych.cli.shared import Common, LibraryFolder, shortened
from diptych.core.notes import Note
from diptych.core.text import one_line
from diptych.library import Library
from diptych.library.bucket import shown
from diptych.library.duplicates import Copy

_MOST_IDS = 50  # in a command that is printed; more are given by a pipe


def duplicates(
    *,
    library: LibraryFolder,
    where: str | None = None,
    near: Place = None,
    km: Km = None,
    common: Common = Common(),
) -> None:
    """Find copies of one image: the same bytes, encoded again, resized, cropped, mirrored or turned by quarters.

    Perceptual hashes and vectors find pairs that may be copies; the pixels of their thumbnails decide. Of each group
    the best is proposed: the one with most pixels, then colours, then most bytes, that is not cropped. Nothing is
    changed: the command that puts the others into the trash is printed, and diptych library undo brings them back.

    Examples:
        diptych library duplicates --library ~/pictures.library
        diptych library duplicates --where "folder = '/home/me/Summer'" --library ~/pictures.library
        diptych library duplicates --library ~/pictures.library --json | jq -r '.groups[].others[].id'

    Args:
        where: Compare only images for which this holds, as for diptych search --where.
    """
    collection = Library.open(library)
    among, placeless = narrowed(collection, where, near, km)
    found = collection.duplicates(among, progress=common.progress())
    remove = f"diptych library rm --library {quote(shown(library))}"
    blocks = []
    for group in found.groups:
        lines = [f"keep    {_described(group.best)}: {group.reason}"]
        lines += [f"  spare {_described(copy)}: {copy.how}" for copy in group.others]
        blocks.append("\n".join(lines))
    parts = [found.summary(), *shortened(blocks)]
    if len(found.spare) > _MOST_IDS:
        everything = f"diptych library duplicates --library {quote(shown(library))} --json"
        asked = (("--where", where), ("--near", near), ("--km", None if km is None else f"{km:g}"))
        everything += "".join(f" {name} {quote(value)}" for name, value in asked if value is not None)
        parts.append(
            f"to put all spare copies into the trash: {everything} | jq -r '.groups[].others[].id' | xargs {remove}"
        )
    elif found.groups:
        parts.append(f"to put the spare copies into the trash: {remove} {' '.join(found.spare)}")
    notes = [Note("not_compared", count, f"images not compared: {why}") for why, count in found.left_out.items()]
    notes += placeless
    common.show(found.to_json(), "\n".join(parts), notes)


def _described(copy: Copy) -> str:
    return one_line(f"{copy.id}  {copy.path} ({copy.size})")
