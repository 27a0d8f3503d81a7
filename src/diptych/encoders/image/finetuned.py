"""The image network of a model whose late stages were fine-tuned here, as a frozen tower.

Heads, a text side or a cross-encoder are then trained over its cached features. What is saved holds it as one graph.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch

from diptych.core import fingerprint
from diptych.core.errors import ConfigError, ModelError
from diptych.core.registry import register
from diptych.encoders.export import read_weights
from diptych.encoders.image.efficientnet_lite import (
    EfficientNetLite0Maps,
    EfficientNetLite0Tower,
    MultiStage,
    Variant,
    imagenet,
    stem_of_width,
)

_GRAPH, _TAIL = "image_head", "network.tail."


@register.image_tower("finetuned", "the network of a model with efficientnet_tail", arguments=("MODEL",))
class FinetunedTower(EfficientNetLite0Tower):
    """Pooled features of several depths, as of `efficientnet-lite0` (or lite2), with the late stages of a model.

    Args:
        model: folder of a model that was trained here, over `efficientnet-lite0-stem` or `efficientnet-lite2-stem` with
            the network `efficientnet_tail`.
        threads, folder: as of `EfficientNetLiteTower`.

    Raises ConfigError for a model without such a network.
    """

    address = "finetuned"  # how a saved model names it: without the folder, which it does not need

    def __init__(self, model: str | Path, *, threads: int | None = None, folder: Path | None = None) -> None:
        self.variant, self._tail = _read(Path(model).expanduser())
        super().__init__(threads=threads, folder=folder)
        self._suffix = "-finetuned"

    @cached_property
    def fingerprint(self) -> str:
        """Of the network as it came, and of the stages that replace its own."""
        return _fingerprint(super().fingerprint, self._tail)

    def _graph(self) -> tuple[torch.nn.Module, tuple[str, ...]]:
        return _replaced(imagenet(self.variant), self._tail), ("features", "tokens")


@register.image_tower("finetuned-maps", "its feature maps, for cross-encoders", arguments=("MODEL",))
class FinetunedMaps(EfficientNetLite0Maps):
    """The maps of `efficientnet-lite0-maps` (or lite2) with the late stages of a model.

    Args:
        model: as of `FinetunedTower`.
        levels, stage6, threads, folder: as of `EfficientNetLite0Maps`.
    """

    address = "finetuned-maps"

    def __init__(
        self,
        model: str | Path,
        levels: int = 2,
        stage6: bool = False,
        *,
        threads: int | None = None,
        folder: Path | None = None,
    ) -> None:
        self.variant, self._tail = _read(Path(model).expanduser())
        super().__init__(levels, stage6, threads=threads, folder=folder)
        self._suffix = f"-finetuned{self._suffix}"

    @cached_property
    def fingerprint(self) -> str:
        """Of the network as it came, and of the stages that replace its own."""
        return _fingerprint(super().fingerprint, self._tail)

    def _network(self, net: MultiStage) -> torch.nn.Module:
        return super()._network(_replaced(net, self._tail))


def _read(model: Path) -> tuple[Variant, dict[str, torch.Tensor]]:
    """What a model began with, and the weights of its late stages."""
    try:
        side = json.loads((model / "config.json").read_text(encoding="utf-8"))["image"]
        network, features, size = side["network"]["name"], side["features"], side["preprocess"]["size"]
    except (OSError, ValueError, KeyError, TypeError):
        network, features, size = "", 0, 0
    variant = stem_of_width(features) if network == "efficientnet_tail" else None
    if variant is None:
        raise ConfigError(
            f"{model} holds no model whose late stages were fine-tuned (network efficientnet_tail over "
            "efficientnet-lite0-stem or -lite2-stem); configs/tuned.toml trains one"
        )
    found = read_weights(model, _GRAPH)
    return replace(variant, size=size), {
        key.removeprefix(_TAIL): value for key, value in found.items() if key.startswith(_TAIL)
    }


def _replaced(net: MultiStage, tail: dict[str, torch.Tensor]) -> MultiStage:
    unknown = net.load_state_dict(tail, strict=False).unexpected_keys
    if unknown or not tail:
        raise ModelError("the late stages of the model do not fit the network that they replace; train it again")
    return net


def _fingerprint(before: str, tail: dict[str, torch.Tensor]) -> str:
    return fingerprint.combined(
        [before, *(fingerprint.of_bytes(tail[name].numpy().tobytes()) for name in sorted(tail))]
    )
