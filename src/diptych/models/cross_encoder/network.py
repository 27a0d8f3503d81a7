"""The network: regions of an image and words of a text to a likelihood, a matching score, or a caption."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diptych.core.shapes import Float, Int

from .decoder import Decoder, KeysValues, Layout
from .likelihood import log_probabilities, word_loss
from .regions import RegionFusion
from .settings import NetworkSettings
from .vocabulary import PAD, UNKNOWN


class CrossNetwork(nn.Module):
    """Region fusion, a decoder that reads a text forwards or backwards, and a matching score.

    Sequences come as (b, s, t): of each of b images s texts of t places, PAD after the end, each
    starting with the token of its direction.
    """

    def __init__(self, maps: Sequence[tuple[int, int, int]], vocabulary: int, settings: NetworkSettings) -> None:
        super().__init__()
        self.settings = settings
        self.fusion = RegionFusion(maps, settings.width)
        self.decoder = Decoder(
            vocabulary, settings.width, settings.layers, settings.heads, settings.max_tokens + 1, settings.dropout
        )
        self.empty_image_token = nn.Parameter(torch.randn(settings.width) * 0.02)  # every region of the empty image
        self.match = nn.Linear(settings.width, 1)

    def regions(self, flat: Float[Tensor, "b f"]) -> Float[Tensor, "b r w"]:
        """Region tokens of images; in training some images become the empty one and some regions are dropped."""
        regions: Tensor = self.fusion(flat)
        if not self.training:
            return regions
        emptied = torch.rand(len(regions), 1, 1, device=regions.device) < self.settings.blank
        regions = torch.where(emptied, self.empty_image_token.to(regions.dtype), regions)
        kept = max(1, round(self.settings.region_keep * regions.shape[1]))
        return regions[:, torch.randperm(regions.shape[1], device=regions.device)[:kept]]

    def empty(self) -> Float[Tensor, "1 1 w"]:
        """The regions of the learnt empty image: given it, a text's likelihood is its prior."""
        return self.empty_image_token[None, None]

    def states(self, inputs: Int[Tensor, "b s t"], keys_values: KeysValues) -> tuple[Float[Tensor, "n w"], Layout]:
        """States of the real words, packed, and where they are."""
        layout = Layout.of(inputs != PAD)
        words = inputs.flatten().index_select(0, layout.at)
        if self.training and self.settings.word_dropout:
            hidden = (torch.rand(words.shape, device=words.device) < self.settings.word_dropout) & (layout.position > 0)
            words = torch.where(hidden, UNKNOWN, words)
        return self.decoder(words, layout, keys_values), layout

    def log_likelihood(
        self, inputs: Int[Tensor, "b s t"], targets: Int[Tensor, "b s t"], keys_values: KeysValues
    ) -> Float[Tensor, "b s"]:
        """Sum over the words of log p(word | words before it, image): a sum, not a mean (section 3 of the paper).

        The end counts as a word; padding does not count.
        """
        states, layout = self.states(inputs, keys_values)
        wanted = targets.flatten().index_select(0, layout.at)
        each = log_probabilities(states, self.decoder.words.weight, self.decoder.bias, wanted)
        sums = each.new_zeros(layout.images * layout.sequences).index_add(0, layout.sequence, each)
        return sums.reshape(layout.images, layout.sequences)

    def word_likelihoods(
        self, inputs: Int[Tensor, "b s t"], targets: Int[Tensor, "b s t"], keys_values: KeysValues
    ) -> Float[Tensor, "b s t"]:
        """log p of each word given those before it and the image; zeros at padding."""
        states, layout = self.states(inputs, keys_values)
        wanted = targets.flatten().index_select(0, layout.at)
        each = log_probabilities(states, self.decoder.words.weight, self.decoder.bias, wanted)
        return layout.spread(each[:, None]).reshape(inputs.shape)

    def attention(self, inputs: Int[Tensor, "b s t"], keys_values: KeysValues) -> Float[Tensor, "b s t r"]:
        """Attention of each place to the regions in the last layer: the mean over heads, which sums to 1."""
        layout = Layout.of(inputs != PAD)
        words = self.decoder.start(inputs.flatten().index_select(0, layout.at), layout)
        *before, last = self.decoder.layers
        for layer, pair in zip(before, keys_values[:-1], strict=True):
            words = layer(words, layout, pair)
        found: Tensor = last.attention(words, layout, keys_values[-1])  # type: ignore[operator]
        return found.reshape(layout.images, layout.sequences, layout.longest, -1)

    def word_loss(
        self,
        inputs: Int[Tensor, "b s t"],
        targets: Int[Tensor, "b s t"],
        keys_values: KeysValues,
        label_smoothing: float,
    ) -> Float[Tensor, ""]:
        """Mean over all real words of -log p(word): what captioning minimises."""
        states, layout = self.states(inputs, keys_values)
        wanted = targets.flatten().index_select(0, layout.at)
        return word_loss(states, self.decoder.words.weight, self.decoder.bias, wanted, label_smoothing)

    def matching(self, inputs: Int[Tensor, "b s t"], keys_values: KeysValues) -> Float[Tensor, "b s"]:
        """A score of each sequence from the state of its last word, which has seen all words and the image."""
        states, layout = self.states(inputs, keys_values)
        last = torch.ones_like(layout.sequence, dtype=torch.bool)
        last[:-1] = layout.sequence[1:] != layout.sequence[:-1]
        scores = states.new_zeros(layout.images * layout.sequences)
        scores = scores.index_copy(0, layout.sequence[last], self.match(states[last]).squeeze(1))
        return scores.float().reshape(layout.images, layout.sequences)
