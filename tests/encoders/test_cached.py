"""What files tell about a pretrained model, without loading it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub", reason="needs the [hub] extra")

from diptych.encoders.cached import (
    CROSS,
    IMAGE,
    JOINT,
    OTHER,
    TEXT,
    TRANSLATOR,
    cached_models,
    facts_of,
    kind_of,
    kind_of_config,
    parameters_in,
)

CARD = "---\nlicense: other\nlicense_name: apple-ascl\nlanguage:\n- en\n- de\n---\n# A model\n"


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"architectures": ["CLIPModel"], "text_config": {}, "vision_config": {}}, JOINT),
        ({"model_type": "siglip2", "text_config": {}, "vision_config": {}}, JOINT),
        ({"architectures": ["LlavaForConditionalGeneration"], "text_config": {}, "vision_config": {}}, OTHER),
        ({"architectures": ["BlipForImageTextRetrieval"], "text_config": {}, "vision_config": {}}, CROSS),
        ({"architectures": ["ClapModel"], "text_config": {}, "audio_config": {}}, OTHER),
        ({"architectures": ["BertModel"], "vocab_size": 30522}, TEXT),
        ({"architectures": ["ViTForImageClassification"], "image_size": 224}, IMAGE),
        ({"architecture": "resnet18", "num_classes": 1000}, IMAGE),
        ({"model_type": "marian", "is_encoder_decoder": True, "vocab_size": 5}, TRANSLATOR),
        ({"model_type": "t5", "is_encoder_decoder": True, "vocab_size": 5}, OTHER),
        ({}, OTHER),
    ],
)
def test_the_kind_is_read_from_the_config(config: dict[str, Any], kind: str) -> None:
    assert kind_of_config(config) == kind


def test_real_folders_have_their_kind(clip_folder: Path, open_clip_folder: Path, tmp_path: Path) -> None:
    assert (kind_of(clip_folder), kind_of(open_clip_folder), kind_of(tmp_path)) == (JOINT, JOINT, OTHER)


def test_parameters_are_counted_in_the_headers(clip_folder: Path, tmp_path: Path) -> None:
    from diptych.encoders.pretrained import import_transformers

    model = import_transformers().CLIPModel.from_pretrained(clip_folder)
    assert parameters_in(clip_folder) == sum(each.numel() for each in model.parameters())
    assert parameters_in(tmp_path) is None


def snapshot(cache: Path, name: str, config: dict[str, Any], weights: bytes | None = b"", ref: str = "main") -> Path:
    """A model as the hub's client leaves it, with its weights among the blobs."""
    repository = cache / f"models--{name.replace('/', '--')}"
    folder = repository / "snapshots" / ("c" * 40)
    for each in (folder, repository / "refs", repository / "blobs"):
        each.mkdir(parents=True)
    (repository / "refs" / ref).write_text("c" * 40)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "README.md").write_text(CARD)
    if weights is not None:
        (repository / "blobs" / ("d" * 64)).write_bytes(weights)
        (folder / "pytorch_model.bin").symlink_to(repository / "blobs" / ("d" * 64))
    return folder


def test_models_of_the_cache_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cached_models() == []
    joint = {"architectures": ["CLIPModel"], "text_config": {}, "vision_config": {}}
    snapshot(tmp_path / "hub", "org/clip", joint)
    snapshot(tmp_path / "hub", "org/half", joint, None)
    snapshot(tmp_path / "hub", "timm/resnet", {"architecture": "resnet18"}, ref="v2")
    (tmp_path / ".cache" / "clip").mkdir(parents=True)
    (tmp_path / ".cache" / "clip" / "RN50.pt").write_bytes(b"weights")
    found = {model.address: model for model in cached_models()}
    assert list(found) == [
        "hf:org/clip",
        "hf:org/half",
        f"open_clip:ARCHITECTURE/{tmp_path / '.cache' / 'clip' / 'RN50.pt'}",
        "timm:hf-hub:timm/resnet@v2",
    ]
    assert [model.is_whole for model in found.values()] == [True, False, True, True]
    assert found["hf:org/clip"].licence == "apple-ascl"
    assert found["timm:hf-hub:timm/resnet@v2"].kind == IMAGE


def test_facts_of_a_snapshot_name_revision_and_hashes(tmp_path: Path) -> None:
    folder = snapshot(tmp_path, "org/clip", {})
    assert facts_of(folder) == {
        "licence": "apple-ascl",
        "languages": ["en", "de"],
        "repository": "org/clip",
        "revision": "c" * 40,
        "weights": {"pytorch_model.bin": "d" * 64},
    }
    assert facts_of(tmp_path) == {}
