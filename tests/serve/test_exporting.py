"""Chosen images as a file: tables, and an archive that is sent while it is made."""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
from pathlib import Path

from diptych.library import Library
from diptych.serve.exporting import Part, _Names, archive, table

L = "/libraries/colours"


def rows_of(text: str) -> list[dict[str, str]]:
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text[1:], newline="")))


async def ids_of(client) -> dict[str, str]:
    return {one["name"]: one["id"] for one in (await client.get(f"{L}/items")).json()["items"]}


def test_tables_hold_what_is_known_in_the_order_asked_for(ask, site) -> None:
    async def scenario(client):
        ids = await ids_of(client)
        await client.patch(f"{L}/items/{ids['red.png']}", json={"texts": ["=1+1", "second"], "meta": {"n": -3}})
        asked = [ids["red.png"], "0" * 16, ids["blue.png"]]
        answers = [
            await client.post(f"{L}/items/export", json={"ids": asked, "format": form}) for form in ("csv", "json")
        ]
        none = await client.post(f"{L}/items/export", json={"ids": ["0" * 16]})
        return ids, answers, none

    ids, (as_csv, as_json), none = ask(scenario)
    assert none.status_code == 404
    assert as_csv.headers["content-disposition"] == 'attachment; filename="images.csv"'
    assert as_csv.headers["x-missing"] == "1"
    red, blue = rows_of(as_csv.text)
    assert (red["id"], blue["id"]) == (ids["red.png"], ids["blue.png"])
    assert (red["texts"], red["meta.n"], red["meta.album"]) == ("'=1+1\nsecond", "-3", "even")
    assert blue["meta.n"] == ""
    assert red["path"] == str(site.images / "red.png")
    found = json.loads(as_json.text)
    assert [one["id"] for one in found] == [ids["red.png"], ids["blue.png"]]
    assert found[0]["texts"] == ["=1+1", "second"]


def test_an_archive_has_the_files_and_says_which_it_has_not(ask, site) -> None:
    library = Library.open(site.folder, site.encoder)
    for folder, changed in (("a", "white"), ("b", "green")):
        path = site.folder.parent / folder / "One.PNG"
        path.parent.mkdir()
        path.write_bytes((site.images / f"{changed}.png").read_bytes() + folder.encode())
        library.index(path.parent)
    (site.folder.parent / "gone").mkdir()
    for name, end in (("gone.png", b"g"), ("grown.png", b"h"), ("swapped.png", b"i")):
        (site.folder.parent / "gone" / name).write_bytes((site.images / "red.png").read_bytes() + end)
    library.index(site.folder.parent / "gone")
    (site.folder.parent / "gone" / "gone.png").unlink()
    (site.folder.parent / "gone" / "grown.png").write_bytes(b"x" * 10_000)
    swapped = site.folder.parent / "gone" / "swapped.png"
    swapped.write_bytes(b"z" * swapped.stat().st_size)

    async def scenario(client):
        listed = (await client.get(f"{L}/items")).json()["items"]
        answer = await client.post(f"{L}/items/export", json={"ids": [one["id"] for one in listed], "format": "zip"})
        return listed, answer

    listed, answer = ask(scenario)
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert packed.testzip() is None
        files = {name: packed.read(name) for name in packed.namelist()}
    rows = rows_of(files.pop("images.csv").decode())
    assert [row["id"] for row in rows] == [one["id"] for one in listed]
    assert sorted(row["name"] for row in rows if row["left_out"]) == ["gone.png", "grown.png", "swapped.png"]
    assert {row["file"] for row in rows if row["file"]} == files.keys()
    assert {"One.PNG", "One~2.PNG"} <= files.keys()
    for row in rows:
        if row["file"]:
            assert files[row["file"]] == Path(row["path"]).read_bytes()


def test_an_archive_is_sent_while_it_is_made(site) -> None:
    library = Library.open(site.folder, site.encoder)
    folder = site.folder.parent / "large"
    folder.mkdir()
    for name in ("first.png", "second.png"):
        data = (site.images / "red.png").read_bytes() + os.urandom(700_000)
        (folder / name).write_bytes(data)
    library.index(folder)
    items = sorted(library.items(f"folder = '{folder}'").items, key=lambda one: one.name)
    parts = [Part({"id": one.id, "meta": {}, "photo": {}}, one) for one in items]
    made = archive(parts, library.opened.folder)
    pieces = [next(made)]
    (folder / "second.png").unlink()  # not read yet
    pieces += made
    assert max(map(len, pieces)) <= 1 << 18
    assert len(pieces) >= 4
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as packed:
        assert packed.namelist() == ["first.png", "images.csv"]


def test_where_paths_are_hidden_nothing_of_the_machine_is_exported(ask) -> None:
    async def scenario(client):
        ids = list((await ids_of(client)).values())
        answers = [await client.post(f"{L}/items/export", json={"ids": ids, "format": form}) for form in ("csv", "zip")]
        return answers, (await client.get(L)).json()["features"]

    (as_csv, as_zip), features = ask(scenario, allowed_hosts=("photos.example",))
    assert features["files"] is False
    assert "path" not in rows_of(as_csv.text)[0]
    assert (as_zip.status_code, as_zip.json()["code"]) == (403, "no_files")


def test_names_of_files_are_safe_to_unpack_anywhere() -> None:
    names = _Names("images.csv")
    given = ["../../etc/passwd", "C:\\a\\b.JPG", "b.jpg", "IMAGES.csv", "..", "a<b>.png", "x" * 300 + ".jpeg"]
    assert [names.give(name) for name in given] == [
        "passwd", "b.JPG", "b~2.jpg", "IMAGES~2.csv", "image", "a_b_.png", "x" * 200 + ".jpeg",
    ]  # fmt: skip
    given = ["a\0b.jpg", "a\0c.jpg", "a\nb.jpg", "CON.jpg", "nul", "Console.jpg", "aux", "e\u0301.jpg", "\u00e9.jpg"]
    assert [names.give(name) for name in given] == [
        "a_b.jpg", "a_c.jpg", "a_b~2.jpg", "_CON.jpg", "_nul", "Console.jpg", "_aux", "e\u0301.jpg", "\u00e9~2.jpg",
    ]  # fmt: skip
    given = [
        "\U0001f600" * 60 + "x.jpg",
        "\U0001f600" * 60 + "y.jpg",
        "v1.2 of the great long name",
        "x" * 199 + " .jpg",
    ]
    assert [names.give(name) for name in given] == [
        "\U0001f600" * 50 + ".jpg", "\U0001f600" * 50 + "~2.jpg", "v1.2 of the great long name", "x" * 199 + ".jpg",
    ]  # fmt: skip
    assert [names.give("frame.png") for _ in range(10_000)][-1] == "frame~10000.png"  # in no more than a moment


def test_a_cell_is_never_a_formula() -> None:
    rows = [{"id": "1", "meta": {"a": True}, "photo": {"keywords": ["x", "y"]}, "name": "@cmd"}]
    assert rows_of(table(rows)) == [{"id": "1", "name": "'@cmd", "keywords": "x\ny", "meta.a": "True"}]
