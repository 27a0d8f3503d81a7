"""What every loss receives, and what it must offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Embedded:
    """A batch of pairs in the shared space: row i of `image` and row i of `text` belong together.

    `owner` names the record that row i came from. Two rows with one owner are siblings (two
    captions of one picture): each is a true match of the other, so never a negative.
    """

    image: Float[Tensor, "b d"]  # L2-normalised
    text: Float[Tensor, "b d"]  # L2-normalised
    owner: Int[Tensor, " b"]

    def siblings(self) -> Bool[Tensor, "b b"]:
        """True where row i and column j are different rows of the same record."""
        same = self.owner[:, None] == self.owner[None, :]
        same.fill_diagonal_(False)
        return same


class Loss(nn.Module):
    """Base of the losses: `forward(embedded)` gives a scalar; `report()` what is worth logging."""

    def forward(self, embedded: Embedded) -> Float[Tensor, ""]:
        """The loss of one batch, lower is better."""
        raise NotImplementedError

    def report(self) -> Mapping[str, float]:
        """Values worth a line in the log, such as a learnt temperature."""
        return {}
