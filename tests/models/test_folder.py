"""The model folder: what config.json holds, and how damage is told."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diptych
from diptych.core.config import Part, from_dict, to_dict
from diptych.core.errors import ModelError
from diptych.core.protocols import Preprocess
from diptych.models import DualEncoder
from diptych.models import folder as files
from diptych.models.folder import ModelConfig, SideConfig, read_config, verify

CONFIG = ModelConfig(
    name="m",
    dim=4,
    image=SideConfig(
        "bundled", 8, Part("mlp", {"hidden": 3}), source="efficientnet-lite0", preprocess=Preprocess(size=8)
    ),
    text=SideConfig("use", 6, Part("linear"), fingerprint="abc"),
    files={"model.safetensors": "1", "image_head.onnx": "2"},
    training={"validation": {"score": 1.5}},
    licence="CC0-1.0",
)


def test_to_json_and_back() -> None:
    assert from_dict(ModelConfig, json.loads(json.dumps(to_dict(CONFIG)))) == CONFIG


def changed(**changes: Any) -> ModelConfig:
    return dataclasses.replace(CONFIG, **changes)


def side(old: SideConfig, **changes: Any) -> SideConfig:
    return dataclasses.replace(old, **changes)


def test_the_fingerprint_follows_weights_and_preprocessing() -> None:
    others = [
        changed(files={**CONFIG.files, "model.safetensors": "3"}),
        changed(image=side(CONFIG.image, preprocess=Preprocess(size=9))),
        changed(image=side(CONFIG.image, preprocess=Preprocess(size=8, mode="crop"))),
        changed(image=side(CONFIG.image, preprocess=Preprocess(size=8, mean=(1.0, 2.0, 3.0)))),
        changed(text=side(CONFIG.text, tower="hf:x")),
        changed(text=side(CONFIG.text, fingerprint="abd")),
        changed(dim=5),
    ]
    assert len({CONFIG.fingerprint, *(other.fingerprint for other in others)}) == 8


def test_the_fingerprint_leaves_out_name_card_and_record() -> None:
    same = [
        changed(name="other"),
        changed(training={}),
        changed(licence="MIT"),
        changed(diptych="9.9"),
        changed(files=dict(reversed(CONFIG.files.items()))),
    ]
    assert {other.fingerprint for other in same} == {CONFIG.fingerprint}


@pytest.fixture
def copy(small_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_model, tmp_path / "copy"))


def test_the_card_can_be_edited_and_the_model_renamed(copy: Path, small_model: Path) -> None:
    (copy / files.CARD).write_text("another card", encoding="utf-8")
    values = json.loads((copy / files.CONFIG).read_text(encoding="utf-8"))
    (copy / files.CONFIG).write_text(json.dumps({**values, "name": "renamed"}), encoding="utf-8")
    one, other = diptych.load(copy), diptych.load(small_model)
    assert (one.name, one.fingerprint) == ("renamed", other.fingerprint)
    assert np.array_equal(one.encode_texts("red"), other.encode_texts("red"))


@pytest.mark.parametrize("name", ["model.safetensors", "image_head.onnx", "text_head.onnx"])
@pytest.mark.parametrize("damage", ["gone", "cut", "flipped", "empty"])
def test_damaged_files_are_named_in_one_line_before_anything_is_embedded(copy: Path, name: str, damage: str) -> None:
    path = copy / name
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"")
    for use in (
        lambda model: model.encode_texts("red"),
        lambda model: model.encode_pixels(np.zeros((1, 32, 32, 3), np.uint8)),
    ):
        with pytest.raises(ModelError, match=f"{name}.*copy") as caught:
            use(diptych.load(copy))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "holds no JSON object"),
        ("3", "holds no JSON object"),
        ("{}", "missing name, dim, image, text"),
        ('{"format": 2, "novelty": 1}', "model format 2, this Diptych reads 1; update Diptych"),
        ('{"name": 3}', "name must be str, found 3"),
        ('{"nam": "x"}', "unknown key 'nam'.*did you mean 'name'"),
        ("\udcff", "not valid JSON"),
    ],
)
def test_a_config_that_is_none(copy: Path, text: str, message: str) -> None:
    (copy / files.CONFIG).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match=message) as caught:
        diptych.load(copy)
    assert "config.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_preprocessing_that_is_none(copy: Path) -> None:
    values = json.loads((copy / files.CONFIG).read_text(encoding="utf-8"))
    for change, message in (
        ({"mean": [1.0]}, "a list of 3"),
        ({"mode": "zoom"}, "mode 'zoom'"),
        ({"size": 0}, "1 pixel"),
    ):
        broken = {**values, "image": {**values["image"], "preprocess": {**values["image"]["preprocess"], **change}}}
        (copy / files.CONFIG).write_text(json.dumps(broken), encoding="utf-8")
        with pytest.raises(ModelError, match=message):
            read_config(copy)


def test_folders_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not a model: it has no config\.json"):
        diptych.load(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"it is the folder of a run, whose model is .*model"):
        diptych.load(tmp_path)
    with pytest.raises(ModelError, match="no model at"):
        read_config(tmp_path / "none")
    with pytest.raises(
        ModelError,
        match=r"neither a folder, nor one of the shipped models .base., nor an address .*; did you mean 'base'",
    ):
        diptych.load("bas")
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    with pytest.raises(ModelError, match="expected a folder"):
        diptych.load(file)


def test_a_whole_folder_passes(small_model: Path) -> None:
    config = read_config(small_model)
    verify(small_model, config)
    assert set(config.files) == {"model.safetensors", "image_head.onnx", "text_head.onnx"}


def test_another_tower_than_the_one_trained_on_is_refused(copy: Path) -> None:
    values = json.loads((copy / files.CONFIG).read_text(encoding="utf-8"))
    values["text"]["fingerprint"] = "0" * 32
    (copy / files.CONFIG).write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(
        ModelError, match="trained on the tower 'fake' with fingerprint 00000000, the one installed here"
    ):
        diptych.load(copy).encode_texts("red")


def test_a_model_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"kind": "cross", "format": 1}', encoding="utf-8")
    with pytest.raises(ModelError, match="holds a cross-encoder of images and texts; expected a dual encoder"):
        read_config(tmp_path)


def test_a_saved_model_prepares_images_as_in_its_training(clip_folder: Path) -> None:
    """Its tower's library may prepare them otherwise by now; neither that nor the fingerprint may stop the model."""
    from diptych.encoders.image.transformers import TransformersImageTower

    before = Preprocess(32, "crop", (127.5,) * 3, (127.5,) * 3)
    tower = TransformersImageTower(clip_folder)
    now = tower.preprocess
    assert now != before
    tower.preprocess = before
    side = SideConfig(f"hf:{clip_folder}", 12, Part("identity"), preprocess=before, fingerprint=tower.fingerprint)
    model = DualEncoder(clip_folder, changed(dim=12, image=side))
    assert model.image_tower.preprocess == model.preprocess == before
    assert TransformersImageTower(clip_folder).preprocess == now
