"""One side of a model as it is trained: a network, where there is one, and the head above it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diptych.core import registry
from diptych.core.errors import ConfigError
from diptych.core.protocols import ImageTower, TextTower
from diptych.core.registry import Part
from diptych.core.shapes import Float, Shaped
from diptych.encoders.text.features_and_tokens import tokens_of
from diptych.models.heads import Head
from diptych.models.networks import Network, build_network
from diptych.models.networks.beside_features import BesideFeatures
from diptych.models.networks.word_vectors import Found, WordNetwork

_ROWS = 256  # that go through a network at once where no gradient is kept


class Side(nn.Module):
    """A tower's rows to L2-normalised embeddings.

    Args:
        network: None where the head sits on the tower's own features.
        head: features to the shared space.
    """

    def __init__(self, network: Network | None, head: Head) -> None:
        super().__init__()
        self.network = network
        self.head = head

    def forward(self, rows: Shaped[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """Embeddings of unit length."""
        features = rows if self.network is None else self.network(rows)
        embedding: Tensor = self.head(features.float())
        return embedding

    def fit_statistics(self, sample: Shaped[Tensor, "n f"]) -> None:
        """Fit the head's input standardisation, unless its input is a network with random weights."""
        if self.network is None:
            self.head.fit_statistics(sample)
            return
        self.network.fit_statistics(sample)
        if self.network.pretrained:
            was_training = self.network.training
            self.network.eval()
            with torch.inference_mode():
                features = torch.cat([self.network(part).float() for part in torch.split(sample, _ROWS)])
            self.network.train(was_training)
            self.head.fit_statistics(features.clone())

    def begin_words(self, tower: TextTower) -> Found | None:
        """Give a network over the words of `tower` the vectors of its file; None where it names none."""
        network, tokens = self.network, tokens_of(tower)
        if isinstance(network, BesideFeatures):
            network = network.network
        return network.begin_words(tokens.word_ids) if isinstance(network, WordNetwork) and tokens else None

    def start(self) -> None:
        """Called once the weights that training starts from are in place."""
        if self.network is not None:
            self.network.start()

    def for_export(self) -> nn.Module:
        """What goes into a model folder: the head alone, or network and head as one graph."""
        if self.network is None:
            return self.head
        return Side(self.network.for_export(), self.head)


def build_side(network: Part | None, head: Part, tower: ImageTower | TextTower, dim: int) -> Side:
    """A side with the weights it starts from. Raises ConfigError for parts that do not fit the tower."""
    if network is None and tokens_of(tower):
        raise ConfigError(
            'the tower gives token ids, which no head reads; name a network, such as network = "transformer"'
        )
    below = build_network(network, tower) if network else None
    features = below.dim if below else tower.dim
    return Side(below, registry.build("head", head, features=features, dim=dim))
