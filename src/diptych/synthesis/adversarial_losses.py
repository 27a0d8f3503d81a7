"""The losses of a generator and its discriminator, as the training loop asks for them: one step, one network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from diptych.core.shapes import Bool, Float, Int
from diptych.synthesis.augment import Augmentation

GENERATOR, DISCRIMINATOR = "generator", "discriminator"
S = TypeVar("S")


@dataclass(frozen=True)
class AdversarialBatch:
    """Some records: a real image, a text and, where a design asks for it, embeddings of both."""

    images: Float[Tensor, "b 3 s s"]  # in [-1, 1], as the generator's
    sentence: Float[Tensor, "b d"]  # or whatever vector the generator is conditioned on
    words: Float[Tensor, "b w d"]
    mask: Bool[Tensor, "b w"]
    same: Bool[Tensor, "b b"]  # of one record, or of equal text; the diagonal is True
    label: Int[Tensor, " b"] | None = None  # class of the record; -1 is unknown
    image_embedding: Float[Tensor, "b e"] | None = None
    text_embedding: Float[Tensor, "b e"] | None = None


@dataclass(frozen=True)
class StepLoss:
    """The loss of one network's step, and its unweighted parts for the log."""

    loss: Float[Tensor, ""]
    facts: dict[str, Tensor]


class AdversarialLosses(ABC, Generic[S]):
    """The losses of a design.

    Args:
        generator, discriminator: its networks.
        settings: the weights of the losses.
        frozen: the frozen network that judges images in [-1, 1] with gradients; None where no loss needs it.
        augmentations: of DiffAugment, for all images that the discriminator gets.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        settings: S,
        frozen: nn.Module | None = None,
        augmentations: tuple[str, ...] = (),
    ) -> None:
        self.generator: Any = generator
        self.discriminator: Any = discriminator
        self._settings = settings
        self._frozen: Any = frozen
        self._augmentations = augmentations

    @abstractmethod
    def discriminator_loss(self, batch: AdversarialBatch) -> StepLoss:
        """The discriminator's loss; the generator gets no gradient."""

    @abstractmethod
    def generator_loss(self, batch: AdversarialBatch) -> StepLoss:
        """The generator's loss; the discriminator's weights get no gradient (the caller froze them)."""

    def noise(self, batch: AdversarialBatch) -> Float[Tensor, "b z"]:
        """Standard normal noise for a batch, from PyTorch's own generator."""
        return torch.randn(len(batch.images), int(self.generator.noise), device=batch.images.device)

    def augmentation(self, batch: AdversarialBatch) -> Augmentation:
        """Random changes for a batch."""
        return Augmentation.draw(self._augmentations, len(batch.images), batch.images.device)


def discriminator_lead(real: Float[Tensor, " b"], fake: Float[Tensor, " b"]) -> dict[str, Tensor]:
    """How well the discriminator does: the shares it gets right, and the gap between its mean logits."""
    real, fake = real.detach(), fake.detach()
    return {
        "right on real": (real > 0).float().mean(),
        "right on generated": (fake < 0).float().mean(),
        "gap": real.mean() - fake.mean(),
    }
