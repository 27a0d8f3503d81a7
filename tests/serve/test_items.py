"""Listing, looking, adding, describing, deleting and taking back, over HTTP and on disk."""

from __future__ import annotations

import io
import json
import stat
from importlib.resources import files

import PIL.Image
import pytest

from diptych.library import Library
from diptych.library.store.rows import PHOTO_COLUMNS

L = "/libraries/colours"


async def upload(client, *files, **data):
    return await client.post(f"{L}/items", files=[("files", file) for file in files], data=data)


def test_libraries_and_their_columns_are_told(ask, site) -> None:
    async def scenario(client):
        return (await client.get("/libraries")).json(), (await client.get(L)).json()

    listed, one = ask(scenario)
    assert listed["libraries"] == [{key: value for key, value in one.items() if key != "columns"}]
    assert (one["images"], one["model"], one["dim"], one["features"]["write"]) == (6, "mosaic", 16, True)
    assert one["columns"]["year"] == "number"


def test_pages_go_through_everything_once(ask) -> None:
    async def scenario(client):
        found, after = [], None
        while True:
            query = {"limit": "4"} | ({"after": after} if after else {})
            page = (await client.get(f"{L}/items", params=query)).json()
            found += [item["id"] for item in page["items"]]
            assert page["total"] == 6
            after = page["next"]
            if after is None:
                return found

    found = ask(scenario)
    assert found == sorted(set(found))
    assert len(found) == 6


def test_pages_can_be_filtered(ask) -> None:
    async def scenario(client):
        first = (await client.get(f"{L}/items", params={"limit": "2", "where": "album = 'odd'"})).json()
        rest = await client.get(f"{L}/items", params={"where": "album = 'odd'", "after": first["next"]})
        return first, rest.json()

    first, rest = ask(scenario)
    names = {item["name"] for item in first["items"] + rest["items"]}
    assert names == {"white.png", "green.png", "yellow.png"}
    assert (first["total"], rest["next"]) == (3, None)


def test_facets_count(ask) -> None:
    async def scenario(client):
        return (await client.get(f"{L}/facets", params={"column": "album"})).json()

    assert sorted((one["value"], one["count"]) for one in ask(scenario)["values"]) == [("even", 3), ("odd", 3)]


def test_facets_and_filters_of_a_key_in_another_script(ask) -> None:
    async def scenario(client):
        first = (await client.get(f"{L}/items", params={"limit": "1"})).json()["items"][0]["id"]
        await client.patch(f"{L}/items/{first}", json={"meta": {"颜色": "红", "大小": "大"}})
        facets = (await client.get(f"{L}/facets", params={"column": "颜色"})).json()
        found = (await client.get(f"{L}/items", params={"where": "颜色 = '红'"})).json()
        return first, facets, found

    first, facets, found = ask(scenario)
    assert (facets["column"], facets["values"]) == ("颜色", [{"value": "红", "count": 1}])
    assert [item["id"] for item in found["items"]] == [first]


def test_an_upload_is_found_at_once_and_still_there_after_a_restart(ask, site, image) -> None:
    data = image((200, 0, 200))

    async def add(client):
        added = await upload(client, ("../../evil name.png", data), meta='{"album": "new"}', texts='["a purple thing"]')
        found = await client.post(f"{L}/search/image", files={"file": ("x", data)}, data={"k": "1"})
        return added.json(), found.json()["hits"][0]

    added, hit = ask(add)
    assert (added["created"], added["failed"]) == (1, 0)
    assert hit["id"] == added["added"][0]["id"]
    assert hit["name"] == "../../evil name.png", "what the sender called it is only text"
    assert hit["meta"]["album"] == "new"
    assert hit["texts"] == ["a purple thing"]
    stored = [path for path in (site.folder / "files").rglob("*") if path.is_file()]
    assert len(stored) == 1
    assert stored[0].read_bytes() == data
    assert stored[0].parent.parent == site.folder / "files", "the name on disk is the server's own"

    async def again(client):
        return await client.get(f"{L}/items/{hit['id']}")

    assert ask(again).json()["name"] == "../../evil name.png"
    assert Library.open(site.folder).verify().problems == ()


def test_the_same_upload_again_keeps_its_id(ask, image) -> None:
    async def scenario(client):
        return [(await upload(client, ("a.png", image("red", mark=1)))).json()["added"][0] for _ in range(2)]

    first, second = ask(scenario)
    assert first["id"] == second["id"]
    assert (first["created"], second["created"]) == (True, False)


def test_one_bad_image_harms_no_other(ask, image) -> None:
    files = [("good.png", image("red", mark=7)), ("bad.jpg", b"<svg/>"), ("cut.png", image("blue", mark=8)[:-20])]

    async def scenario(client):
        return (await upload(client, *files)).json(), (await client.get("/libraries")).json()

    added, listed = ask(scenario)
    assert [one["error"] and one["error"]["code"] for one in added["added"]] == [None, "not_an_image", "truncated"]
    assert (added["created"], added["failed"]) == (1, 2)
    assert listed["libraries"][0]["images"] == 7


def test_describing_sets_and_drops_keys(ask, site) -> None:
    async def scenario(client):
        (item,) = (await client.get(f"{L}/items", params={"where": "name = 'red.png'"})).json()["items"]
        path = f"{L}/items/{item['id']}"
        patched = await client.patch(path, json={"meta": {"year": None, "mood": "warm"}, "texts": ["rot"]})
        found = await client.post(f"{L}/search", json={"text": "red", "filter": [{"column": "mood", "value": "warm"}]})
        return patched.json(), found.json()["hits"]

    patched, hits = ask(scenario)
    assert (patched["meta"], patched["texts"]) == ({"album": "even", "mood": "warm"}, ["rot"])
    assert [hit["name"] for hit in hits] == ["red.png"]


def test_a_deletion_is_durable_and_can_be_taken_back(ask, site) -> None:
    async def scenario(client):
        (item,) = (await client.get(f"{L}/items", params={"where": "name = 'red.png'"})).json()["items"]
        path = f"{L}/items/{item['id']}"
        gone = (await client.delete(path)).json()
        missing = (await client.get(path)).status_code
        on_disk = len(Library.open(site.folder))
        back = (await client.post(f"{L}/undo", json={"token": gone["undo"]})).json()
        twice = (await client.post(f"{L}/undo", json={"token": gone["undo"]})).json()
        return item, gone, missing, on_disk, back, (await client.get(path)).json(), twice["code"]

    item, gone, missing, on_disk, back, again, twice = ask(scenario)
    assert (gone["deleted"], missing, on_disk) == (1, 404, 5)
    assert back == {"restored": 1}
    assert again == item
    assert twice == "cannot_undo"


def test_a_deletion_can_be_taken_back_after_a_restart_until_it_is_purged(ask, site, image) -> None:
    async def delete(client):
        identifier = (await upload(client, ("a.png", image((1, 2, 3))))).json()["added"][0]["id"]
        return (await client.delete(f"{L}/items/{identifier}")).json()["undo"]

    async def undo(client):
        return await client.post(f"{L}/undo", json={"token": token})

    token = ask(delete)
    assert ask(undo).json() == {"restored": 1}
    token = ask(delete)
    Library.open(site.folder).purge(0)
    assert ask(undo).json()["code"] == "cannot_undo"
    assert not [path for path in (site.folder / "files").rglob("*") if path.is_file()]


def test_deleting_by_filter_needs_a_filter(ask) -> None:
    async def scenario(client):
        nothing = await client.post(f"{L}/items/delete", json={})
        odd = await client.post(f"{L}/items/delete", json={"filter": [{"column": "album", "value": "odd"}]})
        return nothing, odd.json(), (await client.get("/libraries")).json()["libraries"][0]["images"]

    nothing, odd, left = ask(scenario)
    assert nothing.status_code == 422
    assert (odd["deleted"], left) == (3, 3)


def test_read_only_means_it(ask, image) -> None:
    async def scenario(client):
        identifier = (await client.get(f"{L}/items")).json()["items"][0]["id"]
        return [
            await upload(client, ("a.png", image("red"))),
            await client.delete(f"{L}/items/{identifier}"),
            await client.patch(f"{L}/items/{identifier}", json={"meta": {"a": 1}}),
            await client.post(f"{L}/items/delete", json={"where": "year > 0"}),
            await client.post(f"{L}/undo", json={"token": "x"}),
        ]

    assert [(one.status_code, one.json()["code"]) for one in ask(scenario, read_only=True)] == [(403, "read_only")] * 5


def test_thumbnail_and_preview_are_fresh_jpegs(ask, site) -> None:
    async def scenario(client):
        identifier = (await client.get(f"{L}/items")).json()["items"][0]["id"]
        small, large = [await client.get(f"{L}/items/{identifier}/{kind}") for kind in ("thumbnail", "preview")]
        again = await client.get(f"{L}/items/{identifier}/preview", headers={"If-None-Match": large.headers["etag"]})
        return small, large, again

    small, large, again = ask(scenario)
    for answer in (small, large):
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert PIL.Image.open(io.BytesIO(answer.content)).format == "JPEG"
    assert (again.status_code, again.content) == (304, b"")


def test_a_polyglot_leaves_its_script_behind(ask, image) -> None:
    data = image("red", "GIF") + b"<script>alert(1)</script>"

    async def scenario(client):
        identifier = (await upload(client, ("x.html", data))).json()["added"][0]["id"]
        return [await client.get(f"{L}/items/{identifier}/{kind}") for kind in ("thumbnail", "preview")]

    for answer in ask(scenario):
        assert answer.status_code == 200
        assert b"script" not in answer.content


@pytest.mark.parametrize("meta", ["[]", "{", '{"a": {}}', '{"a": "' + "x" * 1001 + '"}', "{" * 5000])
def test_odd_metadata_is_refused(ask, image, meta) -> None:
    async def scenario(client):
        return await upload(client, ("a.png", image("red")), meta=meta)

    assert ask(scenario).status_code == 422


def test_another_writer_is_waited_for_politely(ask, site, image) -> None:
    from diptych.library.store import lock

    async def scenario(client):
        with lock.writer(site.folder):
            busy = await upload(client, ("a.png", image("red", mark=3)))
        return busy, await upload(client, ("a.png", image("red", mark=3)))

    busy, free = ask(scenario)
    assert (busy.status_code, busy.json()["code"]) == (503, "library_busy")
    assert "retry-after" in busy.headers
    assert free.json()["created"] == 1


def test_a_write_elsewhere_is_seen(ask, site) -> None:
    import asyncio

    async def scenario(client):
        Library.open(site.folder, site.encoder).remove([site.images / "red.png"])
        for _ in range(50):
            await asyncio.sleep(0.1)
            if (await client.get("/libraries")).json()["libraries"][0]["images"] == 5:
                return True
        return False

    assert ask(scenario)


def test_a_full_disk_is_a_507_without_paths(ask, site, image, monkeypatch) -> None:
    from diptych.library import uploads

    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    async def scenario(client):
        monkeypatch.setattr(uploads, "write_bytes", full)
        failed = await upload(client, ("a.png", image("red", mark=9)))
        monkeypatch.undo()
        return failed, await upload(client, ("a.png", image("red", mark=9)))

    failed, worked = ask(scenario)
    assert failed.status_code == 507
    assert failed.json()["code"] == "disk_full"
    assert str(site.folder) not in failed.text
    assert worked.json()["created"] == 1


def test_uploads_are_ordinary_files(ask, site, image) -> None:
    async def scenario(client):
        return await upload(client, ("a.sh", image("red", mark=4)))

    ask(scenario)
    (file,) = [path for path in (site.folder / "files").rglob("*") if path.is_file()]
    assert not file.stat().st_mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    assert json.loads((site.folder / "library.json").read_text())["model"] == "mosaic"


def test_what_an_uploaded_photo_says_is_kept_told_and_filtered(ask) -> None:
    exif = PIL.Image.Exif()
    exif.update({0x0110: "Canon EOS R5", 0x4746: 99})
    exif.get_ifd(0x8769).update({0x9003: "2024:05:01 14:30:05"})
    exif.get_ifd(0x8825).update({1: "N", 2: (35.0, 0.0, 0.0), 3: "E", 4: (25.0, 0.0, 0.0)})
    stream = io.BytesIO()
    PIL.Image.new("RGB", (40, 30), "teal").save(stream, "JPEG", exif=exif)

    async def scenario(client):
        (added,) = (await upload(client, ("photo.jpg", stream.getvalue()))).json()["added"]
        where = {"where": "taken = '2024-05-01' AND camera LIKE 'Canon%' AND latitude < 40"}
        found = (await client.get(f"{L}/items", params=where)).json()["items"]
        return added, found, (await client.get(f"{L}/items/{added['id']}")).json()

    added, found, item = ask(scenario)
    assert added["left_out"] == ["a rating other than -1 to 5"]
    assert [one["id"] for one in found] == [added["id"]]
    assert (item["photo"]["taken"], item["photo"]["camera"]) == ("2024-05-01T14:30:05", "Canon EOS R5")


def test_a_place_is_asked_for_and_a_server_that_tells_no_places_refuses_every_way(ask) -> None:
    exif = PIL.Image.Exif()
    exif.get_ifd(0x8825).update({1: "N", 2: (35.0, 0.0, 0.0), 3: "E", 4: (25.0, 0.0, 0.0)})
    stream = io.BytesIO()
    PIL.Image.new("RGB", (40, 30), "teal").save(stream, "JPEG", exif=exif)
    near = {"latitude": 35.01, "longitude": 25, "km": 2}

    async def found(client):
        await upload(client, ("photo.jpg", stream.getvalue()))
        listed = (await client.get(f"{L}/items", params={"near": "35.01,25"})).json()
        none = (await client.get(f"{L}/items", params={"near": "35.01,25", "km": 1})).json()
        wrong = await client.get(f"{L}/items", params={"near": "35.01"})
        answer = (await client.post(f"{L}/search", json={"text": "red", "near": near})).json()
        return listed, none, wrong, answer, (await client.post(f"{L}/items/delete", json={"near": near})).json()

    listed, none, wrong, answer, deleted = ask(found)
    told = "images without coordinates, which are not found by a place: 6"
    assert ([one["name"] for one in listed["items"]], listed["notes"]) == (["photo.jpg"], [told])
    assert (none["total"], wrong.status_code, wrong.json()["code"]) == (0, 422, "bad_filter")
    assert ([one["name"] for one in answer["hits"]], answer["notes"], deleted["deleted"]) == (["photo.jpg"], [told], 1)

    async def refused(client):
        await upload(client, ("photo.jpg", stream.getvalue()))
        asked = ["latitude < 40", "width > PHOTO_LONGITUDE", "folder = 'images'", "path LIKE '/%'", "meta LIKE '%35%'"]
        return (
            (await client.get(L)).json()["columns"],
            [await client.get(f"{L}/items", params={"where": where}) for where in asked]
            + [
                await client.get(f"{L}/items", params={"near": "35.01,25"}),
                await client.get(f"{L}/facets", params={"column": "meta"}),
                await client.post(f"{L}/search", json={"text": "red", "near": near}),
                await client.post(f"{L}/search", json={"text": "red", "filter": [{"column": "source", "value": "a"}]}),
                await client.post(f"{L}/search/image", files={"file": stream.getvalue()}, data={"near": "35.01,25"}),
                await client.post(f"{L}/items/delete", json={"where": "latitude < 40"}),
            ],
        )

    columns, answers = ask(refused, allowed_hosts=("photos.example",))
    assert {(one.status_code, one.json()["code"]) for one in answers} == {(422, "bad_filter")}
    assert not {"path", "folder", "source", "meta", "PHOTO_LATITUDE", "PHOTO_LONGITUDE"} & columns.keys()
    assert not any("PHOTO_LATITUDE" in one.json()["hint"] for one in answers)


def test_items_and_hits_come_in_order_of_date_or_pixels(ask) -> None:
    def photo(taken, size):
        exif = PIL.Image.Exif()
        exif.get_ifd(0x8769).update({0x9003: taken})
        stream = io.BytesIO()
        PIL.Image.new("RGB", size, "teal").save(stream, "JPEG", exif=exif)
        return stream.getvalue()

    async def scenario(client):
        await upload(client, ("old.jpg", photo("1969:05:01 14:30:05", (30, 30))))
        await upload(client, ("new.jpg", photo("2024:05:01 14:30:05", (90, 60))))
        first = (await client.get(f"{L}/items", params={"sort": "taken", "limit": 2})).json()
        rest = (await client.get(f"{L}/items", params={"sort": "taken", "after": first["next"]})).json()
        hits = (await client.post(f"{L}/search", json={"text": "red", "sort": "taken", "k": 8})).json()
        large = (await client.post(f"{L}/search", json={"text": "red", "sort": "size", "k": 8})).json()
        own = {"image": {"id": first["items"][0]["id"]}, "sort": "taken", "k": 3}
        like = (await client.post(f"{L}/search", json=own)).json()
        wrong = await client.get(f"{L}/items", params={"sort": "taken", "after": first["items"][0]["id"]})
        return first, rest, hits, large, like, wrong, (await client.get(f"{L}/dates")).json()

    first, rest, hits, large, like, wrong, dates = ask(scenario)
    assert [one["name"] for one in first["items"]] == ["new.jpg", "old.jpg"]
    assert (len(rest["items"]), rest["next"]) == (6, None)
    assert rest["notes"] == ["6 of 8 images say no date and come last"]
    assert [(one["rank"], one["name"]) for one in hits["hits"][:2]] == [(1, "new.jpg"), (2, "old.jpg")]
    assert hits["hits"][0]["meta"]["PHOTO_TAKEN"] == "2024-05-01T14:30:05"
    assert hits["notes"] == ["6 of the 8 found say no date and come last"]
    assert large["hits"][0]["name"] == "new.jpg"
    assert len(like["hits"]) == 3
    assert "new.jpg" not in [one["name"] for one in like["hits"]]
    assert (wrong.status_code, wrong.json()["code"]) == (422, "bad_request")
    assert dates == {"months": [{"month": "1969-05", "count": 1}, {"month": "2024-05", "count": 1}], "undated": 6}


def test_the_page_has_words_for_what_photos_say() -> None:
    filters = (files("diptych.serve") / "static" / "filters.js").read_text(encoding="utf-8")
    assert [name for name in PHOTO_COLUMNS if f'{name}: "photo: ' not in filters] == []
