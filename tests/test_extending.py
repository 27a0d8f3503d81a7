"""Parts added from outside the package: every file of docs/extending.md, used to the end."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diptych as front_door
from diptych.core import registry
from diptych.core.errors import ConfigError, ModelError
from diptych.data.readers import SourceOptions, open_source

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
BLOCKS = dict(re.findall(r"```(?:python|toml)\n# (\w+\.\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The page's files in the current folder; what is imported from there is forgotten."""
    for name, code in BLOCKS.items():
        (tmp_path / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(registry, "_allowed", set())
    monkeypatch.setattr(registry, "_folders", [])
    registry._load_plugins.cache_clear()
    yield tmp_path
    registry._load_plugins.cache_clear()
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


@pytest.fixture
def plugin(files: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes one of the files an installed plugin: a folder with an entry point on the path."""

    def install(module: str) -> None:
        info = files / "my_parts-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-parts\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[diptych.plugins]\nparts = {module}\n")
        monkeypatch.syspath_prepend(files)
        registry._load_plugins.cache_clear()

    return install


@pytest.fixture
def diptych(capsys: pytest.CaptureFixture[str]):
    """Run a command: exit code, stdout, stderr."""
    from diptych.cli.app import run

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def config(**changes: Any) -> dict[str, Any]:
    """A small config on the fake towers, as a TOML file would say it."""
    side = {"tower": "fake", "head": "linear"}
    training = {"epochs": 2, "batch_size": 20, "precision": "32-true", "tensorboard": False}
    values = {"name": "mine", "dim": 8, "image": side, "text": side, "loss": "info_nce", "training": training}
    return {**values, "data": {"workers": 1}} | changes


def trained(shapes: Path, out: Path, **changes: Any) -> Any:
    """A run with the small config."""
    pytest.importorskip("torch", reason="training needs the [train] extra")
    from diptych.runs import train

    return train({key: value for key, value in config(**changes).items() if value}, str(shapes), out, device="cpu")


def test_every_file_of_the_page_is_used_here() -> None:
    used = Path(__file__).read_text(encoding="utf-8").split("def files", 1)[1]
    assert len(BLOCKS) == 10
    assert all(name.removesuffix(".py") in used for name in BLOCKS), set(BLOCKS)


def test_all_names_are_listed_with_those_of_plugins(plugin: Any, diptych: Any) -> None:
    plugin("my_metric")
    code, out, _ = diptych("models", "parts", "metric", "image_tower")
    assert code == 0
    assert "  timm:NAME_OR_FOLDER              any timm model" in out
    assert "  last                             The place of the last relevant item" in out
    assert json.loads(diptych("models", "parts", "--json")[1])["reader"]["csv"] == "CSV or TSV with a header"
    code, _, err = diptych("models", "parts", "los")
    assert code == 2
    assert "unknown kind of part 'los'" in err


def test_a_loss_trains_by_the_config_of_the_page(files: Path, shapes: Path, diptych: Any) -> None:
    pytest.importorskip("torch", reason="training needs the [train] extra")
    code, out, err = diptych("train", "my_loss.toml", shapes, "--device", "cpu", "--out", "run")
    assert code == 0, err
    assert "model: run/model" in out
    saved = json.loads((files / "run/model/config.json").read_text())["training"]["config"]
    assert saved["loss"] == {"name": "my_loss:Softplus", "margin": 0.1}
    code, _, err = diptych("train", "my_loss.toml", shapes, "--set", "loss.name=my_loss:Sofplus")
    assert code == 2
    assert "cannot import the loss 'my_loss:Sofplus'" in err


def test_a_similarity_is_trained_for_and_searched_with(files: Path, shapes: Path) -> None:
    loss = {"name": "info_nce", "similarity": "my_similarity:manhattan"}
    run = trained(shapes, files / "run", loss=loss)
    importlib.import_module("my_similarity")
    images, texts = np.eye(8, dtype=np.float32)[:2], np.eye(8, dtype=np.float32)[:1]
    assert run.model.similarity(images=images, texts=texts).tolist() == [[0], [-2]]


def test_towers_are_trained_on_and_load_again_where_they_are_registered(files: Path, shapes: Path) -> None:
    image = {"tower": {"name": "my_image_tower:Histogram", "bins": 4}, "head": "linear"}
    text = {"tower": "my_text_tower:Letters", "head": "linear"}
    run = trained(shapes, files / "run", image=image, text=text)
    assert run.model.encode_texts("a red square").shape == (1, 8)
    code = (
        "import sys, diptych; from diptych.core.errors import ModelError; m = diptych.load('run/model')\n"
        "try: m.encode_images(sys.argv[1:])\n"
        "except ModelError as error: print(error)\n"
        "assert not {'my_image_tower', 'my_text_tower'} & set(sys.modules)\n"
        "import my_image_tower\n"
        "print(diptych.load('run/model').encode_images(sys.argv[1:]).shape)\n"
    )
    image_file = next(shapes.parent.glob("red-*.png"))
    command = [sys.executable, "-c", code, str(image_file)]
    refused, shape = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "run/model needs the image tower 'my_image_tower:Histogram', which is not registered here" in refused
    assert shape == "(1, 8)"


@pytest.mark.parametrize("side", ["image", "text"])
def test_a_model_folder_cannot_make_us_import_a_module(files: Path, tiny_model: Any, side: str) -> None:
    folder = tiny_model(files / "model")
    (files / "my_evil.py").write_text("raise SystemExit('imported')")
    about = json.loads((folder / "config.json").read_text())
    about[side]["tower"] = "my_evil:Tower"
    (folder / "config.json").write_text(json.dumps(about))
    sys.path.insert(0, str(files))
    model = front_door.load(folder)
    with pytest.raises(ModelError, match=r"needs the \w+ tower 'my_evil:Tower', which is not registered here; install"):
        getattr(model, f"{side}_tower")
    assert "my_evil" not in sys.modules


def test_a_head_and_a_network_are_trained_and_gone_on_with(
    files: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = {"tower": "fake", "network": "my_head:Gated", "head": {"name": "my_head:Cubic", "share": 0.2}}
    run = trained(shapes, files / "run", image=side, text=side)
    assert run.model.config.image.head.name == "my_head:Cubic"
    embedded = run.model.encode_texts(["a red square"])  # by a graph, which needs no code
    monkeypatch.setattr(registry, "_TABLES", {kind: {} for kind in registry.KINDS})  # as in a new process
    registry._allowed.clear()
    model = front_door.load(run.folder / "model")
    assert model.encode_texts(["a red square"]) == pytest.approx(embedded, abs=1e-6)
    with pytest.raises(ModelError, match="needs the head 'my_head:Cubic', which is not registered here; install"):
        model.torch()
    module = sys.modules["my_head"]
    front_door.register.head("cubic")(module.Cubic)  # as when the module is imported
    front_door.register.network("gated")(module.Gated)
    sides = model.torch()
    found = sides.encode_text(sides.text_inputs(["a red square"])).detach().numpy()
    assert found == pytest.approx(embedded, abs=1e-5)


def test_a_one_step_fit_computes_the_heads(files: Path, shapes: Path) -> None:
    run = trained(shapes, files / "run", loss=None, fit={"name": "my_fit:Ridge", "strength": 0.5})
    assert run.scores["score"] > 0


@pytest.fixture
def album(files: Path, shapes: Path) -> Path:
    (files / "red.png").write_bytes(next(shapes.parent.glob("red-*.png")).read_bytes())
    (files / "holiday.album").write_text("red.png = a red thing\nnothing\n")
    return files / "holiday.album"


def test_a_reader_is_named_after_a_flag(album: Path, diptych: Any) -> None:
    code, _, err = diptych("data", "check", album)
    assert code == 2
    assert "cannot tell what" in err
    code, out, err = diptych("data", "check", album, "--format", "my_reader:read", "--json")
    assert code == 1, err
    assert json.loads(out)["pairs"] == 1


def test_a_reader_of_a_plugin_detects_its_files(album: Path, plugin: Any) -> None:
    plugin("my_reader")
    source = open_source(album)
    assert [(pair.id, pair.texts[0].value) for pair in source] == [("red.png", "a red thing")]
    assert [one.detail for one in source.skipped] == ["expected image = text"]
    with pytest.raises(
        ConfigError, match=r"unknown format 'albun'; choose from album, beir, classes.*did you mean 'album'"
    ):
        open_source(album, SourceOptions(format="albun"))


def test_a_metric_is_in_eval_and_in_compare(
    files: Path, plugin: Any, diptych: Any, shapes: Path, small_model: Path
) -> None:
    arguments = (shapes, "--model", small_model, "--split", "val", "--bootstrap", 0)
    assert diptych("eval", *arguments, "--out", "before.json")[0] == 0
    plugin("my_metric")
    code, out, err = diptych("eval", *arguments)
    assert code == 0, err
    assert "all@5 %" in out
    assert "last (lower is better)" in out
    code, out, _ = diptych("eval", *arguments, "--json")
    metrics = json.loads(out)["text_to_image"]["metrics"]
    assert 0 <= metrics["all@1"]["value"] <= metrics["R@1"]["value"]
    (files / "again.json").write_text((files / "before.json").read_text())
    code, out, err = diptych("compare", "--report", "before.json", "again.json", "--json")
    assert code == 0, err
    assert "text_to_image all@5" in next(iter(json.loads(out)["runs"].values()))


def test_a_generator_and_an_extractor_are_measured(files: Path, diptych: Any, shapes: Path) -> None:
    from diptych.core.registry import allow
    from diptych.inspection.generators import open_extractor, open_generator

    allow(["my_generator:Noise", "my_generator:Thumbnail"], files)
    made = open_generator("my_generator:Noise").generate(["a red square", "a green circle"], seed=1)
    seen = open_extractor("thumbnail").extract(made).features
    assert seen.shape == (2, 12)
    assert seen[0, 0] > seen[0, 1]
    assert seen[1, 1] > seen[1, 0]
    named = ("--generator", "noise", "--features", "thumbnail", "--detector", "mostly")
    code, out, err = diptych("generator", "eval", shapes, *named, "--model", "", "--maps", "", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["extractor"] == "2 x 2 colours"
    assert told["by_class"]["red"]["found"] == 1.0
    code, out, err = diptych("detector", "eval", shapes, "--detector", "my_generator:Mostly", "--json", "--least", 1)
    assert code == 0, err
    assert set(json.loads(out)["classes"]) == {"red", "green", "blue"}


def test_a_generator_after_a_flag_is_imported(files: Path, diptych: Any, shapes: Path) -> None:
    named = ("--generator", "my_generator:Noise", "--features", "my_generator:Thumbnail")
    code, out, err = diptych("generator", "eval", shapes, *named, "--model", "", "--maps", "", "--json")
    assert code == 0, err
    assert json.loads(out)["generator"] == "my_generator:Noise"
