"""A transformer encoder over word pieces, trained from scratch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.checks import at_least, share
from diptych.core.errors import ConfigError
from diptych.core.registry import Part, register
from diptych.core.shapes import Bool, Float, Int
from diptych.models.networks.base import Network, by_length, mask_of, set_pace, trim_padding
from diptych.models.networks.begun import OPTION, take_weights, with_options_of_beginning

_POOLS = ("first", "mean")
_AT_ONCE = 64  # rows of about equal length that go through the blocks together


class Block(nn.Module):
    """Self-attention and a feed-forward layer, each after a LayerNorm and with a residual connection (pre-norm)."""

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"width {width} must be a multiple of heads {heads}")
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.projections = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.norm_feed_forward = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, feed_forward), nn.GELU(), nn.Dropout(dropout), nn.Linear(feed_forward, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "b l w"], kept: Bool[Tensor, "b l"]) -> Float[Tensor, "b l w"]:
        """Token states; attention sees only the places that are kept."""
        x = x + self.dropout(self.output(self._attention(self.norm_attention(x), kept)))
        shifted: Tensor = x + self.dropout(self.feed_forward(self.norm_feed_forward(x)))
        return shifted

    def shares(self, x: Float[Tensor, "b l w"], kept: Bool[Tensor, "b l"]) -> Float[Tensor, "b l l"]:
        """How each place spreads its attention, the mean over heads; each row adds up to 1."""
        query, key, _ = self._split(self.norm_attention(x))
        scores = (query @ key.transpose(2, 3)) / query.shape[-1] ** 0.5
        shares: Tensor = scores.masked_fill(~kept[:, None, None, :], -torch.inf).softmax(-1)
        return shares.mean(1)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each (b, heads, l, w / heads)."""
        split = self.projections(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return split[0], split[1], split[2]

    def _attention(self, x: Tensor, kept: Tensor) -> Tensor:
        query, key, value = self._split(x)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=kept[:, None, None, :])
        return mixed.transpose(1, 2).flatten(2)


@register.network("transformer")
class TransformerText(Network):
    """Word pieces with learnt positions → `layers` blocks → the state of the first token ([CLS]), or the mean of all.

    The sizes are those of X-MRS (arXiv 2012.01345), section 3.2: 2 layers and 2 heads over vectors of 768,
    trained from scratch on one long sequence of title, ingredients and instructions.

    Args:
        vocabulary: how many token ids there are.
        length: the longest row.
        width, layers, heads: sizes; the feed-forward layer is `feed_forward` wide, or 4 x width.
        dropout: share dropped of the inputs and of each sub-layer's output in training.
        word_dropout: probability in training that a token after the first is left out of a text.
        pool: "first", or "mean" over the states of all tokens, which learns faster where little is trained.
        begins_as: a model of ours whose text side has such a network over the same tokenizer: its weights are those to
            begin with, and its options those that are left out here.
        rate: learning rate as a share of the head's.
        frozen_epochs: epochs in which the head learns alone.

    Raises ConfigError for a model to begin with whose network or tokenizer is another.
    """

    any_length = True

    def __init__(
        self,
        vocabulary: int,
        length: int,
        *,
        width: int = 768,
        layers: int = 2,
        heads: int = 2,
        feed_forward: int = 0,
        dropout: float = 0.1,
        word_dropout: float = 0.0,
        pool: str = "first",
        begins_as: str = "",
        rate: float = 1.0,
        frozen_epochs: int = 0,
    ) -> None:
        super().__init__()
        at_least("layers", layers, 1)
        if pool not in _POOLS:
            raise ConfigError(f"pool = {pool!r}: expected one of {', '.join(map(repr, _POOLS))}")
        self.pool = pool
        set_pace(self, rate, frozen_epochs)
        self.word_dropout, self._begins_as = share("word_dropout", word_dropout), begins_as
        self.dim = width
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(length, width)
        for table in (self.words, self.positions):
            nn.init.normal_(table.weight, std=0.02)
        self.norm_input = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, feed_forward or 4 * width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def begin(self, tower: Any) -> None:
        """Take the weights of the model to begin with, where there is one."""
        if self._begins_as:
            take_weights(self, self._begins_as, tower)

    @classmethod
    def resolved(cls, part: Part) -> Part:
        """With the options of the network that it begins as."""
        return with_options_of_beginning(
            part, {"width": 768, "layers": 2, "heads": 2, "feed_forward": 0, "pool": "first"}
        )

    @classmethod
    def saved(cls, part: Part) -> Part:
        """Without the model that it began as: its weights are among the own ones."""
        return Part(part.name, {key: value for key, value in part.options.items() if key != OPTION})

    def forward(self, rows: Int[Tensor, "b l"]) -> Float[Tensor, "b f"]:
        """Features of rows of token ids (-1 is padding)."""
        return by_length(rows, self._features, _AT_ONCE)

    def _features(self, rows: Int[Tensor, "b l"]) -> Float[Tensor, "b f"]:
        x, kept = self._states(rows)
        for block in self.blocks:
            x = block(x, kept)
        return self._pooled(self.norm(x), kept)

    def attention(self, rows: Int[Tensor, "b l"]) -> Float[Tensor, "b l"]:
        """How the states that become the features spread their attention over the tokens in the last block."""
        x, kept = self._states(rows)
        *below, last = self.blocks
        for block in below:
            x = block(x, kept)
        shares: Tensor = last.shares(x, kept)  # type: ignore[operator]
        return self._pooled(shares, kept)

    def _pooled(self, states: Tensor, kept: Tensor) -> Tensor:
        """The rows of the places (b, l, n) as one row of each text (b, n)."""
        if self.pool == "first":
            return states[:, 0]
        places = kept.unsqueeze(-1)
        return (states * places).sum(1) / places.sum(1)

    def _states(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What goes into the first block, and where there is a token."""
        ids = trim_padding(rows)
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.dropout(self.norm_input(self.words(ids.clamp(min=0)) + self.positions(places)[None]))
        kept = mask_of(ids)
        if self.training and self.word_dropout:
            stays = torch.rand(kept.shape, device=kept.device) >= self.word_dropout
            stays[:, 0] = True
            kept = kept & stays
        return x, kept
