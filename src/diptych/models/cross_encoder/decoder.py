"""A transformer decoder over packed words: padding is not computed, and all texts of an image share its keys.

`Layout` says where each of the n real words of all sequences is; linear layers see (n, w), and only
the attentions spread the words over (sequences, longest).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.shapes import Bool, Float, Int

Size = Any  # an int; a tensor while the network is traced for export
KeysValues = list[tuple[Tensor, Tensor]]  # of each layer: (b, heads, regions, width of a head)


@dataclass(frozen=True)
class Layout:
    """Places of the real words among `images` x `sequences` x `longest`; an image's sequences lie together."""

    images: Size
    sequences: Size  # of each image
    longest: Size  # words
    at: Int[Tensor, " n"]

    @classmethod
    def of(cls, real: Bool[Tensor, "b s t"]) -> Layout:
        """The layout of sequences whose real words are marked; they are at the front of each."""
        images, sequences, longest = real.shape
        return cls(images, sequences, longest, real.flatten().nonzero().squeeze(1))

    def spread(self, packed: Float[Tensor, "n w"]) -> Float[Tensor, "bst w"]:
        """Every word at its place, zeros elsewhere."""
        room = packed.new_zeros(self.images * self.sequences * self.longest, packed.shape[1])
        spread: Tensor = room.index_copy(0, self.at, packed)
        return spread

    def pack(self, spread: Float[Tensor, "bst w"]) -> Float[Tensor, "n w"]:
        """The real words only."""
        return spread.index_select(0, self.at)

    @property
    def sequence(self) -> Int[Tensor, " n"]:
        """Which sequence each word belongs to."""
        return torch.div(self.at, self.longest, rounding_mode="floor")

    @property
    def is_last(self) -> Bool[Tensor, " n"]:
        """Whether each word is the last of its sequence."""
        ends = self.sequence[1:] != self.sequence[:-1]
        return torch.cat([ends, ends.new_ones(1)])

    @property
    def position(self) -> Int[Tensor, " n"]:
        """Place of each word in its sequence."""
        position: Tensor = self.at % self.longest
        return position


class Layer(nn.Module):
    """Masked self-attention, cross-attention to the regions, feed-forward; each normalised before."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.self_norm, self.cross_norm, self.mlp_norm = (nn.LayerNorm(width) for _ in range(3))
        self.self_in = nn.Linear(width, 3 * width)
        self.self_out = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.cross_out = nn.Linear(width, width)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def keys_values(self, regions: Float[Tensor, "b r w"]) -> tuple[Tensor, Tensor]:
        """Keys and values of the regions, (b, heads, r, width of a head) each."""
        keys, values = self.key_value(regions).chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def forward(
        self, words: Float[Tensor, "n w"], layout: Layout, keys_values: tuple[Tensor, Tensor]
    ) -> Float[Tensor, "n w"]:
        """One step of the decoder."""
        words = words + self.dropout(self._self_attend(self.self_norm(words), layout))
        words = words + self.dropout(self._cross_attend(self.cross_norm(words), layout, keys_values))
        mlp: Tensor = self.dropout(self.mlp_out(functional.gelu(self.mlp_in(self.mlp_norm(words)))))
        return words + mlp

    def attention(
        self, words: Float[Tensor, "n w"], layout: Layout, keys_values: tuple[Tensor, Tensor]
    ) -> Float[Tensor, "b st r"]:
        """Attention of each word to the regions, the mean over the heads; it sums to 1 over the regions."""
        words = words + self._self_attend(self.self_norm(words), layout)
        return _weights(self._queries(self.cross_norm(words), layout), keys_values[0]).mean(1)

    def _self_attend(self, words: Float[Tensor, "n w"], layout: Layout) -> Float[Tensor, "n w"]:
        spread = layout.spread(self.self_in(words))
        parts = spread.reshape(-1, layout.longest, spread.shape[1]).chunk(3, dim=-1)
        query, key, value = (self._split(part) for part in parts)
        # Padding comes after the real words, so causal attention never sees it.
        ahead = torch.ones(layout.longest, layout.longest, dtype=torch.bool, device=words.device).triu(1)
        found: Tensor = self.self_out(layout.pack(_joined(_weights(query, key, ahead) @ value)))
        return found

    def _cross_attend(
        self, words: Float[Tensor, "n w"], layout: Layout, keys_values: tuple[Tensor, Tensor]
    ) -> Float[Tensor, "n w"]:
        keys, values = keys_values
        found: Tensor = self.cross_out(layout.pack(_joined(_weights(self._queries(words, layout), keys) @ values)))
        return found

    def _queries(self, words: Float[Tensor, "n w"], layout: Layout) -> Tensor:
        spread = layout.spread(self.query(words))
        return self._split(spread.reshape(layout.images, -1, spread.shape[1]))

    def _split(self, states: Float[Tensor, "b l w"]) -> Tensor:
        batch, length, width = states.shape
        return states.reshape(batch, length, self.heads, width // self.heads).transpose(1, 2)


def _joined(heads: Tensor) -> Tensor:
    """(b, heads, length, width of a head) to (b x length, width)."""
    return heads.transpose(1, 2).flatten(2).flatten(0, 1)


def _weights(query: Tensor, key: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Softmax over the keys that are not hidden.

    Written out: at these lengths it takes half the time of PyTorch's fused attention, forwards and backwards.
    """
    scores = query / math.sqrt(query.shape[-1]) @ key.transpose(-1, -2)
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    return functional.softmax(scores, dim=-1).to(query.dtype)


class Decoder(nn.Module):
    """Layers of decoder, learnt positions, and word vectors that are also the output's."""

    def __init__(self, vocabulary: int, width: int, layers: int, heads: int, longest: int, dropout: float) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(longest, width)
        nn.init.normal_(self.words.weight, std=0.05)
        nn.init.normal_(self.places.weight, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList([Layer(width, heads, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def keys_values(self, regions: Float[Tensor, "b r w"]) -> KeysValues:
        """Keys and values of the regions for every layer: made once an image, used for all its texts."""
        return [layer.keys_values(regions) for layer in self.layers]  # type: ignore[operator]

    def forward(self, inputs: Int[Tensor, " n"], layout: Layout, keys_values: KeysValues) -> Float[Tensor, "n w"]:
        """States of the real words."""
        words = self.start(inputs, layout)
        for layer, pair in zip(self.layers, keys_values, strict=True):
            words = layer(words, layout, pair)
        normed: Tensor = self.norm(words)
        return normed

    def start(self, inputs: Int[Tensor, " n"], layout: Layout) -> Float[Tensor, "n w"]:
        """Word vectors with their places."""
        words: Tensor = self.dropout(self.words(inputs) + self.places(layout.position))
        return words

    def logits(self, states: Float[Tensor, "... w"]) -> Float[Tensor, "... v"]:
        """Scores of the next word."""
        return functional.linear(states, self.words.weight, self.bias)
