"""A dual encoder with a convolutional image side, a stem and a tail of random weights. Needs PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core.config import Part
from diptych.core.protocols import Preprocess
from diptych.data.seen import Seen
from diptych.encoders import text_tower
from diptych.encoders.export import GraphSpec, export_graphs
from diptych.encoders.image.onnx import OnnxImageTower
from diptych.encoders.image.pixel_tower import PixelTower
from diptych.models.heads import EnsembleHead, MLPHead
from diptych.models.save import TrainedSide, save

PREPROCESS = Preprocess(size=33, mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))
MAP = 8, 17, 17
DIM = 6


class Same(nn.Conv2d):
    """A convolution whose padding is computed from the size of its input, as EfficientNet-Lite has it."""

    def forward(self, x: Tensor) -> Tensor:
        """With as many rows and columns as strides fit in."""
        both = []
        for size, kernel, stride in zip(x.shape[-2:], self.kernel_size, self.stride, strict=True):
            more = torch.clamp((torch.ceil(torch.as_tensor(size / stride)) - 1) * stride + kernel - size, min=0).int()
            both = [more // 2, more - more // 2, *both]
        return super().forward(nn.functional.pad(x, both))


def layer(given: int, made: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm with statistics of its own, ReLU6."""
    norm = nn.BatchNorm2d(made)
    nn.init.uniform_(norm.running_mean, -0.2, 0.2)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return nn.Sequential(Same(given, made, kernel, stride, groups=groups, bias=False), norm, nn.ReLU6())


class Stem(nn.Module):
    """Pixels to a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(layer(3, 8, 3, 2), layer(8, 8, 3, groups=8))

    def forward(self, pixels: Tensor) -> Tensor:
        """(b, 3, 33, 33) to (b, 8 x 17 x 17)."""
        return torch.flatten(self.layers(pixels), 1)


class Tail(nn.Module):
    """A flattened map to pooled features, with a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = layer(8, 8, 1), layer(8, 24, 3, 2)
        self.dim = 8 + 24

    def forward(self, rows: Tensor) -> Tensor:
        """(b, n) to (b, 32)."""
        first = rows.reshape(-1, *MAP)
        last = self.last(first + self.inner(first))
        return torch.cat([first.mean((2, 3)), last.amax((2, 3))], dim=1)


class Whole(nn.Module):
    """A network over rows of pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.tail = Stem(), Tail()
        self.dim = self.tail.dim

    def forward(self, rows: Tensor) -> Tensor:
        """(b, 33 x 33 x 3) to (b, 32)."""
        planes = rows.reshape(-1, *PREPROCESS.shape).permute(0, 3, 1, 2)
        return self.tail(self.stem((planes - 127.0) / 128.0))


class NetworkAndHead(nn.Module):
    """As a trained side is exported: `network`, then `head`."""

    def __init__(self, network: nn.Module, dim: int = DIM) -> None:
        super().__init__()
        self.network, self.head = network, MLPHead(network.dim, dim, hidden=16)

    def forward(self, rows: Tensor) -> Tensor:
        """Embeddings."""
        return self.head(self.network(rows).float())


class BundledStem:
    """The stem's graph in a folder that it is copied from."""

    def __init__(self, folder: Path) -> None:
        export_graphs(folder, {"image_tower": GraphSpec(Stem(), torch.zeros(2, 3, 33, 33), "pixels", ("features",))})
        self.folder = folder
        tower = OnnxImageTower(folder / "image_tower.onnx", PREPROCESS)
        self.dim, self.fingerprint, self.embed = tower.dim, tower.fingerprint, tower.embed
        self.preprocess, self.storage = PREPROCESS, "float16"


def write_conv_model(folder: Path, *, members: int = 1, pixels: bool = False, seed: int = 0) -> Path:
    """The model's folder.

    Args:
        folder: where the model and its stem go.
        members: sides side by side, as an ensemble.
        pixels: the whole network is trained over rows of pixels.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    network = Part("backbone" if pixels else "efficientnet_tail")
    tower = PixelTower(33) if pixels else BundledStem(folder / "stem")
    texts = text_tower("fake")
    made = [NetworkAndHead(Whole() if pixels else Tail(), DIM // members).eval() for _ in range(members)]
    image = TrainedSide(
        tower,
        Part("pixels", {"size": 33}) if pixels else Part("conv-stem"),
        Part("mlp", {"hidden": 16}),
        made[0] if members == 1 else EnsembleHead(made).eval(),
        network,
    )
    text = TrainedSide(texts, Part("fake"), Part("mlp", {"hidden": 300}), MLPHead(texts.dim, DIM, hidden=300).eval())
    marks = np.array([1, 2], dtype=np.uint64)
    save(
        folder / "model",
        name="conv",
        image=image,
        text=text,
        dim=DIM,
        card="# conv\n\nMade of random numbers.\n",
        training={"data": {}},
        seen=Seen(marks, marks[:0]),
    )
    return folder / "model"
