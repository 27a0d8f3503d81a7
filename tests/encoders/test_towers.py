"""Names to towers."""

import numpy as np
import pytest

from diptych.core.errors import ConfigError, ModelError
from diptych.core.registry import _arguments, entries, find
from diptych.encoders import image_tower, text_tower
from diptych.encoders.fake import FakeImageTower
from diptych.encoders.text.use import UniversalSentenceEncoder


def test_names_give_towers() -> None:
    tower = image_tower("fake", dim=7)
    assert isinstance(tower, FakeImageTower)
    assert tower.dim == 7
    assert isinstance(text_tower("use", threads=1), UniversalSentenceEncoder)


def test_an_unknown_name_lists_the_choices_and_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"choose from .*timm:NAME_OR_FOLDER.*; did you mean 'efficientnet-lite0'\?"):
        image_tower("eficientnet-lite0")
    with pytest.raises(ConfigError, match="unknown text tower 'zzz'; choose from fake, hf:NAME_OR_FOLDER, joined, "):
        text_tower("zzz")


@pytest.mark.parametrize("spec", ["timm", "timm:", "onnx", "fake:x", "fake:"])
def test_a_wrong_form_shows_the_right_one(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"expected (timm:NAME_OR_FOLDER|onnx:FILE|fake)$"):
        image_tower(spec)


def test_an_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'sise'; it takes dim, seed, size; did you mean 'size'"):
        image_tower("fake", sise=3)


def test_the_part_after_the_colon_reaches_the_tower() -> None:
    with pytest.raises(ModelError, match=r"C:/model\.onnx"):
        image_tower("onnx:C:/model.onnx")


def test_all_after_the_first_colon_is_the_argument() -> None:
    entry = find("image_tower", "open_clip")
    assert _arguments(entry, "open_clip:ViT-B-32//me@home/a:b.pt") == ["ViT-B-32//me@home/a:b.pt"]


@pytest.mark.parametrize("kind", ["image_tower", "text_tower"])
def test_every_built_in_tower_can_be_imported(kind: str) -> None:
    for entry in entries(kind).values():
        assert callable(entry.load().part)


def test_fake_pair_embeds() -> None:
    pixels = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    assert image_tower("fake").embed(pixels).shape == (2, 32)
    assert text_tower("fake").embed(["a", "b"]).shape == (2, 32)
