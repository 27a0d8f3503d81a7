"""Every command that takes a model takes the address of a joint model of another library."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="needs the [hub] extra")

from tests.hub_cache import COMMIT, put_in_cache, use_cache
from tests.joint_models import make_clip

import diptych as library_api
from diptych.library import Library, card
from diptych.models import load

COMMANDS = {
    "eval": "eval SOURCE --split val --bootstrap 0",
    "compare": "compare SOURCE --split val --model MODEL base --bootstrap 10",
    "map": "map SOURCE --split val --out OUT/map.html --words 5 --method pca",
    "explain": "explain red IMAGE --out OUT/why.png --grid 2 --window 1",
    "filter": "data filter SOURCE --out OUT/filtered",
    "mine": "data mine SOURCE --out OUT/mined.jsonl",
    "show": "models show MODEL",
    "classify": "classify IMAGE --labels OUT/labels.txt",
    "audit": "generator audit --generator GENERATOR --bootstrap 0 --noises 1",
    "check": "rerank check SOURCE --split val --reranker RERANKER",
}


@pytest.fixture(scope="module")
def st_folder(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The narrow CLIP as sentence-transformers/clip-ViT-B-32 lays one out."""
    folder = tmp_path_factory.mktemp("st")
    shutil.copytree(clip_folder, folder / "0_CLIPModel")
    kind = "sentence_transformers.models.CLIPModel"
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "0_CLIPModel", "type": kind}]))
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_takes_an_address(
    command: str, diptych: Any, clip_folder: Path, shapes: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    line = COMMANDS[command]
    values = {"SOURCE": shapes, "IMAGE": shapes.parent / "red-circle-20.png", "MODEL": f"hf:{clip_folder}"}
    if "RERANKER" in line:
        values["RERANKER"] = shutil.copytree(request.getfixturevalue("cross_encoder_run").model, tmp_path / "reranker")
        fit = "rerank fit SOURCE --split val --reranker RERANKER --model MODEL"  # what check asks for
        assert diptych(*_words(fit, values))[0] == 0
    if "GENERATOR" in line:
        values["GENERATOR"] = request.getfixturevalue("trained_generator").model
    (tmp_path / "labels.txt").write_text("red\nblue\n")
    words = _words(line if "MODEL" in line else f"{line} --model MODEL", values | {"OUT": tmp_path})
    code, _, err = diptych(*words)
    if command == "filter":  # random weights cannot tell right from wrong, which shows that they were asked
        assert (code, "no threshold reaches probability 0.5; the best is 0.3" in err) == (2, True)
    else:
        assert code == 0, err


def _words(line: str, values: dict[str, Any]) -> list[str]:
    for name, value in values.items():
        line = line.replace(name, str(value))
    return line.split()


@pytest.mark.parametrize("source", ["hf", "open_clip", "sentence-transformers"])
def test_a_library_by_each_source_of_models(
    source: str, diptych: Any, photos: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    fixture = {"hf": "clip_folder", "open_clip": "open_clip_folder", "sentence-transformers": "st_folder"}[source]
    address = f"{source}:{request.getfixturevalue(fixture)}"
    folder = tmp_path / "library"
    assert diptych("index", photos, "--library", folder, "--model", address)[0] == 0
    assert card.read(folder).model == load(address).address
    code, out, _ = diptych("search", "a red thing", "--library", folder, "--json", "-k", 2)
    assert (code, len(json.loads(out)["hits"])) == (0, 2)
    assert diptych("search", "red", "--library", folder, "--model", address)[0] == 0
    assert diptych("index", photos, "--library", folder)[0] == 0
    code, out, _ = diptych("eval", photos.parent / "none.csv", "--model", address)
    assert code == 3  # of the source, after the flags were read


def test_another_revision_in_the_cache_is_refused_with_the_command_that_embeds_again(
    diptych: Any, photos: Path, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, folder, newer = use_cache(monkeypatch, tmp_path / "cache"), tmp_path / "library", "b" * 40
    put_in_cache(cache, "org/clip", clip_folder)
    assert diptych("index", photos, "--library", folder, "--model", "hf:org/clip")[0] == 0
    assert card.read(folder).model == f"hf:org/clip@{COMMIT}"
    put_in_cache(cache, "org/clip", make_clip(tmp_path / "other", seed=3), newer)
    assert diptych("search", "red", "--library", folder)[0] == 0  # the revision that made it is still there

    code, _, err = diptych("search", "red", "--library", folder, "--model", "hf:org/clip")
    command = f"diptych library reembed --library {folder} --model hf:org/clip@{newer}"
    assert (code, command in err) == (4, True)

    shutil.rmtree(cache / "models--org--clip" / "snapshots" / COMMIT)
    code, _, err = diptych("search", "red", "--library", folder)
    assert code == 4
    assert f"diptych models get hf:org/clip@{COMMIT}" in err
    assert f"of it are there the revisions {newer}" in err
    assert err.strip().endswith(f"diptych library reembed --library {folder} --model hf:org/clip")
    assert diptych("library", "reembed", "--library", folder, "--model", "hf:org/clip")[0] == 0
    assert card.read(folder).model == f"hf:org/clip@{newer}"
    assert diptych("search", "red", "--library", folder)[0] == 0


def test_a_folder_that_has_other_weights_by_now_is_refused(
    diptych: Any, photos: Path, clip_folder: Path, tmp_path: Path
) -> None:
    model, folder = shutil.copytree(clip_folder, tmp_path / "clip"), tmp_path / "library"
    assert diptych("index", photos, "--library", folder, "--model", f"hf:{model}")[0] == 0
    shutil.copy(make_clip(tmp_path / "other", seed=3) / "model.safetensors", model)
    code, _, err = diptych("index", photos, "--library", folder)
    assert (code, f"diptych library reembed --library {folder} --model hf:{model}" in err) == (4, True)


def test_a_library_is_served_by_its_address(photos: Path, clip_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="serving needs the [serve] extra")
    from diptych.serve.libraries import ServedLibraries
    from diptych.serve.metrics import Metrics
    from diptych.serve.settings import Pressure

    Library.create(tmp_path / "library", f"hf:{clip_folder}").index([photos])
    served = ServedLibraries({"photos": tmp_path / "library"}, [], Pressure(), Metrics())
    assert [embedder.name for embedder in served.embedders] == [f"hf:{clip_folder.resolve()}"]


@pytest.mark.parametrize("start", ["towers", "init"])
def test_training_takes_an_address(
    start: str, diptych: Any, clip_folder: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = use_cache(monkeypatch, tmp_path / "cache")
    put_in_cache(cache, "org/clip", clip_folder)
    config = tmp_path / "config.toml"
    head = 'head = "linear"' if start == "towers" else ""
    top = "dim = 8" if start == "towers" else 'init = "hf:org/clip"'
    config.write_text(
        f"""
        name = "small"
        {top}
        data = {{views = ["full"], workers = 1}}
        image = {{tower = "model:hf:org/clip"{", " if head else ""}{head}}}
        text = {{tower = "hf:org/clip"{", " if head else ""}{head}}}
        loss = {{name = "info_nce"}}
        training = {{epochs = 1, batch_size = 20, learning_rate = 1e-3, precision = "32-true", tensorboard = false}}
        """
    )
    code, _, err = diptych("train", config, shapes, "--out", tmp_path / "run")
    assert code == 0, err
    model = load(tmp_path / "run" / "model")
    assert {model.config.image.tower, model.config.text.tower} == {f"hf:org/clip@{COMMIT}"}
    assert model.config.text.fingerprint == load("hf:org/clip").text_tower.fingerprint
    moved = load(shutil.move(tmp_path / "run" / "model", tmp_path / "moved"))
    assert moved.encode_texts(["red"]).shape == (1, model.dim)


def test_python_takes_an_address(shapes: Path, clip_folder: Path) -> None:
    report = library_api.evaluate(f"hf:{clip_folder}", shapes, split="val")
    assert report.model == f"hf:{clip_folder.resolve()}"
