"""The libraries and their images: list, look, add, describe, delete, take back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, File, Form, Query, Request, Response, UploadFile
from pydantic import TypeAdapter, ValidationError

from diptych.core.errors import DataError, DiptychError
from diptych.core.text import plain
from diptych.library import NewItem, Prepared
from diptych.library import items as library_items
from diptych.library.store import column_of

from .. import editing, errors, explaining, filters, once
from ..errors import ServeError
from ..libraries import PLACES, ServedLibrary
from ..schemas import (
    Added,
    AddedAll,
    Dates,
    DeleteByFilter,
    Deleted,
    Facet,
    Facets,
    Item,
    Items,
    Libraries,
    LibraryDetails,
    LibraryInfo,
    Meta,
    Month,
    Patch,
    Problem,
    Restored,
    UndoRequest,
)
from ..service import Service, TheLibrary, TheService
from . import RESPONSES

router = APIRouter(prefix="/libraries", responses=RESPONSES, tags=["libraries"])

T = TypeVar("T")

_META = TypeAdapter(Meta)
_TEXTS = TypeAdapter(list[str])
_MOST_META, _MOST_TEXTS, _MOST_CHARACTERS = 64, 64, 8_192
_PREVIEW = 1_600  # pixels, longer side
_JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
}
_CURSOR = r"^((none|-?\d{1,19})\.)?[0-9a-f]{16}$"


class Write:
    """A request that changes a library. Raises ServeError(403) where nobody may."""

    def __init__(self, request: Request, served: TheLibrary, service: TheService, key: once.Key = None) -> None:
        if service.settings.read_only:
            raise ServeError(403, "read_only", "this server was started with --read-only")
        self.request, self.served, self.service, self._key = request, served, service, key

    async def once(self, work: once.Work[T], said: Sequence[str], files: Sequence[UploadFile] = ()) -> T:
        """Do it; when it came with the same Idempotency-Key before, give that answer again."""
        if self._key is None:
            return await work()
        return await self.service.once.run(self._key, await once.digest(self.request, said, files), work)


TheWrite = Annotated[Write, Depends()]


@router.get("", summary="All libraries")
async def libraries(service: TheService) -> Libraries:
    """Names, sizes, models, and what can be done with each."""
    return Libraries(libraries=[LibraryInfo(**await one.read(service.info, one)) for one in service.libraries])


@router.get("/{name}", summary="One library")
async def library(served: TheLibrary, service: TheService) -> LibraryDetails:
    """With the columns that filters can ask about."""
    columns = await served.columns()
    shown = {name: kind for name, kind in columns.items() if service.settings.shows_paths or name not in PLACES}
    return LibraryDetails(**await served.read(service.info, served), columns=shown)


@router.get("/{name}/facets", summary="The most frequent values of a column")
async def facets(served: TheLibrary, service: TheService, column: Annotated[str, Query(max_length=80)]) -> Facets:
    """For menus of filters. A column is asked for by its name or by the metadata key that it holds."""
    columns = await served.columns()
    stored = column_of(column, columns) or column
    hidden = stored in PLACES and not service.settings.shows_paths
    if hidden or columns.get(stored) not in ("text", "number", "integer", "boolean"):
        raise ServeError(422, "bad_filter", f"there is no column {column[:40]!r} with values to list")
    counted = await served.facets(stored)
    return Facets(column=column, values=[Facet(value=value, count=count) for value, count in counted])


@router.get("/{name}/dates", summary="How many photos were taken in each month")
async def dates(served: TheLibrary) -> Dates:
    """For a choice of dates: those that photos say."""
    found = await served.dates()
    undated = await served.read(served.count) - sum(found.values())
    months = [Month(month=month, count=count) for month, count in found.items()]
    return Dates(months=months, undated=max(0, undated))


@router.get("/{name}/items", summary="The images of a library, by id")
async def items(
    served: TheLibrary,
    service: TheService,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 50,
    after: Annotated[str | None, Query(pattern=_CURSOR)] = None,
    filter: Annotated[str, Query(description="A JSON list of conditions", max_length=10_000)] = "[]",
    where: Annotated[str | None, Query(max_length=1_000)] = None,
    near: Annotated[str | None, Query(description="LAT,LON in degrees", max_length=100)] = None,
    km: Annotated[float, Query(gt=0, le=20_100)] = 5.0,
    sort: Annotated[Literal["id", "taken", "size"], Query()] = "id",
) -> Items:
    """Page by page: `after` is the `next` of the page before.

    By `taken` the newest photo comes first and those without a date last, by `size` the one with most pixels.
    """
    paths = service.settings.shows_paths
    narrowed, placeless = await filters.narrowed(
        served, filters.from_json(filter), where, filters.place(near, km), paths=paths
    )
    page = await served.read(lambda: served.library.items(narrowed, cursor=after, limit=limit, sort=sort))
    notes = placeless + await served.notes(narrowed, page.total, paths=paths)
    if page.undated:
        notes.append(f"{page.undated:,} of {page.total:,} images say no date and come last")
    shown = [listed(one, paths=paths) for one in page.items]
    return Items(items=shown, total=page.total, next=page.cursor, notes=notes)


@router.post("/{name}/items", summary="Add images")
async def add(
    write: TheWrite,
    files: Annotated[list[UploadFile], File(description="Images")],
    meta: Annotated[str, Form(description="A JSON object for all of them", max_length=100_000)] = "{}",
    texts: Annotated[str, Form(description="A JSON list of texts for all of them", max_length=600_000)] = "[]",
) -> AddedAll:
    """Durable when answered. Each image has its own result: a bad one harms no other.

    An image that was uploaded before keeps its id (`created` is false).
    """
    served, service = write.served, write.service
    most = service.settings.limits.upload_files
    if len(files) > most:
        raise ServeError(413, "over_limit", f"found {len(files)} images; the limit is {most}", "Send several requests.")
    about, said = _object(meta), _texts(texts)
    identifier = str(write.request.state.request_id)

    async def work() -> AddedAll:
        added = await asyncio.gather(*(_add(one, served, service, about, said, identifier) for one in files))
        await _keep_tokens(service, served, [one.id for one in added if one.id is not None])
        created = sum(one.created for one in added)
        return AddedAll(added=added, created=created, failed=sum(one.error is not None for one in added))

    return await write.once(work, [meta, texts], files)


@router.post("/{name}/items/delete", summary="Delete images by filter or ids")
async def delete_by_filter(asked: DeleteByFilter, write: TheWrite) -> Deleted:
    """All that the filter finds. At least one condition, expression or id is needed."""
    if not (asked.ids or asked.filter or (asked.where or "").strip() or asked.near):
        raise ServeError(422, "bad_request", "nothing says which images to delete", "Give ids, filter, where or near.")

    async def work() -> Deleted:
        ids = set(asked.ids)
        served = write.served
        paths = write.service.settings.shows_paths
        narrowed, _ = await filters.narrowed(served, asked.filter, asked.where, asked.near, paths=paths)
        if narrowed is not None:
            found = set(await served.read(served.library.matching, narrowed))
            ids = found & ids if ids else found
        return await _delete(served, tuple(sorted(ids)))

    return await write.once(work, [asked.model_dump_json()])


@router.post("/{name}/undo", summary="Take a deletion back")
async def undo(asked: UndoRequest, write: TheWrite) -> Restored:
    """Until the trash is purged (`diptych library purge`)."""

    async def work() -> Restored:
        changed = await write.served.change(editing.undo(asked.token))
        return Restored(restored=len(changed.ids))

    return await write.once(work, [asked.model_dump_json()])


@router.get("/{name}/items/{id}", summary="One image")
async def item(id: str, served: TheLibrary, service: TheService) -> Item:
    """What is known about it."""
    return await _item(service, served, id)


@router.patch("/{name}/items/{id}", summary="Describe an image")
async def patch(id: str, asked: Patch, write: TheWrite) -> Item:
    """Keys of `meta` are set, those that are null go; `texts` are replaced."""

    async def work() -> Item:
        texts = None if asked.texts is None else tuple(asked.texts)
        await write.served.change(editing.describe(id, {plain(key): value for key, value in asked.meta.items()}, texts))
        return await _item(write.service, write.served, id)

    return await write.once(work, [asked.model_dump_json()])


@router.delete("/{name}/items/{id}", summary="Delete an image")
async def delete(id: str, write: TheWrite) -> Deleted:
    """Into the trash: it can be taken back. A file outside the library is not touched."""

    async def work() -> Deleted:
        deleted = await _delete(write.served, (id,))
        if not deleted.deleted:
            raise errors.no_item(id)
        return deleted

    return await write.once(work, [])


@router.get("/{name}/items/{id}/thumbnail", summary="A small JPEG", response_class=Response, responses=_JPEG)
async def thumbnail(id: str, request: Request, served: TheLibrary) -> Response:
    """At most 256 pixels, freshly encoded: nothing of the original file is in it."""
    about = await served.about(id)
    if _is_known(request, about.content):
        return _jpeg(None, about.content)
    data = await served.thumbnail(about.content)
    if data is None:
        raise ServeError(404, "no_thumbnail", "the thumbnail of this image is missing", "diptych library repair")
    return _jpeg(data, about.content)


@router.get("/{name}/items/{id}/preview", summary="A larger JPEG", response_class=Response, responses=_JPEG)
async def preview(id: str, request: Request, served: TheLibrary, service: TheService) -> Response:
    """At most 1,600 pixels, decoded in a limited process and freshly encoded."""
    about = await served.about(id)
    if _is_known(request, about.content):
        return _jpeg(None, about.content)
    data = await served.original(about, service.settings.limits.images.max_bytes)
    return _jpeg(await service.inputs.preview(data, _PREVIEW), about.content)


async def _item(service: Service, served: ServedLibrary, identifier: str) -> Item:
    try:
        found = await served.read(served.library.get, identifier)
    except DataError as error:
        raise errors.no_item(identifier) from error
    return listed(found, paths=service.settings.shows_paths)


def listed(item: library_items.Item, *, paths: bool) -> Item:
    """An item of the library with the fields that a hit would have."""
    extra = {key: value for key, value in (("split", item.split), ("group", item.group)) if value is not None}
    return Item(
        id=item.id,
        name=item.name,
        path=item.path if paths else None,
        width=item.width,
        height=item.height,
        texts=list(item.texts),
        meta={**item.meta, **extra},
        photo={key: value for key, value in item.photo.items() if paths or key not in ("latitude", "longitude")},
    )


async def _add(
    file: UploadFile,
    served: ServedLibrary,
    service: Service,
    meta: dict[str, Any],
    texts: tuple[str, ...],
    request_id: str,
) -> Added:
    name = plain(file.filename or "image")[:200]
    try:
        service.settings.limits.images.check_bytes(file.size or 0, name)
        data = await file.read()
        decoded = await service.inputs.decoded(data, served.embedder, name)
        vector = await served.embedder.image(decoded.pixels)
        prepared = Prepared(vector, decoded.thumb, decoded.width, decoded.height, decoded.photo)
        changed = await served.change(NewItem(data, name, texts, meta=meta, prepared=prepared))
        left_out = list(decoded.photo.left_out)
        return Added(name=name, id=changed.ids[0], created=changed.created, left_out=left_out)
    except DiptychError as error:
        found = errors.of(error)
        if not isinstance(error, DataError) and found.status >= 500:
            raise  # not this image's fault: the whole request is to be sent again
        return Added(name=name, error=Problem(**errors.body(found, request_id)))


async def _keep_tokens(service: Service, served: ServedLibrary, identifiers: list[str]) -> None:
    """Behind the answer: the tokens of what was added, where the library can be re-ranked."""
    if identifiers and served.cross_encoder is not None and await served.read(served.can_rerank):
        for identifier in identifiers:
            service.background.put(partial(explaining.keep_tokens, service, served, identifier))


async def _delete(served: ServedLibrary, ids: tuple[str, ...]) -> Deleted:
    changed = await served.change(editing.delete(ids))
    return Deleted(deleted=len(changed.ids), undo=changed.undo)


def _object(text: str) -> dict[str, Any]:
    try:
        found = _META.validate_python(json.loads(text))
    except (ValueError, ValidationError, RecursionError) as error:
        raise ServeError(422, "bad_meta", "meta is not a JSON object of short texts, numbers and booleans") from error
    if len(found) > _MOST_META:
        raise ServeError(422, "bad_meta", f"meta has {len(found)} keys; the limit is {_MOST_META}")
    return {plain(key): plain(value) if isinstance(value, str) else value for key, value in found.items()}


def _texts(text: str) -> tuple[str, ...]:
    try:
        found = _TEXTS.validate_python(json.loads(text))
    except (ValueError, ValidationError, RecursionError) as error:
        raise ServeError(422, "bad_texts", "texts is not a JSON list of texts") from error
    if len(found) > _MOST_TEXTS or any(len(one) > _MOST_CHARACTERS for one in found):
        raise ServeError(422, "bad_texts", f"expected at most {_MOST_TEXTS} texts of {_MOST_CHARACTERS} characters")
    return tuple(plain(one) for one in found)


def _is_known(request: Request, content: str) -> bool:
    return request.headers.get("if-none-match") == f'"{content}"'


def _jpeg(data: bytes | None, content: str) -> Response:
    headers = {"ETag": f'"{content}"', "Cache-Control": "private, max-age=300", "Content-Disposition": "inline"}
    if data is None:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type="image/jpeg", headers=headers)
