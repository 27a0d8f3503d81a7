"""`diptych mcp` as an assistant starts it: a real process, a real client session over stdio."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="needs the [mcp] extra")

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from diptych.cli.app import run
from diptych.library import Library


@pytest.fixture
def library(tmp_path, small_model: Path, shapes: Path) -> Path:
    folder = tmp_path / "shapes.library"
    assert run(["index", str(shapes), "--library", str(folder), "--model", str(small_model), "--quiet"]) == 0
    return folder


def session(library: Path, scenario: Any, *arguments: str) -> Any:
    """Run a scenario with a client that talks to a real server process."""
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "diptych", "mcp", "--library", str(library), *arguments],
        env=dict(os.environ),
    )

    async def whole() -> Any:
        async with Client(stdio_client(command)) as client:
            return await scenario(client)

    return asyncio.run(asyncio.wait_for(whole(), 120))


def told(result: Any) -> list[Any]:
    """The texts of a tool's answer, as JSON."""
    assert not result.is_error, result
    return [json.loads(part.text) for part in result.content if part.type == "text"]


def test_an_assistant_can_describe_search_and_look(library) -> None:
    async def scenario(client):
        tools = await client.list_tools()
        described = await client.call_tool("describe_library", {})
        found = await client.call_tool("search", {"text": "a red circle", "k": 3, "where": "split = 'train'"})
        first = told(found)
        first = first[0] if isinstance(first[0], dict) else first[0][0]
        like = await client.call_tool("search", {"like": first["id"], "k": 2})
        why = await client.call_tool("why", {"id": first["id"], "text": "a red circle"})
        return tools, described, first, like, await client.call_tool("look", {"id": first["id"]}), why

    tools, described, first, like, look, why = session(library, scenario)
    assert {tool.name for tool in tools.tools} == {"describe_library", "search", "look", "why"}
    assert [one["word"] for one in told(why)[0]["words"]] == ["a", "red", "circle"]
    assert [part.mime_type for part in why.content if part.type == "image"] == ["image/png"]
    assert all(tool.description for tool in tools.tools)
    assert told(described)[0]["images"] == 45
    assert first["split"] == "train"
    assert len(first["texts"]) == 3
    assert first["id"] not in json.dumps(told(like))
    (image,) = [part for part in look.content if part.type == "image"]
    assert base64.b64decode(image.data).startswith(b"\xff\xd8")


def test_mistakes_are_told_and_the_session_goes_on(library) -> None:
    async def scenario(client):
        bad = [
            await client.call_tool("search", {}),
            await client.call_tool("search", {"text": "x", "k": 1000}),
            await client.call_tool("search", {"text": "x", "where": "no such thing"}),
            await client.call_tool("look", {"id": "nothing"}),
        ]
        none = await client.call_tool("search", {"text": "x", "where": "width > 9000"})
        assert "0 of " in none.content[0].text
        return bad, await client.call_tool("search", {"text": '"red" + /etc/passwd', "k": 1})

    bad, good = session(library, scenario)
    assert all(one.is_error for one in bad)
    assert "columns" in bad[2].content[0].text
    assert not good.is_error


def test_adding_is_only_from_where_it_is_allowed(library, shapes, tmp_path) -> None:
    from PIL import Image

    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        Image.new("RGB", (30, 20), "purple").save(folder / "new.png")
    (inside / "link.png").symlink_to(outside / "new.png")

    async def scenario(client):
        return [
            await client.call_tool("add", {"path": str(path)})
            for path in (
                outside / "new.png",
                inside / ".." / "outside" / "new.png",
                inside / "link.png",
                inside / "new.png",
            )
        ]

    *refused, added = session(library, scenario, "--allow", str(inside))
    assert all(one.is_error for one in refused)
    assert told(added)[0]["added"] == 1
    assert len(Library.open(library)) == 46
