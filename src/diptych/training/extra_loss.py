"""What a training of a dual encoder may learn beside its own loss."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from diptych.core.shapes import Float
from diptych.data.features import FeaturePairs
from diptych.data.seen import Seen
from diptych.training.batch_order import BatchRows


@runtime_checkable
class ExtraLoss(Protocol):
    """A further loss of a batch; `diptych.training.distillation` has one that a teacher gives."""

    @property
    def fingerprint(self) -> str:
        """A resumed run must have the same."""
        ...

    @property
    def seen(self) -> list[Seen | None]:
        """The records of the models that it comes from."""
        ...

    def begin(self, training: FeaturePairs) -> None:
        """Prepare for these pairs, before the first step. Raises DataError when they are not the expected ones."""
        ...

    @property
    def share(self) -> float:
        """Weight of this loss, from 0 to 1; the rest is that of the config's own."""
        ...

    def loss(
        self, image: nn.Module, training: FeaturePairs, rows: BatchRows, texts: Float[Tensor, "b d"]
    ) -> Float[Tensor, ""]:
        """A mean over the rows, each by itself.

        Args:
            image: the image side: a tower's rows to embeddings.
            training: all training pairs.
            rows: the batch.
            texts: embeddings of its texts.
        """
        ...
