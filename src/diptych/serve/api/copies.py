"""Copies of one image in a library."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from diptych.library import duplicates

from .. import filters
from ..schemas import Copies, Copy, CopyGroup
from ..service import TheLibrary, TheService
from . import RESPONSES

router = APIRouter(prefix="/libraries/{name}", responses=RESPONSES, tags=["libraries"])


@router.get("/duplicates", summary="Copies of one image")
async def duplicates_of(
    served: TheLibrary,
    service: TheService,
    limit: Annotated[int, Query(ge=1, le=1_000, description="Groups")] = 100,
    start: Annotated[int, Query(ge=0, description="Groups to leave out from the first")] = 0,
    filter: Annotated[str, Query(description="A JSON list of conditions", max_length=10_000)] = "[]",
    where: Annotated[str | None, Query(max_length=1_000)] = None,
    near: Annotated[str | None, Query(description="LAT,LON in degrees", max_length=100)] = None,
    km: Annotated[float, Query(gt=0, le=20_100)] = 5.0,
) -> Copies:
    """Groups of copies with the best of each: the same bytes, encoded again, resized, cropped, mirrored, turned, grey.

    Nothing is changed: what is to go is sent to `POST …/items/delete`. In a large library the first request for a
    version may end with 503 `deadline_exceeded` while the search goes on: ask again.
    """
    paths = service.settings.shows_paths
    narrowed, notes = await filters.narrowed(
        served, filters.from_json(filter), where, filters.place(near, km), paths=paths
    )
    found = await service.copies.find(served, narrowed)
    notes += [f"images not compared: {why}: {count:,}" for why, count in found.left_out.items()]
    groups = [_group(one, paths=paths) for one in found.groups[start : start + limit]]
    return Copies(
        groups=groups,
        total=len(found.groups),
        spare=len(found.spare),
        spare_bytes=found.spare_bytes,
        images=found.images,
        version=found.version,
        notes=notes,
    )


def _group(group: duplicates.Group, *, paths: bool) -> CopyGroup:
    others = [_copy(one, paths=paths) for one in group.others]
    return CopyGroup(best=_copy(group.best, paths=paths), reason=group.reason, others=others)


def _copy(copy: duplicates.Copy, *, paths: bool) -> Copy:
    return Copy(
        id=copy.id,
        name=copy.name,
        path=copy.path if paths else None,
        width=copy.width,
        height=copy.height,
        bytes=copy.bytes,
        grey=copy.grey,
        kinds=list(copy.kinds),
        turned=copy.turned,
        kept=copy.kept,
        how=copy.how,
    )
