"""The contrastive loss of labelled pairs: related ones near, unrelated ones a margin apart."""

from __future__ import annotations

from torch import Tensor

from diptych.core.checks import positive
from diptych.core.registry import register
from diptych.core.shapes import Float
from diptych.losses.base import Embedded, Loss, widened

_LEAST = 1e-12  # of a squared distance, whose root has no gradient at 0


@register.loss("contrastive")
class Contrastive(Loss):
    """Squared distance of related pairs, and of unrelated ones the square of what is missing to the margin.

    With r_i the label of pair i, d_i the Euclidean distance of its two embeddings and m the margin,

        L = 1/2B * sum_i [ r_i * d_i^2 + (1 - r_i) * max(0, m - d_i)^2 ]

    No row is compared with another one. A label between 0 and 1 weighs both terms. Source: Hadsell, Chopra and LeCun
    2006, "Dimensionality Reduction by Learning an Invariant Mapping", equation 4, whose Y is 1 - r.

    Args:
        margin: m; distances of unit rows are from 0 to 2, and sqrt(2) is that of a cosine of 0.
    """

    needs_labels = True

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = positive("margin", margin)

    def forward(self, embedded: Embedded) -> Float[Tensor, ""]:
        """The mean over the pairs. Raises DataError for pairs without labels."""
        label = embedded.labels("contrastive")
        square = (widened(embedded.image) - widened(embedded.text)).square().sum(1)
        missing = (self.margin - square.clamp(min=_LEAST).sqrt()).clamp(min=0)
        return 0.5 * (label * square + (1 - label) * missing.square()).mean()
