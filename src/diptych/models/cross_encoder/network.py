"""The network: regions of an image and words of a text to a likelihood, a matching score, or a caption."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from diptych.core.shapes import Bool, Float, Int

from .decoder import Decoder, KeysValues, Layout
from .likelihood import log_probabilities, word_loss
from .regions import RegionFusion
from .settings import SEPARATE, NetworkSettings
from .vocabulary import BACKWARD, PAD, UNKNOWN


class CrossNetwork(nn.Module):
    """Region fusion, a decoder that reads a text forwards or backwards (or one for each), and a matching score.

    Sequences come as (b, s, t): of each of b images s texts of t places, PAD after the end, each
    starting with the token of its direction.
    """

    adds_matching = False  # whether the matching score is part of the likelihood: learnt beside captioning, and fitted

    def __init__(
        self, maps: Sequence[tuple[int, int, int]], vocabulary: int, settings: NetworkSettings, frames: int = 1
    ) -> None:
        super().__init__()
        self.settings = settings
        self.fusion = RegionFusion(maps, settings.width, frames, settings.tokens)
        sizes = settings.width, settings.layers, settings.heads, settings.max_tokens + 1, settings.dropout
        self.decoder = Decoder(vocabulary, *sizes)  # forwards, and backwards too where it is shared
        self.empty_image_token = nn.Parameter(torch.randn(settings.width) * 0.02)  # every region of the empty image
        self.match = nn.Linear(settings.width, 1)
        self.backward_decoder = Decoder(vocabulary, *sizes) if settings.decoders == SEPARATE else None

    def training_regions(self, flat: Float[Tensor, "b f"]) -> tuple[Float[Tensor, "b r w"], Bool[Tensor, " b"]]:
        """Region tokens of which some are dropped, and which images became the empty one."""
        regions: Tensor = self.fusion(flat)
        empty = torch.rand(len(regions), 1, 1, device=regions.device) < self.settings.blank
        regions = torch.where(empty, self.empty_image_token.to(regions.dtype), regions)
        kept = max(1, round(self.settings.region_keep * regions.shape[1]))
        return regions[:, torch.randperm(regions.shape[1], device=regions.device)[:kept]], empty[:, 0, 0]

    def empty(self) -> Float[Tensor, "1 1 w"]:
        """The regions of the learnt empty image: given it, a text's likelihood is its prior."""
        return self.empty_image_token[None, None]

    def keys_values(self, regions: Float[Tensor, "b r w"]) -> KeysValues:
        """Keys and values of the regions for every layer, those of a decoder of its own for backwards behind."""
        found = self.decoder.keys_values(regions)
        return found if self.backward_decoder is None else found + self.backward_decoder.keys_values(regions)

    def states(
        self,
        inputs: Int[Tensor, "b s t"],
        keys_values: KeysValues,
        decoder: Decoder | None = None,
        *,
        hide: bool = True,
    ) -> tuple[Float[Tensor, "n w"], Layout]:
        """States of the real words by one decoder (None: the first), packed, and where they are.

        In training some words are hidden, but for `hide=False`.
        """
        layout = Layout.of(inputs != PAD)
        words = inputs.flatten().index_select(0, layout.at)
        if hide and self.training and self.settings.word_dropout:
            hidden = (torch.rand(words.shape, device=words.device) < self.settings.word_dropout) & (layout.position > 0)
            words = torch.where(hidden, UNKNOWN, words)
        decoder = decoder or self.decoder
        return decoder(words, layout, keys_values[: len(decoder.layers)]), layout

    def log_likelihood(
        self, inputs: Int[Tensor, "b s t"], targets: Int[Tensor, "b s t"], keys_values: KeysValues
    ) -> Float[Tensor, "b s"]:
        """Sum over the words of log p(word | words before it, image): a sum, not a mean (section 3 of the paper).

        The end counts as a word; padding does not count.
        """
        return self.word_likelihoods(inputs, targets, keys_values).sum(-1)

    def word_likelihoods(
        self, inputs: Int[Tensor, "b s t"], targets: Int[Tensor, "b s t"], keys_values: KeysValues
    ) -> Float[Tensor, "b s t"]:
        """log p of each word given those before it and the image; zeros at padding.

        With `adds_matching` the matching score is added at the end of each text.
        """

        def of_one(way: _Way) -> Tensor:
            states, layout, each = self._likelihoods(way, inputs, targets)
            if self.adds_matching:
                each = each + layout.is_last * self.match(states).squeeze(1).float()
            return layout.spread(each[:, None]).reshape(inputs.shape[0], -1, inputs.shape[2])

        return self._both_ways(of_one, inputs, keys_values)

    def pair_scores(
        self, inputs: Int[Tensor, "b s t"], targets: Int[Tensor, "b s t"], keys_values: KeysValues
    ) -> tuple[Float[Tensor, "b s"], Float[Tensor, "b s"]]:
        """Log-likelihood and matching score of each sequence, from the same states; no word is hidden."""

        def of_one(way: _Way) -> Tensor:
            states, layout, each = self._likelihoods(way, inputs, targets, hide=False)
            matched = layout.is_last * self.match(states).squeeze(1).float()
            spread = layout.spread(torch.stack([each, matched], dim=1))
            return spread.reshape(inputs.shape[0], -1, inputs.shape[2], 2).sum(2)

        likelihood, matched = self._both_ways(of_one, inputs, keys_values).unbind(-1)
        return likelihood, matched

    def _likelihoods(
        self, way: _Way, inputs: Tensor, targets: Tensor, *, hide: bool = True
    ) -> tuple[Float[Tensor, "n w"], Layout, Float[Tensor, " n"]]:
        """States of the real words that one decoder reads, where they are, and log p of their targets."""
        states, layout = self.states(inputs[:, way.sequences], way.keys_values, way.decoder, hide=hide)
        wanted = targets[:, way.sequences].flatten().index_select(0, layout.at)
        return states, layout, log_probabilities(states, way.decoder.words.weight, way.decoder.bias, wanted)

    def next_words(self, so_far: Int[Tensor, "b s t"], keys_values: KeysValues) -> Float[Tensor, "b s v"]:
        """log p of the next word of each sequence that is read forwards; all are of the same length."""
        states, layout = self.states(so_far, keys_values)
        last = states.reshape(layout.images, layout.sequences, layout.longest, -1)[:, :, -1]
        return self.decoder.logits(last).float().log_softmax(-1)

    def attention(self, inputs: Int[Tensor, "b s t"], keys_values: KeysValues) -> Float[Tensor, "b s t r"]:
        """Attention of each place to the regions in the last layer: the mean over heads, which sums to 1."""

        def of_one(way: _Way) -> Tensor:
            read = inputs[:, way.sequences]
            layout = Layout.of(read != PAD)
            words = way.decoder.start(read.flatten().index_select(0, layout.at), layout)
            *before, last = way.decoder.layers
            for layer, pair in zip(before, way.keys_values[:-1], strict=True):
                words = layer(words, layout, pair)
            found: Tensor = last.attention(words, layout, way.keys_values[-1])  # type: ignore[operator]
            return found.reshape(*read.shape, -1)

        return self._both_ways(of_one, inputs, keys_values)

    def word_loss(
        self,
        inputs: Int[Tensor, "b s t"],
        targets: Int[Tensor, "b s t"],
        keys_values: KeysValues,
        label_smoothing: float,
    ) -> Float[Tensor, ""]:
        """Mean over all real words of -log p(word): what captioning minimises."""
        found = []
        for way in self._ways(inputs, keys_values):
            states, layout = self.states(inputs[:, way.sequences], way.keys_values, way.decoder)
            wanted = targets[:, way.sequences].flatten().index_select(0, layout.at)
            weight, bias = way.decoder.words.weight, way.decoder.bias
            found.append((word_loss(states, weight, bias, wanted, label_smoothing), len(states)))
        words = sum(count for _, count in found)
        return torch.stack([loss * (count / words) for loss, count in found]).sum()

    def matching(self, inputs: Int[Tensor, "b s t"], keys_values: KeysValues) -> Float[Tensor, "b s"]:
        """A score of each sequence from the state of its last word, which has seen all words and the image."""

        def of_one(way: _Way) -> Tensor:
            states, layout = self.states(inputs[:, way.sequences], way.keys_values, way.decoder)
            last = layout.is_last
            scores = states.new_zeros(layout.images * layout.sequences)
            scores = scores.index_copy(0, layout.sequence[last], self.match(states[last]).squeeze(1))
            return scores.float().reshape(layout.images, layout.sequences)

        return self._both_ways(of_one, inputs, keys_values)

    def _ways(self, inputs: Int[Tensor, "b s t"], keys_values: KeysValues) -> list[_Way]:
        """Each decoder with the sequences that it reads: a sequence has the same direction for all images."""
        if self.backward_decoder is None:
            return [_Way(self.decoder, slice(None), keys_values)]
        backwards = (inputs[..., 0] == BACKWARD).any(0)
        split = len(self.decoder.layers)
        ways = (
            _Way(self.decoder, (~backwards).nonzero().squeeze(1), keys_values[:split]),
            _Way(self.backward_decoder, backwards.nonzero().squeeze(1), keys_values[split:]),
        )
        return [way for way in ways if len(way.sequences)]

    def _both_ways(
        self, of_one: Callable[[_Way], Tensor], inputs: Int[Tensor, "b s t"], keys_values: KeysValues
    ) -> Tensor:
        """What each decoder gives for its sequences, (b, s, ...), in the order of `inputs`."""
        ways = self._ways(inputs, keys_values)
        parts = [of_one(way) for way in ways]
        if self.backward_decoder is None:
            return parts[0]
        return torch.cat(parts, 1)[:, torch.cat([way.sequences for way in ways]).argsort()]


class _Way(NamedTuple):
    """One decoder, which sequences of each image it reads, and its keys and values."""

    decoder: Decoder
    sequences: Any  # indices, or a slice where it reads all
    keys_values: KeysValues
