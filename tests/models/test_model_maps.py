"""Maps inside the graph of `base`: those whose mean and maximum are its features."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if find_spec("torch") is None or find_spec("onnx") is None:
    pytest.skip("needs the [train] extra", allow_module_level=True)

import numpy as np

import diptych
from diptych.core.config import Part
from diptych.core.errors import ConfigError
from diptych.core.registry import build
from diptych.encoders.image.onnx import OnnxImageTower


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 300, 300, 3), dtype=np.uint8)


def test_the_mean_and_maximum_of_each_map_are_the_models_own_features(pixels: np.ndarray, tmp_path: Path) -> None:
    tower: Any = build("image_tower", Part("model-maps:base", {"which": [0, 1, 2, 3]}), folder=tmp_path)
    assert tower.maps == ((120, 19, 19), (208, 10, 10), (352, 10, 10), (1280, 10, 10))
    flat = tower.embed(pixels)
    assert flat.shape == (2, tower.dim)
    pooled, start = [], 0
    for channels, rows, columns in tower.maps:
        stop = start + channels * rows * columns
        one = flat[:, start:stop].reshape(2, channels, -1)
        pooled += [one.mean(axis=2), one.max(axis=2)]
        start = stop
    features = diptych.load("base").image_tower.embed(pixels)
    assert np.concatenate(pooled, axis=1) == pytest.approx(features, abs=1e-4)


def test_some_maps_are_columns_of_all_and_have_a_fingerprint_of_their_own(pixels: np.ndarray, tmp_path: Path) -> None:
    every: Any = build("image_tower", Part("model-maps:base", {"which": [0, 1, 2, 3]}), folder=tmp_path)
    some: Any = build("image_tower", Part("model-maps:base"), folder=tmp_path)
    assert some.maps == (every.maps[0], every.maps[1], every.maps[3])
    third = 120 * 19 * 19 + 208 * 10 * 10
    expected = np.delete(every.embed(pixels), np.s_[third : third + 352 * 10 * 10], axis=1)
    assert some.embed(pixels) == pytest.approx(expected, abs=1e-4)
    assert (some.address, some.fingerprint == every.fingerprint) == ("model-maps", False)


def test_the_graph_in_its_folder_gives_the_same_without_the_model(pixels: np.ndarray, tmp_path: Path) -> None:
    tower: Any = build("image_tower", Part("model-maps:base"), folder=tmp_path)
    alone = OnnxImageTower(tower.folder / "image_tower.onnx", tower.preprocess)
    assert np.array_equal(alone.embed(pixels), tower.embed(pixels))
    assert sorted(path.name for path in tower.folder.iterdir()) == ["image_tower.onnx", "model.safetensors"]


@pytest.mark.parametrize("which", [[], [4], [-1]])
def test_maps_that_are_not_there_are_named(which: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"which must name some of the 4 maps that diptych-base pools, from 0"):
        build("image_tower", Part("model-maps:base", {"which": which}))
