"""Names to towers."""

from pathlib import Path

import numpy as np
import pytest

from diptych.core.errors import ConfigError, ModelError
from diptych.encoders import table
from diptych.encoders.fake import FakeImageTower
from diptych.encoders.table import image_tower, text_tower
from diptych.encoders.text.use import UniversalSentenceEncoder


def test_names_give_towers() -> None:
    tower = image_tower("fake", dim=7)
    assert isinstance(tower, FakeImageTower)
    assert tower.dim == 7
    assert isinstance(text_tower("use", threads=1), UniversalSentenceEncoder)


def test_an_unknown_name_lists_the_choices_and_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'efficientnet-lite0'\? choose from .*timm:NAME_OR_FOLDER"):
        image_tower("eficientnet-lite0")
    with pytest.raises(ConfigError, match="unknown text tower 'zzz'; choose from use,"):
        text_tower("zzz")


@pytest.mark.parametrize("spec", ["timm", "timm:", "onnx", "fake:x", "fake:"])
def test_a_wrong_form_shows_the_right_one(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"expected (timm:NAME_OR_FOLDER|onnx:FILE|fake)$"):
        image_tower(spec)


def test_an_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'sise'.*options are dim, size, seed"):
        image_tower("fake", sise=3)


def test_the_part_after_the_colon_reaches_the_tower() -> None:
    with pytest.raises(ModelError, match=r"C:/model\.onnx"):
        image_tower("onnx:C:/model.onnx")


def test_the_first_at_sign_splits_unless_it_is_in_a_folder(tmp_path: Path) -> None:
    entry = table.IMAGE_TOWERS["open_clip"]
    assert table._split("ViT-B-32@/me@home/weights.pt", entry) == ["ViT-B-32", "/me@home/weights.pt"]
    folder = tmp_path / "my@model"
    folder.mkdir()
    assert table._split(str(folder), entry) == [str(folder)]
    assert table._split("folder@1", table.IMAGE_TOWERS["timm"]) == ["folder@1"]


@pytest.mark.parametrize("entries", [table.IMAGE_TOWERS, table.TEXT_TOWERS])
def test_every_entry_imports_or_names_its_extra(entries: dict[str, table.Entry]) -> None:
    for entry in entries.values():
        tower = table._import(entry.target)
        assert callable(tower.embed)


def test_fake_pair_embeds() -> None:
    pixels = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    assert image_tower("fake").embed(pixels).shape == (2, 32)
    assert text_tower("fake").embed(["a", "b"]).shape == (2, 32)
