"""The network of a text cross-encoder as it is trained."""

from __future__ import annotations

from torch import Tensor, nn

from diptych.core.config import Part
from diptych.core.shapes import Float, Int
from diptych.models.networks import Network, build_network

from .pair_tokens import PairTokens


class PairNetwork(nn.Module):
    """Any text network over rows of pairs, and one number of its features: the score (b)."""

    def __init__(self, network: Network, dropout: float = 0.1) -> None:
        super().__init__()
        self.network = network
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(network.dim, 1)

    def forward(self, rows: Int[Tensor, "b l"]) -> Float[Tensor, " b"]:
        """Scores of rows of token ids (-1 is padding)."""
        scores: Tensor = self.output(self.dropout(self.network(rows).float())).squeeze(-1)
        return scores

    def for_export(self) -> PairNetwork:
        """The same function in a form that can be exported."""
        made = PairNetwork(self.network.for_export(), self.dropout.p)
        made.output = self.output
        return made


def build_pair_network(part: Part, tokens: PairTokens) -> PairNetwork:
    """With the weights it starts from. Raises ConfigError for a network that reads no token ids."""
    return PairNetwork(build_network(part, tokens))
