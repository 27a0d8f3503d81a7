"""Copies of one image over HTTP: groups for everybody who may read, deleted by the usual route, taken back by undo."""

from __future__ import annotations

import asyncio
import io
import shutil

import numpy as np
import PIL.Image
import pytest

from diptych.library import Library
from diptych.serve.copies import CopyFinder
from diptych.serve.errors import ServeError
from diptych.serve.libraries import ServedLibrary
from diptych.serve.metrics import Metrics
from diptych.serve.settings import Pressure

L = "/libraries/colours"


def photo(seed: int, form: str = "PNG", size: tuple[int, int] = (120, 90), **options) -> bytes:
    """Blurred noise, unlike that of any other seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(noise).resize(size, PIL.Image.Resampling.BICUBIC).save(stream, form, **options)
    return stream.getvalue()


@pytest.fixture
def copied(site):
    """The library of six plain colours, with two images and a copy of one."""
    uploads = [("1.png", photo(1)), ("2.png", photo(2)), ("small.jpg", photo(1, "JPEG", (60, 45), quality=90))]
    for name, data in uploads:
        (site.images / name).write_bytes(data)
    Library.open(site.folder, site.encoder).index([site.images / name for name, _ in uploads])
    yield site
    for name, _ in uploads:
        (site.images / name).unlink()


def test_copies_are_listed_deleted_and_taken_back(copied, ask) -> None:
    async def scenario(client):
        found = (await client.get(f"{L}/duplicates")).json()
        ids = [copy["id"] for group in found["groups"] for copy in group["others"]]
        gone = (await client.post(f"{L}/items/delete", json={"ids": ids})).json()
        left = (await client.get(f"{L}/duplicates")).json()
        await client.post(f"{L}/undo", json={"token": gone["undo"]})
        return found, gone, left, (await client.get(f"{L}/duplicates")).json()

    found, gone, left, back = ask(scenario)
    (group,) = found["groups"]
    (other,) = group["others"]
    assert (group["best"]["name"], group["reason"]) == ("1.png", "most pixels (120 x 90)")
    assert (other["name"], other["kinds"], other["how"]) == ("small.jpg", ["resized"], "resized")
    assert other["path"] == str(copied.images / "small.jpg")
    assert (found["total"], found["spare"], found["spare_bytes"]) == (1, 1, other["bytes"])
    assert found["notes"] == ["images not compared: of one colour, compared by their bytes alone: 6"]
    assert (gone["deleted"], left["groups"], back["groups"]) == (1, [], found["groups"])


def test_copies_of_what_a_filter_leaves_and_page_by_page(copied, ask) -> None:
    async def scenario(client):
        narrow = (await client.get(f"{L}/duplicates", params={"where": "width > 100"})).json()
        rest = (await client.get(f"{L}/duplicates", params={"start": 1})).json()
        wrong = await client.get(f"{L}/duplicates", params={"where": "no such"})
        return narrow, rest, wrong, (await client.get(L)).json()["features"]

    narrow, rest, wrong, features = ask(scenario)
    assert (narrow["groups"], narrow["images"]) == ([], 2)
    assert (rest["groups"], rest["total"]) == ([], 1)
    assert (wrong.status_code, features["copies"]) == (422, True)


def test_a_reader_may_list_them_but_sees_no_paths_and_deletes_nothing(copied, ask) -> None:
    async def scenario(client):
        found = (await client.get(f"{L}/duplicates")).json()
        folder = await client.get(f"{L}/duplicates", params={"where": "folder = 'images'"})
        ids = [found["groups"][0]["others"][0]["id"]]
        return found, folder, await client.post(f"{L}/items/delete", json={"ids": ids})

    found, folder, refused = ask(scenario, read_only=True, allowed_hosts=("photos.example",))
    assert found["groups"][0]["best"]["path"] is None
    assert str(copied.images) not in str(found)
    assert (folder.status_code, refused.status_code) == (422, 403)


def test_a_copied_library_that_went_another_way_has_copies_of_its_own(copied, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ServedLibrary, "version", "9-1000")  # as it is where both have written as much
    shutil.copytree(copied.folder, tmp_path / "other")
    for folder, name in ((copied.folder, "1.png"), (tmp_path / "other", "2.png")):
        Library.open(folder, copied.encoder).delete(where=f"name = '{name}'")

    async def scenario():
        finder = CopyFinder(Pressure(), metrics := Metrics())
        folders = {"one": copied.folder, "other": tmp_path / "other"}
        both = [ServedLibrary(name, folder, None, Pressure(), metrics) for name, folder in folders.items()]
        found = [len((await finder.find(served, None)).groups) for served in both]
        await finder.close()
        for served in both:
            await served.close()
        return found

    assert asyncio.run(scenario()) == [0, 1]


def test_a_library_of_texts_has_none(ask, site, tmp_path) -> None:
    (tmp_path / "texts.txt").write_text("red\nblue\n")
    texts = Library.create(tmp_path / "texts", site.encoder)
    texts.index_texts(tmp_path / "texts.txt")
    site.folder = tmp_path / "texts"

    async def scenario(client):
        return (await client.get(L)).json()["features"], await client.get(f"{L}/duplicates")

    features, refused = ask(scenario)
    assert (features["copies"], refused.status_code) == (False, 422)
    assert "holds texts" in refused.json()["message"]


def test_a_server_that_ends_gives_the_search_up() -> None:
    finder = CopyFinder(Pressure(), Metrics())
    assert list(finder.track([1, 2], "looking")) == [1, 2]
    finder._closing.set()
    with pytest.raises(ServeError, match="shutting down"):
        list(finder.track([1], "looking"))
