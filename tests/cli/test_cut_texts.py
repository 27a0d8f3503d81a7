"""Texts that are longer than the model reads are counted wherever they are embedded."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("transformers", reason="needs the [hub] extra")

from diptych.library import Library
from diptych.library.query import CutWarning

LONG = "a red circle " * 20  # the narrow CLIP reads 24 tokens


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    """Ten records of two texts; the second text of four of them is too long, in two of them the same one."""
    lines = []
    for number in range(10):
        Image.fromarray(np.full((30, 40, 3), 20 * number, dtype=np.uint8)).save(tmp_path / f"{number}.png")
        second = f"{LONG} {max(number, 1)}" if number < 4 else f"circle number {number}"
        lines += [{"image": f"{number}.png", "text": text} for text in (f"grey {number}", second)]
    file = tmp_path / "captions.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.mark.parametrize(
    "command",
    [
        "eval SOURCE --bootstrap 0",
        "eval SOURCE --bootstrap 0 --modality text-text",
        "map SOURCE --out OUT/map.html --words 0 --method pca",
        "data mine SOURCE --out OUT/mined.jsonl",
        "index SOURCE --texts --library OUT/library",
    ],
)
def test_a_command_counts_cut_texts(
    command: str, diptych: Any, clip_folder: Path, captions: Path, tmp_path: Path
) -> None:
    words = command.replace("SOURCE", str(captions)).replace("OUT", str(tmp_path)).split()
    code, out, err = diptych(*words, "--model", f"hf:{clip_folder}", "--json")
    assert code == 0, err
    (note,) = [note for note in json.loads(out)["notes"] if note["kind"] == "cut_text"]
    what = f"texts for hf:{clip_folder.resolve()}" if command.startswith("eval") else "texts"
    assert (note["detail"], note["count"]) == (f"{what} cut after 24 tokens", 4)
    assert note["examples"] == ["a red circle a red circle a red circle a..."]


def test_several_models_are_counted_each(
    diptych: Any, clip_folder: Path, open_clip_folder: Path, captions: Path
) -> None:
    addresses = [f"hf:{clip_folder}", f"open_clip:{open_clip_folder}"]  # both read 24 tokens
    code, out, err = diptych("compare", captions, "--model", *addresses, "--bootstrap", 5, "--json")
    assert code == 0, err
    notes = [note for note in json.loads(out)["notes"] if note["kind"] == "cut_text"]
    assert {note["detail"]: note["count"] for note in notes} == {
        f"texts for {address} cut after 24 tokens": 4 for address in addresses
    }


def test_a_query_that_is_cut_is_noted(diptych: Any, clip_folder: Path, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "library"
    Library.create(folder, f"hf:{clip_folder}").index([photos])
    code, out, err = diptych("search", LONG, "--library", folder, "--json")
    (note,) = json.loads(out)["notes"]
    assert (code, note["kind"]) == (0, "cut_text")
    assert "note: words of the query are cut after 24 tokens: the model reads no more of them" in err
    assert "notes" not in json.loads(diptych("search", "red", "--library", folder, "--json")[1])
    with pytest.warns(CutWarning, match="cut after 24 tokens"):
        Library.open(folder).search(f'"red" + "{LONG}"', 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Library.open(folder).search("red", 2)


def test_a_query_that_is_cut_is_noted_over_http(clip_folder: Path, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="serving needs the [serve] extra")
    from starlette.testclient import TestClient

    from diptych.serve.app import create_app
    from diptych.serve.settings import Pressure, ServeSettings

    folder = tmp_path / "library"
    Library.create(folder, f"hf:{clip_folder}").index([photos])
    application = create_app(ServeSettings(pressure=Pressure(decoders=1)), {"photos": folder}, [])
    with TestClient(application, base_url="http://127.0.0.1:8000") as client:
        for text, said in (
            (LONG, ["words of the query are cut after 24 tokens: the model reads no more of them"]),
            ("red", []),
        ):
            answer = client.post("/libraries/photos/search", json={"text": text, "k": 2})
            assert answer.status_code == 200, answer.text
            assert answer.json()["notes"] == said
