"""Any convolutional network of timm or torchvision as the frozen network in whose features images are compared."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diptych.core.errors import ConfigError, ModelError, first_line
from diptych.core.protocols import Preprocess
from diptych.core.registry import nearest, register
from diptych.core.shapes import Float
from diptych.encoders.compat import import_torchvision
from diptych.encoders.image.timm import TimmImageTower
from diptych.encoders.inputs import by_channel
from diptych.synthesis.frozen_features import FrozenFeatures, FrozenNetwork

_FINEST = 4  # maps of more than a quarter of the image's side are left out: they are large, and hold little but edges
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what all of torchvision's classifiers are trained with
_RESNET = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")


class _Backbone(FrozenNetwork):
    """The features are the mean over the positions of the last map; `maps` are the last of each size.

    `name` is for messages; `is_random` says that the weights are.
    """

    def __init__(self, name: str, size: int, preprocess: Preprocess, is_random: bool) -> None:
        if size < 32 or size % 32:
            raise ConfigError(f"the size that the frozen network sees must be a multiple of 32, found {size}")
        super().__init__(size, preprocess)
        self.is_random = is_random
        self._name = name

    def _check(self) -> None:
        """Raise ConfigError where the network gives no maps of such images."""
        try:
            with torch.no_grad():
                self.eval().extract(torch.zeros(1, 3, self.size, self.size))
        except (AssertionError, RuntimeError, ValueError, AttributeError, IndexError) as error:  # the network's own
            raise ConfigError(
                f"the frozen network {self._name} gives no feature maps of images of {self.size} pixels "
                f"({first_line(error)}); set its size, or choose a convolutional one such as timm:resnet50"
            ) from error

    def _maps(self, pixels: Float[Tensor, "b 3 t t"]) -> Iterable[Tensor]:
        """All maps in their order."""
        raise NotImplementedError

    def extract(self, images: Float[Tensor, "b 3 s s"]) -> FrozenFeatures:
        """As many numbers as the last map has channels, and the maps of a quarter of the size and less."""
        by_side = {each.shape[-1]: each for each in self._maps(self.prepared(images)) if each.ndim == 4}
        last = list(by_side.values())[-1]
        maps = tuple(each for side, each in sorted(by_side.items(), reverse=True) if side * _FINEST <= self.size)
        return FrozenFeatures(last.mean((2, 3)).float(), maps)

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b f"]:
        """The features alone."""
        return self.extract(images).features


@register.frozen_network("timm", "any convolutional timm model", arguments=("NAME_OR_FOLDER",))
class TimmFeatures(_Backbone):
    """The maps of a timm model, such as vgg19 or resnet50.

    Args:
        name_or_folder, weights: as of the image tower timm.
        size: pixels that images are scaled to; a multiple of 32.
        pretrained: False gives random weights, the same ones each time. They tell images apart by colour and texture.

    Raises ModelError for a model that is not here, ConfigError for one without maps.
    """

    def __init__(
        self, name_or_folder: str, *, size: int = 128, pretrained: bool = True, weights: str | None = None
    ) -> None:
        with _seeded():
            tower = TimmImageTower(name_or_folder, pretrained=pretrained, weights=weights, device="cpu")
        super().__init__(f"timm:{name_or_folder}", size, tower.preprocess, not (pretrained or weights))
        self.net: Any = tower.unfrozen()
        self._check()

    def _maps(self, pixels: Float[Tensor, "b 3 t t"]) -> Iterable[Tensor]:
        found: Iterable[Tensor] = self.net.forward_intermediates(pixels, intermediates_only=True)
        return found


@register.frozen_network("torchvision", "any of torchvision's convolutional classifiers", arguments=("NAME",))
class TorchvisionFeatures(_Backbone):
    """The maps of a classifier of torchvision, such as vgg19 or resnet50.

    Args:
        name: of the model.
        size: pixels that images are scaled to; a multiple of 32.
        pretrained: False gives random weights, the same ones each time.
        weights: a file of torchvision's own weights; left out, the file of its default weights in the cache of
            torch.hub.

    Raises ModelError for unknown models, weights that are not here or do not fit; ConfigError for one without maps.
    """

    def __init__(self, name: str, *, size: int = 128, pretrained: bool = True, weights: str | None = None) -> None:
        import_torchvision()
        from torchvision import models

        known = models.list_models(module=models)
        if name not in known:
            raise ModelError(f"torchvision has no classifier {name!r}{nearest(name, known)}")
        preprocess = Preprocess(mean=by_channel(_MEAN), std=by_channel(_STD))
        super().__init__(f"torchvision:{name}", size, preprocess, not (pretrained or weights))
        with _seeded():
            net: Any = models.get_model(name, weights=None)
        if not self.is_random:
            _read_weights(net, Path(weights).expanduser() if weights else _cached(models, name), name)
        stages: list[Any] = (
            list(net.features) if hasattr(net, "features") else [getattr(net, each, None) for each in _RESNET]
        )
        if None in stages:
            raise ConfigError(f"torchvision's {name!r} is no row of maps; choose one such as vgg19 or resnet50")
        self.net = nn.Sequential(*stages)
        self._check()

    def _maps(self, pixels: Float[Tensor, "b 3 t t"]) -> Iterable[Tensor]:
        for stage in self.net:
            pixels = stage(pixels)
            yield pixels


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Within this, random weights are the same each time, and the caller's random numbers are left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _cached(models: Any, name: str) -> Path:
    """The file of a model's default weights, where torch.hub keeps it. Raises ModelError when it is not here."""
    url = str(models.get_model_weights(name).DEFAULT.url)
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not file.is_file():
        raise ModelError(
            f"the weights of torchvision's {name!r} are not here: no {file}; fetch {url} and give it as "
            "frozen_network.weights, or set frozen_network.pretrained = false for random ones"
        )
    return file


def _read_weights(net: nn.Module, file: Path, name: str) -> None:
    if not file.is_file():
        raise ModelError(f"no weights file at {file}")
    try:
        net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:  # pickle's errors are of many kinds, and a wrong key is a RuntimeError
        raise ModelError(f"{file} holds no weights of torchvision's {name!r}: {first_line(error)}") from error
