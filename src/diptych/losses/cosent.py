"""CoSENT: of any two labelled pairs, the more related one must have the larger cosine."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from diptych.core.checks import positive
from diptych.core.registry import register
from diptych.core.shapes import Float
from diptych.losses.base import Embedded, Loss


@register.loss("cosent")
class CoSENT(Loss):
    """A smooth count of the pairs of pairs whose cosines are in the wrong order.

    With c_i the cosine of the two embeddings of pair i, r_i its label and lambda the scale,

        L = log( 1 + sum_{i, j: r_i < r_j} exp( lambda * (c_i - c_j) ) )

    Only the order of the labels counts, as in Spearman's correlation. Source: Su 2022, CoSENT
    (kexue.fm/archives/8847); as in sentence-transformers' CoSENTLoss.

    Args:
        scale: lambda.
    """

    needs_labels = True

    def __init__(self, scale: float = 20.0) -> None:
        super().__init__()
        self.scale = positive("scale", scale)
        self._compared: Tensor | None = None

    def forward(self, embedded: Embedded) -> Float[Tensor, ""]:
        """The loss of the batch, 0 where all labels are equal. Raises DataError for pairs without labels."""
        label = embedded.labels("cosent")
        scores = self.scale * embedded.pair_scores()
        lower = label[:, None] < label[None, :]
        self._compared = lower.detach().float().mean()
        apart = (scores[:, None] - scores[None, :]).masked_fill(~lower, -torch.inf)
        return torch.cat([scores.new_zeros(1), apart.flatten()]).logsumexp(0)

    def report(self) -> Mapping[str, float]:
        """Share of the last batch's pairs of pairs with different labels: near 0, the loss teaches nothing."""
        return {} if self._compared is None else {"compared": 2 * float(self._compared)}
