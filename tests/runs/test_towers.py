"""Towers by their place in a config: on the device that was asked for, and those that nothing can be trained over."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs the [train] extra")

from diptych.core.config import Part
from diptych.core.errors import ConfigError
from diptych.models import load
from diptych.models.exporting import export_model
from diptych.runs import towers


@pytest.mark.parametrize("prefix", ["", "model:"])
def test_towers_run_on_the_device_that_was_asked_for(prefix: str, clip_folder: Path) -> None:
    part = Part(f"{prefix}hf:{clip_folder}")
    with pytest.raises(ConfigError, match="device 'cuda:99' is not here"):
        towers.image_tower(part, "cuda:99")
    with pytest.raises(ConfigError, match="device 'cuda:99' is not here"):
        towers.text_tower(part, list, device="cuda:99")
    assert towers.image_tower(part, "cpu").fingerprint == towers.image_tower(part).fingerprint


def test_nothing_is_trained_over_the_text_tower_of_an_exported_model(clip_folder: Path, tmp_path: Path) -> None:
    export_model(load(f"hf:{clip_folder}"), tmp_path / "out")
    part = Part(f"model:{tmp_path / 'out'}")
    with pytest.raises(ConfigError, match=f"is an exported model, .* give hf:{clip_folder}"):
        towers.text_tower(part, list)
    assert towers.image_tower(part).dim == 12
