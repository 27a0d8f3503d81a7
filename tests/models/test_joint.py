"""Joint models of other libraries as dual encoders: their identity, wherever they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.joint_models import make_clip

from diptych import load
from diptych.core.errors import ModelError
from diptych.models import lasting_name


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(clip_folder: Path, tmp_path: Path) -> None:
    model = load(f"hf:{clip_folder}")
    moved = shutil.copytree(clip_folder, tmp_path / "elsewhere")
    assert load(f"hf:{moved}").fingerprint == model.fingerprint
    model.encode_texts(["a dog", "a much longer text about a dog " * 9])
    assert load(f"hf:{clip_folder}").fingerprint == model.fingerprint  # whatever the tokenizer was used for
    assert load(f"hf:{make_clip(tmp_path / 'other', seed=1)}").fingerprint != model.fingerprint


def test_weights_stored_in_half_precision_are_the_same_model(clip_folder: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    halves = {name: value.half() for name, value in load_file(clip_folder / "model.safetensors").items()}
    folders = {}
    for kind in (torch.float16, torch.float32):
        folders[kind] = shutil.copytree(clip_folder, tmp_path / str(kind))
        state = {name: value.to(kind) for name, value in halves.items()}
        save_file(state, folders[kind] / "model.safetensors", metadata={"format": "pt"})
    one, other = (load(f"hf:{folder}") for folder in folders.values())
    assert one.fingerprint == other.fingerprint


def test_the_lasting_name_works_from_any_folder(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clip_folder.parent)
    model = load(f"hf:{clip_folder.name}")
    monkeypatch.chdir(tmp_path)
    assert lasting_name(model) == f"hf:{clip_folder.resolve()}"
    assert load(lasting_name(model)).fingerprint == model.fingerprint
    assert lasting_name(load("diptych-base")) == "base"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("google/siglip2-base-patch16-224", "did you mean 'hf:google/siglip2-base-patch16-224'"),
        ("openclip:ViT-B-32/openai", "'openclip' is no source of models; choose from .*did you mean 'open_clip'"),
        ("bas", "nor an address .*did you mean 'base'"),
        ("", "or an address such as hf:ORG/NAME"),
    ],
)
def test_a_name_that_is_no_model_says_what_may_be_meant(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(name)


@pytest.mark.parametrize(("fixture", "prefix"), [("clip_folder", "hf"), ("open_clip_folder", "open_clip")])
def test_the_folder_of_another_library_needs_its_prefix(
    fixture: str, prefix: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(fixture)
    with pytest.raises(ModelError, match=rf"give it as {prefix}:{folder}$"):
        load(folder)


def test_weights_that_were_changed_on_disk_are_read_anew(clip_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    before = load(f"hf:{folder}")
    shutil.copy(make_clip(tmp_path / "other", seed=1) / "model.safetensors", folder)
    assert load(f"hf:{folder}").fingerprint != before.fingerprint


@pytest.mark.parametrize("library", ["hf", "open_clip"])
def test_equal_weights_under_another_activation_are_another_model(
    library: str, clip_folder: Path, open_clip_folder: Path, tmp_path: Path
) -> None:
    folder = clip_folder if library == "hf" else open_clip_folder
    other = shutil.copytree(folder, tmp_path / "other")
    config = other / ("config.json" if library == "hf" else "open_clip_config.json")
    values = json.loads(config.read_text())
    if library == "hf":
        for side in ("text_config", "vision_config"):
            assert values[side].get("hidden_act", "quick_gelu") == "quick_gelu"
            values[side]["hidden_act"] = "gelu"
    else:
        values["model_cfg"]["quick_gelu"] = True
    one = load(f"{library}:{other}")  # which lives on while the settings change
    assert one.fingerprint == load(f"{library}:{folder}").fingerprint
    config.write_text(json.dumps(values))
    changed = load(f"{library}:{other}")
    assert abs(one.encode_texts(["a dog"]) - changed.encode_texts(["a dog"])).max() > 1e-4
    assert changed.fingerprint != one.fingerprint
