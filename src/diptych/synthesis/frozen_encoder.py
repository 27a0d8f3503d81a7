"""A saved dual encoder's image side in PyTorch, so that gradients reach the image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from diptych.core.errors import ConfigError, ModelError
from diptych.core.extras import needed_by
from diptych.core.registry import build_saved
from diptych.core.shapes import Float
from diptych.encoders.compat import import_torchvision
from diptych.encoders.export import read_weights
from diptych.encoders.image.efficientnet_lite import LITE0, LITE1, LITE2, MultiStage
from diptych.models import folder as files
from diptych.models.dual import DualEncoder
from diptych.synthesis.frozen_features import FrozenNetwork

_VARIANTS = {f"efficientnet-lite{variant.number}": variant for variant in (LITE0, LITE1, LITE2)}


class FrozenImageEncoder(FrozenNetwork):
    """Images in [-1, 1] to the embeddings that `encode_images` would give them, frozen and differentiable.

    Images are scaled to `size` by bilinear interpolation.

    Args:
        encoder: whose image tower is an EfficientNet-Lite with a head and no network in between.
        size: pixels; 0 is the encoder's own. Half of it costs a quarter, and is seen a little differently.

    Raises ConfigError for another tower, ModelError for weights that do not fit.
    """

    def __init__(self, encoder: DualEncoder, size: int = 0) -> None:
        side = encoder.config.image
        source = side.source or side.tower
        if source not in _VARIANTS or side.network is not None:
            raise ConfigError(
                f"the encoder {encoder.name!r} cannot judge images: its image side is {source!r}"
                f"{' with a trained network' if side.network else ''}; choose one with {' or '.join(_VARIANTS)} "
                "and a head, such as base"
            )
        super().__init__(size or encoder.preprocess.size, encoder.preprocess)
        self.net = _network(_VARIANTS[source].number)
        self.head: nn.Module = build_saved(
            "head", side.head, encoder.folder, features=side.features, dim=encoder.config.dim
        )
        bundled = side.tower == files.BUNDLED
        tower = read_weights(encoder.folder, files.IMAGE_TOWER) if bundled else _imagenet(source)
        for part, weights in ((self.net, tower), (self.head, read_weights(encoder.folder, files.IMAGE_HEAD))):
            lacking = {name for name in part.state_dict() if not name.endswith("num_batches_tracked")} - set(weights)
            if lacking:
                raise ModelError(f"{encoder.folder} lacks {len(lacking)} weights, such as {min(lacking)}")
            try:
                part.load_state_dict({key: weights[key] for key in part.state_dict() if key in weights}, strict=False)
            except RuntimeError as error:
                raise ModelError(f"the weights of {encoder.folder} do not fit: {error}") from error
        self.eval().requires_grad_(False)

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        """Embeddings of length one."""
        embedded: Tensor = self.head(self.net(self.prepared(images))[0].float())
        return embedded


def _network(number: int) -> MultiStage:
    import_torchvision()
    with needed_by(f"EfficientNet-Lite{number}"):
        import timm
    net: Any = timm.create_model(f"tf_efficientnet_lite{number}", pretrained=False)
    return MultiStage(net)


def _imagenet(source: str) -> dict[str, torch.Tensor]:
    from diptych.encoders.image.efficientnet_lite import imagenet

    return dict(imagenet(_VARIANTS[source]).state_dict())
