"""Names of OpenCLIP models: what each finds, what it is called later, and what is said of wrong ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from diptych.core.errors import ModelError

if find_spec("torch") is None or find_spec("open_clip") is None:
    pytest.skip("needs the [hub] extra", allow_module_level=True)

from diptych.encoders.compat import import_torchvision

import_torchvision()
import open_clip  # noqa: E402
from tests.hub_cache import COMMIT, put_in_cache, use_cache  # noqa: E402

from diptych.encoders.open_clip import OpenClipImageTower, OpenClipTextTower  # noqa: E402
from diptych.encoders.open_clip_names import locate  # noqa: E402

PREPARED = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "interpolation": "bilinear", "resize_mode": "squash"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return use_cache(monkeypatch, tmp_path / "cache")


@pytest.fixture
def tiny(
    open_clip_folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """An architecture "Tiny-Test" with the tag "small", whose weights are in the repository org/tiny."""
    configuration = tmp_path / "Tiny-Test.json"
    configuration.write_text(
        json.dumps(json.loads((open_clip_folder / "open_clip_config.json").read_text())["model_cfg"])
    )
    open_clip.add_model_config(configuration)
    said = {"url": "", "hf_hub": "org/tiny/", "quick_gelu": True, **PREPARED}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "Tiny-Test", {"small": said})
    put_in_cache(cache, "org/tiny", open_clip_folder)
    yield said
    configuration.unlink()
    open_clip.factory._MODEL_CONFIG_PATHS.remove(configuration)
    open_clip.factory._rescan_model_configs()


@pytest.mark.usefixtures("tiny")
def test_a_tag_takes_the_weights_in_the_cache_with_what_open_clip_says_of_them(open_clip_folder: Path) -> None:
    tower = OpenClipImageTower("Tiny-Test/small")
    assert tower.address == f"open_clip:Tiny-Test/small@{COMMIT}"
    assert tower.preprocess.mean == pytest.approx([255 * value for value in PREPARED["mean"]])
    assert tower.preprocess.mode == "squash"
    assert OpenClipImageTower(tower.address.removeprefix("open_clip:")).fingerprint == tower.fingerprint
    # the activation that the weights were trained with, of which open_clip only warns
    gelu = [type(module).__name__ for module in tower._module.modules() if "GELU" in type(module).__name__]
    assert set(gelu) == {"QuickGELU"}
    text = OpenClipTextTower("Tiny-Test/small")
    assert text.address == tower.address
    assert text._module is tower._module


@pytest.mark.usefixtures("tiny")
def test_a_file_is_prepared_for_as_all_tags_agree(open_clip_folder: Path) -> None:
    tower = OpenClipImageTower(f"Tiny-Test/{open_clip_folder}/open_clip_model.safetensors")
    assert tower.address == f"open_clip:Tiny-Test/{open_clip_folder.resolve()}/open_clip_model.safetensors"
    assert tower.preprocess.mode == "squash"


def test_a_tag_with_a_url_takes_the_file_that_open_clip_keeps(
    tiny: dict[str, Any], open_clip_folder: Path, cache: Path
) -> None:
    tiny |= {"url": "https://nowhere.example/tiny.safetensors", "hf_hub": ""}
    with pytest.raises(ModelError, match=r"are not here .* diptych models get open_clip:Tiny-Test/small$"):
        locate("Tiny-Test/small")
    kept = cache / ".cache" / "clip" / "tiny.safetensors"
    kept.parent.mkdir(parents=True)
    shutil.copy(open_clip_folder / "open_clip_model.safetensors", kept)
    assert locate("Tiny-Test/small").file == kept
    tiny["hf_hub"] = "org/elsewhere/"  # on the hub too by now, where open_clip looks first
    assert locate("Tiny-Test/small").file == kept


def test_a_repository_and_a_folder(open_clip_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_cache(cache, "org/tiny", open_clip_folder)
    assert locate("hf-hub:org/tiny").name == f"hf-hub:org/tiny@{COMMIT}"
    assert locate(f"hf-hub:org/tiny@{COMMIT}").name == f"hf-hub:org/tiny@{COMMIT}"
    with pytest.raises(ModelError, match=r"diptych models get open_clip:hf-hub:org/tiny@v2$"):
        locate("hf-hub:org/tiny@v2")
    monkeypatch.chdir(open_clip_folder.parent)
    assert locate(open_clip_folder.name).name == str(open_clip_folder.resolve())
    assert locate(f"local-dir:{open_clip_folder.name}").name == str(open_clip_folder.resolve())


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-33/openai", r"'ViT-B-33' is neither .*did you mean 'ViT-B-\d\d'"),
        ("ViT-B-32/laion2b_s34b_b97k", r"neither a file nor a tag of ViT-B-32; did you mean 'laion2b_s34b_b79k'"),
        ("ViT-B/32/openai", r"get open_clip:ViT-B-32/openai$"),
        ("ViT-B-32", r"names no weights; expected ViT-B-32/TAG or ViT-B-32/FILE; its tags are openai, "),
        ("ViT-B-32/laion2b_s34b_b79k", r"get open_clip:ViT-B-32/laion2b_s34b_b79k$"),
        ("ViT-B-32/laion2b_s34b_b79k@abc", r"get open_clip:ViT-B-32/laion2b_s34b_b79k@abc$"),
        ("ViT-B-32//no/weights.pt", r"no weights file at /no/weights.pt"),
        ("/no/such/folder", r"no model folder at /no/such/folder"),
        ("laion/CLIP-ViT-B-32", r"did you mean open_clip:hf-hub:laion/CLIP-ViT-B-32"),
    ],
)
def test_what_is_not_here(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        locate(name)


def test_weights_that_were_cut_are_refused(open_clip_folder: Path, cache: Path) -> None:
    snapshot = put_in_cache(cache, "org/tiny", open_clip_folder)
    file = snapshot / "open_clip_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ModelError, match=r"not whole .*get open_clip:hf-hub:org/tiny$"):
        locate("hf-hub:org/tiny")
    file.unlink()
    with pytest.raises(ModelError, match=r"has no weights; .*get open_clip:hf-hub:org/tiny$"):
        locate("hf-hub:org/tiny")
