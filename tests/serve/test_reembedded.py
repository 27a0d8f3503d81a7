"""A library that is re-embedded while it is served: the server follows, no request fails, none sees half of it."""

from __future__ import annotations

import asyncio

import pytest

from diptych.library import Library
from diptych.serve.app import create_app
from diptych.serve.settings import Pressure, ServeSettings

from .conftest import MOSAIC

S = "/libraries/colours/search"


def application(site, load):
    settings = ServeSettings(pressure=Pressure(decoders=1))
    return create_app(settings, {"colours": site.folder}, [site.encoder], load=load)


async def until(client, condition) -> None:
    for _ in range(400):
        if condition((await client.get("/libraries/colours")).json()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never happened")


def test_the_new_model_takes_over_while_searches_and_writes_go_on(site, client_of, image) -> None:
    other = MOSAIC.MosaicEncoder("other", seed=1)
    loaded: list[str] = []

    def load(name: str):
        loaded.append(name)
        return other

    async def scenario() -> None:
        app = application(site, load)
        async with client_of(app) as client:
            statuses: set[int] = set()
            seen: set[tuple[str, float]] = set()
            done = asyncio.Event()

            async def keep_searching() -> None:
                while not done.is_set():
                    answer = await client.post(S, json={"text": "red", "k": 1})
                    statuses.add(answer.status_code)
                    hit = answer.json()["hits"][0]
                    seen.add((hit["name"], round(hit["score"], 2)))
                    await asyncio.sleep(0.002)

            searching = asyncio.create_task(keep_searching())
            before = (await client.get("/libraries/colours")).json()
            library = Library.open(site.folder, site.encoder)
            await asyncio.to_thread(library.reembed, other)
            await until(client, lambda told: told["model"] == "other")
            files = {"files": ("new.png", image("blue", mark=3))}
            added = await client.post("/libraries/colours/items", files=files)
            done.set()
            await searching
            assert statuses == {200}
            assert {name for name, _ in seen} == {"red.png"}
            assert added.json()["created"] == 1, added.text
            after = (await client.get("/libraries/colours")).json()
            assert (before["model"], after["model"], after["images"]) == ("mosaic", "other", 7)
            assert loaded == ["other"]
            models = [one["id"] for one in (await client.get("/v1/models")).json()["data"]]
            assert models == ["other"]
            found = await client.post(S, json={"image": {"data": uri(image("blue", mark=3))}, "k": 1})
            assert found.json()["hits"][0]["id"] == added.json()["added"][0]["id"]
            assert found.json()["hits"][0]["score"] == pytest.approx(1, abs=1e-4)
            deleted = await client.delete(f"/libraries/colours/items/{added.json()['added'][0]['id']}")
            assert deleted.json()["deleted"] == 1

    asyncio.run(scenario())
    opened = Library.open(site.folder, other)
    assert len(opened) == 6
    assert opened.verify().problems == ()


def uri(data: bytes) -> str:
    import base64

    return "data:image/png;base64," + base64.b64encode(data).decode()


def test_a_model_that_cannot_be_loaded_leaves_the_old_one_searching(site, client_of, image, caplog) -> None:
    other = MOSAIC.MosaicEncoder("other", seed=1)
    tries: list[str] = []

    def load(name: str):
        tries.append(name)
        raise RuntimeError("no such model here")

    async def scenario() -> None:
        async with client_of(application(site, load)) as client:
            Library.open(site.folder, site.encoder).reembed(other)
            for _ in range(20):
                answer = await client.post(S, json={"text": "red", "k": 1})
                assert answer.json()["hits"][0]["name"] == "red.png"
                await asyncio.sleep(0.005)
            write = await client.post("/libraries/colours/items", files={"files": ("a.png", image("red", mark=2))})
            assert write.status_code == 503
            assert "Retry-After" in write.headers

    asyncio.run(scenario())
    assert tries == ["other"], "not with every request"
    assert "cannot be opened" in caplog.text


def test_a_card_that_was_only_touched_changes_nothing(site, client_of) -> None:
    async def scenario() -> None:
        app = application(site, None)
        async with client_of(app) as client:
            served = app.service.libraries.get("colours")
            (site.folder / "library.json").touch()
            answer = await client.post(S, json={"text": "red", "k": 1})
            assert answer.status_code == 200
            assert app.service.libraries.get("colours") is served

    asyncio.run(scenario())


def test_a_library_of_an_earlier_model_is_shown_and_searched_again_once_it_is_reembedded(
    site, client_of, image
) -> None:
    former = MOSAIC.MosaicEncoder(site.encoder.name, seed=1)  # what was called so then
    Library.open(site.folder, site.encoder).reembed(former)
    settings = ServeSettings(pressure=Pressure(decoders=1))
    app = create_app(settings, {"colours": site.folder}, load=lambda name: site.encoder)

    async def scenario() -> None:
        async with client_of(app) as client:
            (told,) = (await client.get("/libraries")).json()["libraries"]
            assert (told["images"], told["model"], told["features"]["explain"]) == (6, "mosaic", False)
            items = (await client.get("/libraries/colours/items")).json()["items"]
            assert len(items) == 6
            like = await client.post(S, json={"image": {"id": items[0]["id"]}, "k": 1})
            assert (like.status_code, len(like.json()["hits"])) == (200, 1)
            sent = {"image": {"data": uri(image("blue"))}}
            for asked in ({"text": "red"}, sent, {"terms": [{"text": "red"}]}):
                refused = await client.post(S, json=asked)
                assert (refused.status_code, refused.json()["code"]) == (409, "other_model")
                assert "earlier 'mosaic'" in refused.json()["message"]
                assert "diptych library reembed" in refused.json()["hint"]
            added = await client.post("/libraries/colours/items", files={"files": ("new.png", image("blue", mark=3))})
            assert added.json()["added"][0]["error"]["code"] == "other_model"
            await asyncio.to_thread(Library.open(site.folder).reembed, site.encoder)
            await until(client, lambda told: told["features"]["explain"])
            found = (await client.post(S, json={"text": "red", "k": 1})).json()
            assert found["hits"][0]["name"] == "red.png"

    asyncio.run(scenario())
