"""A GRU over words, read at the last valid state; both ways with `bidirectional`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from diptych.core.checks import at_least
from diptych.core.registry import register
from diptych.core.shapes import Float, Int
from diptych.models.networks.base import is_tracing, mask_of, trim_padding
from diptych.models.networks.word_vectors import WordNetwork


@register.network("gru")
class GRUText(WordNetwork):
    """The text tower of VSE++: word vectors U(-0.1, 0.1) → GRU → the state after the last word.

    With `bidirectional` a second GRU reads from the last word to the first, and both final states go
    through one linear map (Xavier) from 2d to d; each direction is read at its own end. With several `layers` each
    reads the states of the one below, and the last one's final state counts; the two directions are two such stacks.
    Source: VSE++ (arXiv 1707.05612), section 3.1 and its code, with one layer.

    Args:
        vocabulary: how many token ids there are.
        embedding: width of a word's vector.
        hidden: width of the state, and of the features.
        bidirectional: read both ways.
        dropout: share of the word vectors' elements dropped in training, and of the states between two layers.
        layers: 1, or more.
        vectors: a file of word vectors to begin with, as wide as `embedding`; see `WordNetwork`.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        embedding: int = 300,
        hidden: int = 1024,
        bidirectional: bool = False,
        dropout: float = 0.0,
        layers: int = 1,
        vectors: str = "",
    ) -> None:
        super().__init__(vocabulary, embedding, vectors)
        at_least("layers", layers, 1)
        self.dim = hidden
        self.dropout = nn.Dropout(dropout)

        def stack() -> nn.GRU:
            between = dropout if layers > 1 else 0.0
            return nn.GRU(embedding, hidden, layers, batch_first=True, dropout=between)

        self.forwards = stack()
        self.backwards = stack() if bidirectional else None
        self.join = nn.Linear(2 * hidden, hidden) if bidirectional else None
        if self.join is not None:
            nn.init.xavier_uniform_(self.join.weight)
            nn.init.zeros_(self.join.bias)

    def forward(self, rows: Int[Tensor, "b l"]) -> Float[Tensor, "b f"]:
        """Final states of rows of token ids (-1 is padding)."""
        ids = trim_padding(rows)
        lengths = mask_of(ids).sum(1).clamp(min=1)
        states = _final(self.forwards, self._vectors(ids), lengths)
        if self.backwards is None or self.join is None:
            return states
        reversed_states = _final(self.backwards, self._vectors(reverse(ids, lengths)), lengths)
        joined: Tensor = self.join(torch.cat([states, reversed_states], dim=1))
        return joined

    def _vectors(self, ids: Tensor) -> Tensor:
        vectors: Tensor = self.dropout(super()._vectors(ids))
        return vectors


def reverse(ids: Int[Tensor, "b l"], lengths: Int[Tensor, " b"]) -> Int[Tensor, "b l"]:
    """Each row's first `lengths` ids in reverse order; the rest of the row is undefined."""
    places = torch.arange(ids.shape[1], device=ids.device)[None, :]
    return ids.gather(1, (lengths[:, None] - 1 - places).clamp(min=0))


def _final(gru: nn.GRU, vectors: Tensor, lengths: Tensor) -> Tensor:
    """The state after each row's last valid vector."""
    if is_tracing():
        # The same numbers without packing, which cannot be exported.
        states: Tensor = gru(vectors)[0]
        return states.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, states.shape[2])).squeeze(1)
    packed = pack_padded_sequence(vectors, lengths.cpu(), batch_first=True, enforce_sorted=False)
    _, last = gru(packed)
    final: Tensor = last[-1]
    return final
