"""Max of hinges: the hardest negative of the batch must be a margin below the partner."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from diptych.core.checks import at_least, positive
from diptych.core.registry import register
from diptych.core.shapes import Float
from diptych.core.similarity import Similarity, similarity_of
from diptych.losses.base import Embedded, Loss
from diptych.losses.sum_hinge import violations


@register.loss("max_hinge")
class MaxHinge(Loss):
    """The VSE++ loss: per row, the hardest negative in each direction.

    With s the similarity, alpha the margin and [x]+ = max(0, x),

        L = sum_i max_j [alpha - s_ii + s_ij]+      image i -> hardest text
          + sum_i max_j [alpha - s_ii + s_ji]+      text i -> hardest image

    where j runs over the rows of other records: siblings are no negatives. Source: VSE++ (arXiv
    1707.05612), equation 6. The hardest negative alone is a poor guide in an untrained space, so the
    first epochs take the sum over all negatives (`sum_hinge`), as the code of VSE-infinity does.

    Args:
        margin: alpha.
        warmup_epochs: epochs with the sum. They count from `start_epoch`; without it there is no warm-up.
        similarity: "cosine", "l2", "order", or a function of images and texts.
    """

    def __init__(self, margin: float = 0.2, warmup_epochs: int = 1, similarity: str | Similarity = "cosine") -> None:
        super().__init__()
        self.margin = positive("margin", margin)
        self.warmup_epochs = at_least("warmup_epochs", warmup_epochs, 0)
        self.similarity = similarity_of(similarity)
        self.warming_up = False

    def start_epoch(self, epoch: int) -> None:
        """Warm up in the first epochs."""
        self.warming_up = epoch < self.warmup_epochs

    def forward(self, embedded: Embedded) -> Float[Tensor, ""]:
        """The sum over the batch. Raises ConfigError when every row comes from one record."""
        embedded.require_negatives("max_hinge")
        to_text, to_image = violations(embedded, self.margin, self.similarity)
        if self.warming_up:
            return to_text.sum() + to_image.sum()
        return to_text.max(1).values.sum() + to_image.max(1).values.sum()

    def report(self) -> Mapping[str, float]:
        """1 in a warm-up epoch, whose loss is of another size, else 0."""
        return {"warming_up": float(self.warming_up)}
