"""A saved dual encoder as a module of PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the module needs the [train] extra")

import diptych  # noqa: E402
from diptych import runs  # noqa: E402
from diptych.core.config import Part  # noqa: E402
from diptych.training.settings import TrainingSettings  # noqa: E402

TEXTS = ["a red circle", "blaues Band"]
FAST = TrainingSettings(precision="32-true", epochs=1, batch_size=30, learning_rate=3e-3)


def agrees(model: Any, files: list[Path]) -> Any:
    """The module, once its embeddings are those of the model."""
    module = model.torch()
    with torch.inference_mode():
        images = module.encode_image(module.image_inputs(files)).numpy()
        texts = module.encode_text(module.text_inputs(TEXTS)).numpy()
    assert np.abs(images - model.encode_images(files)).max() < 1e-4
    assert np.abs(texts - model.encode_texts(TEXTS)).max() < 1e-4
    return module


def test_the_shipped_model_embeds_the_same_and_its_heads_can_be_trained(shapes: Path) -> None:
    module = agrees(diptych.load("base"), sorted(shapes.parent.glob("*-30.png"))[:3])
    assert module.frozen == ("image", "text")  # a graph in 8 bits, and a sentence encoder that runs on NumPy
    module.encode_text(module.text_inputs(TEXTS))[:, 0].sum().backward()
    assert next(module.text.head.parameters()).grad.abs().sum() > 0


def test_an_image_tower_of_pytorch_embeds_the_same_and_can_be_trained(lite0_model: Path, shapes: Path) -> None:
    files = sorted(shapes.parent.glob("*-30.png"))[:3]
    module = agrees(diptych.load(lite0_model), files)
    assert module.frozen == ("text",)
    assert not any(weight.requires_grad for weight in module.image_tower.parameters())
    module.image_tower.requires_grad_(True)
    module.encode_image(module.image_inputs(files)).sum().backward()
    assert next(module.image_tower.parameters()).grad.abs().sum() > 0
    assert next(module.image.head.parameters()).grad is not None


def test_a_trained_model_does_too_and_its_heads_learn(small_model: Path, shapes: Path) -> None:
    files = sorted(shapes.parent.glob("*-30.png"))[:4]
    model = diptych.load(small_model)
    module = agrees(model, files)
    assert module.frozen == ("image", "text")
    before = module.encode_text(module.text_inputs(TEXTS)).detach()
    optimiser = torch.optim.SGD(module.parameters(), lr=1.0)
    module.encode_text(module.text_inputs(TEXTS))[:, 0].sum().backward()
    optimiser.step()
    assert not torch.allclose(module.encode_text(module.text_inputs(TEXTS)), before)
    short = model.truncated(8)
    assert agrees(short, files).encode_text(module.text_inputs(TEXTS)).shape == (2, 8)


def test_networks_and_tokens_are_part_of_the_module(shapes: Path, tmp_path: Path, small: Any) -> None:
    text = runs.SideSettings(Part("words"), Part("bag"), Part("linear"))
    model = runs.train(small(text=text, training=FAST), shapes, tmp_path, device="cpu").model
    module = agrees(model, sorted(shapes.parent.glob("*-30.png"))[:2])
    assert module.frozen == ("image",)
    assert module.text_inputs(TEXTS).dtype == torch.int64
    assert module.text.network is not None


def test_a_tower_of_pytorch_gives_its_network_as_a_copy() -> None:
    pytest.importorskip("timm")
    from diptych.encoders import TimmImageTower
    from diptych.encoders.inputs import normalise_pixels

    tower = TimmImageTower("test_efficientnet.r160_in1k", pretrained=False, device="cpu")
    size = tower.preprocess.size
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    before = tower.embed(pixels)
    module = tower.torch_module()
    planes = torch.from_numpy(normalise_pixels(pixels, tower.preprocess))
    assert np.allclose(module(planes).detach().numpy(), before, atol=1e-5)
    with torch.no_grad():
        for weight in module.parameters():
            weight.zero_()
    assert np.array_equal(tower.embed(pixels), before)
    assert not np.allclose(module(planes).detach().numpy(), before)
