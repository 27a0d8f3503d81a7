"""Triplet loss with the hardest negative of another class, among images and texts alike."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from diptych.core.checks import positive
from diptych.core.registry import register
from diptych.core.shapes import Float
from diptych.losses.base import Embedded, Loss, widened


@register.loss("class_aware_triplet")
class ClassAwareTriplet(Loss):
    """The X-MRS loss: images and texts of one class do not push each other away.

    All 2B embeddings x = (image_1 ... image_B, text_1 ... text_B) are anchors. With d(a, b) = 1 - cos(a, b),
    p(a) the partner of a in the other modality and m the margin,

        L = 1/2B * sum_a [ d(a, p(a)) - min_n d(a, n) + m ]+

    where n runs over those of the 2B embeddings that are of another class, the anchor's own modality
    included. A record without a class is a class of its own. An anchor without any negative counts as 0.
    Source: X-MRS (arXiv 2012.01345), section 3.3, and its code for the mean and the 2B x 2B matrix.

    Args:
        margin: m.
        need_classes: raise when the data has no classes at all; False takes each record for a class.
    """

    def __init__(self, margin: float = 0.3, need_classes: bool = True) -> None:
        super().__init__()
        self.margin = positive("margin", margin)
        self.need_classes = need_classes
        self._without_negative: Tensor | None = None

    def forward(self, embedded: Embedded) -> Float[Tensor, ""]:
        """The mean over the 2B anchors.

        Raises ConfigError when every row comes from one record, DataError when classes are needed and the
        data has none.
        """
        embedded.require_negatives("class_aware_triplet")
        each_its_own = embedded.group is None and not self.need_classes
        same = (~embedded.negatives() if each_its_own else embedded.same_class()).repeat(2, 2)
        both = torch.cat([embedded.image, embedded.text])
        scores = widened(both @ both.T)
        partner = scores.diagonal(len(embedded.owner)).repeat(2)
        hardest = scores.masked_fill(same, -torch.inf).max(1).values
        self._without_negative = torch.isinf(hardest.detach()).float().mean()
        return (self.margin - partner + hardest).clamp(min=0).mean()

    def report(self) -> Mapping[str, float]:
        """Share of the last batch's anchors that found no other class: near 1, the loss teaches nothing."""
        return {} if self._without_negative is None else {"without_negative": float(self._without_negative)}
