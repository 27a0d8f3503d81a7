"""The late stages of EfficientNet-Lite, trained on a cached early map."""

from __future__ import annotations

from torch import Tensor

from diptych.core.errors import ConfigError
from diptych.core.registry import register
from diptych.core.shapes import Float
from diptych.encoders.image.efficientnet_lite import Tail, imagenet, stem_of_width
from diptych.models.networks.base import Network, set_pace


@register.network("efficientnet_tail")
class EfficientNetTail(Network):
    """Fine-tunes the late stages of the backbone, at a third of the cost of the whole.

    Sits on the towers "efficientnet-lite0-stem" and "efficientnet-lite2-stem". Batch norms keep their
    ImageNet statistics.

    Args:
        features: width of the stem's flattened map, which says which size of the family it is.
        rate: learning rate as a share of the head's.
        frozen_epochs: epochs in which the head learns alone.
    """

    pretrained = True

    def __init__(self, features: int, *, rate: float = 0.1, frozen_epochs: int = 0) -> None:
        super().__init__()
        variant = stem_of_width(features)
        if variant is None:
            raise ConfigError(
                f"the network efficientnet_tail takes the map of a stem, found {features} features; "
                'set image.tower = "efficientnet-lite0-stem"'
            )
        self.tail = Tail(imagenet(variant), variant)
        self.dim = variant.dim
        set_pace(self, rate, frozen_epochs)

    def train(self, mode: bool = True) -> EfficientNetTail:
        """As usual, but the stages stay in evaluation mode, so their batch norms keep their statistics."""
        super().train(mode)
        self.tail.eval()
        return self

    def forward(self, rows: Float[Tensor, "b n"]) -> Float[Tensor, "b f"]:
        """Pooled features, as the whole network's tower gives them."""
        pooled: Tensor = self.tail(rows).float()
        return pooled
