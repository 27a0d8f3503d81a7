"""A disk that fills up under a server: writes are refused and say why, searching goes on, all is well afterwards."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from diptych.library import Library
from diptych.library.maintenance import HARMLESS

from .conftest import Site, encoded

L = "/libraries/colours"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def _fill(file: Path) -> None:
    with file.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(b"x" * 4096)
        except OSError:
            pass


async def _upload(client, mark: int):
    file = ("files", (f"{mark}.png", encoded("red", mark=mark)))
    return await client.post(f"{L}/items", files=[file], data={"meta": '{"mark": 1}'})


async def _found(client) -> list[str]:
    return [hit["id"] for hit in (await client.post(f"{L}/search", json={"text": "red", "k": 100})).json()["hits"]]


def test_a_server_on_a_full_disk(site, small_disk, client_of) -> None:
    import asyncio

    folder = shutil.copytree(site.folder, small_disk / "library")

    async def scenario(client):
        kept = (await _upload(client, 1)).json()["added"][0]["id"]
        _fill(small_disk / "filler")
        writes = [await _upload(client, mark) for mark in range(2, 5)]
        writes.append(await client.patch(f"{L}/items/{kept}", json={"meta": {"mark": 2}}))
        writes.append(await client.delete(f"{L}/items/{kept}"))
        meanwhile = await _found(client), (await client.get("/health")).status_code
        seen = (await client.get(f"{L}/items/{kept}")).json()["meta"], await client.get(f"{L}/items/{kept}/thumbnail")
        (small_disk / "filler").unlink()
        again = [await _upload(client, mark) for mark in range(2, 5)]
        again.append(await client.patch(f"{L}/items/{kept}", json={"meta": {"mark": 3}}))
        return kept, writes, meanwhile, seen, again, await _found(client)

    async def whole():
        async with client_of(Site(folder, site.images, site.encoder).app()) as client:
            return await scenario(client)

    kept, writes, (found, health), (meta, thumbnail), again, afterwards = asyncio.run(whole())
    assert [one.status_code for one in writes] == [507] * len(writes)
    for one in writes:
        told = one.json()
        assert told["code"] == "disk_full"
        assert "room" in told["hint"]
        assert str(folder) not in one.text
    assert kept in found
    assert len(found) == 7
    assert (health, meta["mark"], thumbnail.status_code) == (200, 1, 200)
    assert [one.status_code for one in again] == [200] * len(again)
    assert again[-1].json()["meta"]["mark"] == 3
    assert len(afterwards) == 10
    library = Library.open(folder, site.encoder)
    assert len(library) == 10
    assert set(library.verify().kinds) <= HARMLESS
