"""Sum of hinges: every negative of the batch must be a margin below the partner."""

from __future__ import annotations

from torch import Tensor

from diptych.core.checks import positive
from diptych.core.registry import register
from diptych.core.shapes import Float
from diptych.core.similarity import Similarity, similarity_of
from diptych.losses.base import Embedded, Loss


@register.loss("sum_hinge")
class SumHinge(Loss):
    """The VSE loss: all violations of the margin, in both directions.

    With s the similarity, alpha the margin and [x]+ = max(0, x),

        L = sum_i sum_j [alpha - s_ii + s_ij]+      image i -> texts
          + sum_i sum_j [alpha - s_ii + s_ji]+      text i -> images

    where j runs over the rows of other records: siblings are no negatives. A sum over the batch, as in
    the source: VSE++ (arXiv 1707.05612), equation 5.

    Args:
        margin: alpha; 0.2 for the cosine, 0.05 for the order similarity in the source's code.
        similarity: "cosine", "l2", "order", or a function of images and texts.
    """

    def __init__(self, margin: float = 0.2, similarity: str | Similarity = "cosine") -> None:
        super().__init__()
        self.margin = positive("margin", margin)
        self.similarity = similarity_of(similarity)

    def forward(self, embedded: Embedded) -> Float[Tensor, ""]:
        """The sum over the batch. Raises ConfigError when every row comes from one record."""
        embedded.require_negatives("sum_hinge")
        to_text, to_image = violations(embedded, self.margin, self.similarity)
        return to_text.sum() + to_image.sum()


def violations(
    embedded: Embedded, margin: float, similarity: Similarity
) -> tuple[Float[Tensor, "b b"], Float[Tensor, "b b"]]:
    """By how much negative j comes within the margin of the partner of i, at least 0, and 0 for siblings.

    The first matrix has images as rows and texts as negatives, the second texts as rows.
    """
    scores = embedded.scores(similarity)
    partner = scores.diagonal()[:, None]
    excluded = ~embedded.negatives()

    def beyond(rows: Tensor) -> Tensor:
        return (margin - partner + rows).clamp(min=0).masked_fill(excluded, 0)

    return beyond(scores), beyond(scores.T)
