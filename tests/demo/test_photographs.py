"""The demo on a folder of photographs, run as a user does."""

from __future__ import annotations

import json
import shlex
import shutil
import webbrowser
from pathlib import Path
from typing import Any

import pytest

from diptych.cli import demo as command
from diptych.cli.app import run
from diptych.demo import is_of_photographs
from diptych.demo import photographs as work

from ..conftest import draw_shape


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("album") / "my photos"
    for colour in ("red", "green", "blue", "yellow", "black"):
        draw_shape(folder / "shapes" / f"{colour}.png", colour, "circle", 40)
    shutil.copy(folder / "shapes" / "red.png", folder / "copy.png")
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


def shown(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    assert run([*map(str, arguments), "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


def test_each_step_names_a_command_that_does_the_same(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "is_installed", lambda name: False)
    told = shown(capsys, "demo", photos, "--folder", tmp_path / "demo", "--json")
    assert (told["photographs"], told["left"]) == (6, 0)
    assert (tmp_path / "demo" / "found.png").is_file()
    by_title = {step["title"]: step for step in told["steps"]}
    assert len(by_title) == len(told["steps"]) >= 6
    assert all(step["seconds"] > 0 for step in told["steps"])
    assert "skipped: 1 not-an-image" in " ".join(by_title[f"Index {photos}"]["lines"]).replace("_", "-")
    words = by_title.pop("Read the words in images")
    assert words["lines"] == ["not done: it needs pip install 'diptych[ocr]'"]
    copies = by_title["Look for copies"]["lines"]
    assert "1 group of copies" in copies[0]
    assert "the same bytes" in copies[1]
    for step in by_title.values():
        found = shown(capsys, *shlex.split(step["command"])[1:], "--json")
        if "--image" in step["command"]:
            named = [Path(hit["path"]).name for hit in found["hits"]]
            first = step["lines"][0].partition(" -> ")[2].split(", ")[0]
            assert named.index(first) == 1  # behind the image itself
        if step["command"].startswith("diptych index"):
            assert (found["unchanged"], found["added"]) == (6, 0)


def test_of_many_some_are_taken_and_the_others_said(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = shown(capsys, "demo", photos, "--folder", tmp_path / "demo", "--photographs", "3", "--json")
    assert told["photographs"] <= 3
    assert told["left"] == 4
    assert "the other 4 are left for the command" in " ".join(told["steps"][0]["lines"])


@pytest.mark.parametrize("reads", ["here", "below"])
def test_the_results_do_not_go_among_the_photographs(
    photos: Path, reads: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = photos if reads == "here" else photos / "demo"
    assert run(["demo", str(photos), "--folder", str(folder)]) == 2
    assert "lies inside of the photographs" in capsys.readouterr().err
    assert not (photos / "demo").exists()


def test_photographs_that_cannot_be_read_end_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "album"
    folder.mkdir()
    (folder / "broken.jpg").write_bytes(b"no image")
    assert run(["demo", str(folder), "--folder", str(tmp_path / "demo"), "--quiet"]) == 3
    assert "none of the images in" in capsys.readouterr().err


def test_what_a_folder_of_photographs_is(photos: Path, shapes: Path, tmp_path: Path) -> None:
    assert is_of_photographs(str(photos))
    assert not is_of_photographs(str(shapes))  # a file
    assert not is_of_photographs(str(shapes.parent))  # with captions
    for name in ("cats/a.png", "dogs/b.png"):
        draw_shape(tmp_path / name, "red", "circle", 20)
    assert is_of_photographs(str(tmp_path))  # albums look like classes
    (tmp_path / "c.png").write_bytes((tmp_path / "cats" / "a.png").read_bytes())
    (tmp_path / "c.txt").write_text("a red circle")
    assert not is_of_photographs(str(tmp_path))


@pytest.mark.parametrize(("display", "flags", "opened"), [(":0", [], 1), (":0", ["--no-open"], 0), ("", [], 0)])
def test_it_ends_by_serving_and_opens_the_page_where_there_is_a_screen(
    display: str,
    flags: list[str],
    opened: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("fastapi")
    from diptych.serve import run as running

    pages: list[str] = []
    monkeypatch.setattr(command.sys, "platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.setattr(webbrowser, "open", pages.append)
    monkeypatch.setattr(running, "serve", lambda application, settings, ready: ready("http://127.0.0.1:8123"))
    monkeypatch.setattr(command, "_in_background", lambda work, *given: work(*given))
    result = work.PhotoResult(tmp_path, 3, 0, tmp_path / "library", tmp_path / "found.png", "a dog", ())
    from diptych.library import Library

    Library.create(result.library, "base")
    monkeypatch.setattr("diptych.demo.is_of_photographs", lambda source: True)
    monkeypatch.setattr("diptych.demo.run_on_photographs", lambda *given, **more: result)
    assert run(["demo", "album", "--serve", *flags, "--folder", str(tmp_path)]) == 0
    assert pages == ["http://127.0.0.1:8123/#q=a+dog"] * opened
    assert "open http://127.0.0.1:8123" in capsys.readouterr().out


def test_serving_is_not_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--serve", "--json", "--folder", str(tmp_path)]) == 2
    assert "leave one out" in capsys.readouterr().err
