"""A network over token ids, beside features of a frozen tower that pass it by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diptych.core.checks import share
from diptych.core.shapes import Float
from diptych.models.heads import Standardise
from diptych.models.networks.base import Network

OPTION = "drop"  # of any network that stands above both


class BesideFeatures(Network):
    """Standardised features, followed by what a network makes of the ids behind them in a row.

    The features are standardised by the training texts, so that each has about the size of a number of the network's
    normalised output, and neither part drowns the other in the head above.

    Args:
        network: reads rows of token ids.
        features: how many numbers stand before the ids in a row.
        drop: probability in training that one of the two parts of a text, each as likely, is 0.
    """

    def __init__(self, network: Network, features: int, drop: float = 0.0) -> None:
        super().__init__()
        self.network, self.features, self.drop = network, features, share(OPTION, drop)
        self.standardise = Standardise(features)
        self.dim = features + network.dim
        self.pretrained, self.any_length = network.pretrained, network.any_length

    def forward(self, rows: Float[Tensor, "b n"]) -> Float[Tensor, "b f"]:
        """Features of rows of numbers and ids."""
        features, read = self.standardise(rows[:, : self.features].float()), self.network(self.ids(rows))
        if self.training and self.drop:
            drawn = torch.rand(len(rows), 1, device=rows.device)
            features = features.masked_fill(drawn < self.drop / 2, 0.0)
            read = read.masked_fill((drawn >= self.drop / 2) & (drawn < self.drop), 0.0)
        return torch.cat([features, read.float()], dim=1)

    def ids(self, rows: Float[Tensor, "b n"]) -> Tensor:
        """The token ids of rows."""
        return rows[:, self.features :].long()

    @property
    def attention(self) -> Callable[[Tensor], Tensor] | None:
        """The network's own attention over the tokens; None where it has none."""
        own: Any = getattr(self.network, "attention", None)
        return own and (lambda rows: own(self.ids(rows)))

    def fit_statistics(self, sample: Float[Tensor, "n m"]) -> None:
        """Fit the standardisation of the features."""
        self.standardise.fit(sample[:, : self.features].float())

    def start(self) -> None:
        """As of the network."""
        self.network.start()

    def for_export(self) -> Network:
        """With the network in the form that can be exported."""
        merged = self.network.for_export()
        if merged is self.network:
            return self
        other = BesideFeatures(merged, self.features)
        other.standardise = self.standardise
        return other
