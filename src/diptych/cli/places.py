"""`--near LAT,LON --km 5`, beside `--where`."""

from typing import Annotated

from cyclopts import Parameter

from diptych.core.errors import ConfigError
from diptych.core.notes import Note
from diptych.library import Library
from diptych.library.store import FilterError, Where

_KM = 5.0
Place = Annotated[
    str | None,
    Parameter(
        metavar="LAT,LON",
        allow_leading_hyphen=True,
        help="Only images taken near this place, in degrees, negative in the south and west: 35.34,25.13. Images "
        "without coordinates are not found; how many those are is said.",
    ),
]
Km = Annotated[float | None, Parameter(help=f"With --near: so many kilometres, {_KM:g} when left out.")]


def narrowed(
    collection: Library, where: str | None, near: str | None, km: float | None
) -> tuple[str | Where | None, tuple[Note, ...]]:
    """The filter of a command, and a note on the images that have no place where one is asked for."""
    if near is None:
        if km is not None:
            raise ConfigError("--km says how far from a place; give the place as well: --near LAT,LON")
        return where, ()
    try:
        latitude, longitude = map(float, near.split(","))
    except ValueError:
        raise ConfigError(
            f"--near {near!r}: expected two numbers of degrees with a comma between them, such as 35.34,25.13"
        ) from None
    place = (latitude, longitude, _KM if km is None else km)
    try:
        found = collection.near(*place)
    except FilterError as error:
        raise ConfigError(f"cannot use --near: {error.reason}") from error
    if where is not None:
        found = collection.near(*place, where=where)
    return found, collection.without_place(where)
