"""What every loss receives, and what it must offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from diptych.core.errors import ConfigError, DataError
from diptych.core.shapes import Bool, Float, Int
from diptych.core.similarity import Similarity, cosine

if TYPE_CHECKING:
    from collections.abc import Mapping


IMAGE = "image"
"""The modality of images, in `Embedded.sides`."""
TEXT = "text"
"""The modality of texts, in `Embedded.sides`."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """A batch of pairs in the shared space: row i of `image` and row i of `text` belong together.

    `owner` is the number of the record that row i came from, the same in every batch of a run. Two
    rows with one owner are siblings (two captions of one image): each is a true match of the
    other, so never a negative. `group` is the class of each row's record, numbered from 0; -1 for a
    record without a class, None where the data has no classes. `rows` are the numbers of each row's image
    and text among the training pairs, for a loss that knows more about them; None within one modality. `sides` say
    what the rows of `image` and of `text` are embeddings of: within one modality both are texts, or images.
    `label` says how related the two of each row are, from 0 to 1; None where all of them are partners.
    """

    image: Float[Tensor, "b d"]  # L2-normalised
    text: Float[Tensor, "b d"]  # L2-normalised
    owner: Int[Tensor, " b"]
    group: Int[Tensor, " b"] | None = None
    rows: Int[Tensor, "b 2"] | None = None
    sides: tuple[str, str] = (IMAGE, TEXT)
    label: Float[Tensor, " b"] | None = None

    def scores(self, similarity: Similarity = cosine) -> Float[Tensor, "b b"]:
        """Similarity of image i and text j, in at least 32 bits also when the embeddings have 16."""
        return widened(similarity(self.image, self.text))

    def pair_scores(self) -> Float[Tensor, " b"]:
        """Cosine of the two sides of each row, in at least 32 bits."""
        return (widened(self.image) * widened(self.text)).sum(1)

    def siblings(self) -> Bool[Tensor, "b b"]:
        """True where row i and column j are different rows of the same record."""
        same = self.owner[:, None] == self.owner[None, :]
        same.fill_diagonal_(False)
        return same

    def negatives(self) -> Bool[Tensor, "b b"]:
        """True where row i and column j are of different records."""
        return self.owner[:, None] != self.owner[None, :]

    def same_class(self) -> Bool[Tensor, "b b"]:
        """True where row i and column j are of one class or of one record.

        A record without a class is a class of its own. Raises DataError when the data has no classes.
        """
        group = self.classes()
        return (self.owner[:, None] == self.owner[None, :]) | (
            (group[:, None] == group[None, :]) & (group[:, None] >= 0)
        )

    def classes(self) -> Int[Tensor, " b"]:
        """The class of each row. Raises DataError when the data has no classes."""
        if self.group is None:
            raise DataError(
                "this loss needs the class of each record, but the data has none; "
                "give the records a group (--group-column names its column), "
                "or choose a loss without classes, such as info_nce"
            )
        return self.group

    def labels(self, loss: str) -> Float[Tensor, " b"]:
        """The label of each row. Raises DataError, in the name of `loss`, when the data has none."""
        if self.label is None:
            raise DataError(
                f"{loss} needs pairs with labels, and these have none; give a source of texts with labels, or choose a "
                "loss without, such as info_nce"
            )
        return self.label

    def require_negatives(self, loss: str) -> None:
        """Raise ConfigError, in the name of `loss`, when every row is of one record: nothing to compare with."""
        count = len(self.owner)
        if count == 0 or bool((self.owner == self.owner[0]).all()):
            raise ConfigError(
                f"{loss} needs pairs of at least 2 records in a batch, found {count} row(s) of one record; "
                "raise the batch size or add data"
            )


class Loss(nn.Module):
    """Base of the losses: `forward(embedded)` gives a scalar; `report()` what is worth logging.

    The trainer calls `start_epoch` and `start_step` as training goes on. A loss that uses them must depend on
    the last call alone, so that a resumed run continues exactly.
    """

    needs_modalities = False  # whether the first side must be images and the second texts
    needs_labels = False  # whether each row must say how related its two sides are

    def __init__(self) -> None:  # a loss without its own has no options
        super().__init__()

    def forward(self, embedded: Embedded) -> Float[Tensor, ""]:
        """The loss of one batch, lower is better."""
        raise NotImplementedError

    def start_epoch(self, epoch: int) -> None:
        """Called before each epoch; the first is 0."""

    def start_step(self, progress: float) -> None:
        """Called before each step with the share of all training steps that is done, from 0 to 1."""

    def report(self) -> Mapping[str, float]:
        """Values worth a line in the log, such as a learnt temperature."""
        return {}

    def logits(self) -> tuple[float, float | None] | None:
        """(scale, bias) of the learnt probabilities, None where there are none.

        The cosine times the scale, plus the bias, goes through the sigmoid; without a bias, through the softmax over
        the texts at hand.
        """
        return None


class WrappedLoss(Loss):
    """Base of what computes another loss in its own way: `loss` is told about epochs and steps, and reports."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss
        self.needs_labels = loss.needs_labels

    def start_epoch(self, epoch: int) -> None:
        """Pass it on to the loss."""
        self.loss.start_epoch(epoch)

    def start_step(self, progress: float) -> None:
        """Pass it on to the loss."""
        self.loss.start_step(progress)

    def report(self) -> Mapping[str, float]:
        """What the loss has to report."""
        return self.loss.report()


def widened(values: Tensor) -> Tensor:
    """Values in at least 32 bits: 16 are too coarse for sums over a batch and margins of 0.05."""
    return values.float() if values.element_size() < 4 else values
