"""`diptych library list`."""

from dataclasses import asdict
from shlex import quote
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from diptych.cli.places import Km, Place, narrowed
from diptych.cli.shared import Common, LibraryFolder
from diptych.core.notes import Note
from diptych.core.text import number, one_line
from diptych.library import Item, Library
from diptych.library.bucket import shown
from diptych.library.items import MOST_LISTED
from diptych.library.store import text_of


def list_items(
    *,
    library: LibraryFolder,
    where: str | None = None,
    near: Place = None,
    km: Km = None,
    sort: Literal["id", "taken", "size"] = "id",
    most: Annotated[int, Parameter(name=("--most", "-k"), validator=validators.Number(gte=1, lte=MOST_LISTED))] = 20,
    after: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    common: Common = Common(),
) -> None:
    """List the images (or texts) of a library, page by page: all, or those for which a filter holds.

    Examples:
        diptych library list --library ~/pictures.library
        diptych library list --library ~/pictures.library --sort taken --where "taken >= '2024'"
        diptych library list --library ~/pictures.library --near 35.34,25.13 --km 20 --json | jq -r '.items[].path'

    Args:
        where: Only images for which this holds, as for diptych search --where.
        sort: By id; or the newest photo first, those without a date last; or that with most pixels first.
        most: Images of a page, 1 to 1,000.
        after: What the page before names as the next.
    """
    collection = Library.open(library)
    among, placeless = narrowed(collection, where, near, km)
    page = collection.items(among, cursor=after, limit=most, sort=sort)
    notes = [*placeless]
    if page.undated:
        notes.append(Note("undated", page.undated, "images without a date, which come last"))
    if among is not None and not page.total:
        notes.append(Note("nothing_passes", 1, collection.nothing_passes(among)))
    what = "text" if any(_text(item) is not None for item in page.items) else "image"
    lines = [*map(_line, page.items), f"{number(page.total, what)} in all"]
    if page.cursor is not None:
        given: dict[str, str | None] = {"--where": where, "--near": near, "--km": None if km is None else f"{km:g}"}
        given |= {"--sort": sort, "-k": str(most)}
        again = "".join(f" {name} {quote(value)}" for name, value in given.items() if value is not None)
        lines.append(
            f"the next: diptych library list --library {quote(shown(library))}{again} --after {quote(page.cursor)}"
        )
    common.show(asdict(page), "\n".join(lines), notes)


def _text(item: Item) -> str | None:
    """The text itself, of an item that is one."""
    return text_of({**item.meta, "texts": item.texts})


def _line(item: Item) -> str:
    if (text := _text(item)) is not None:
        return one_line(f"{item.id}  {' '.join(text.split())}  ({item.meta['record']})")
    taken = str(item.photo.get("taken", ""))[:10]
    return one_line(f"{item.id}  {taken:10}  {item.width:>5} x {item.height:<5}  {item.path}")
