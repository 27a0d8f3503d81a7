"""What a design offers to the one training loop: two networks, and the loss of either when its turn comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from diptych.core.shapes import Bool, Float, Int

GENERATOR, DISCRIMINATOR = "generator", "discriminator"


@dataclass(frozen=True)
class Batch:
    """Some records: a real picture, a text and, where a design asks for it, embeddings of both."""

    pictures: Float[Tensor, "b 3 s s"]  # in [-1, 1], as the generator's
    sentence: Float[Tensor, "b d"]  # or whatever vector the generator is conditioned on
    words: Float[Tensor, "b w d"]
    mask: Bool[Tensor, "b w"]
    same: Bool[Tensor, "b b"]  # of one record, or of equal text; the diagonal is True
    label: Int[Tensor, " b"] | None = None  # class of the record; -1 is unknown
    image_embedding: Float[Tensor, "b e"] | None = None
    text_embedding: Float[Tensor, "b e"] | None = None


@dataclass(frozen=True)
class Outcome:
    """The loss of a turn, and what it is made of, for the log (unweighted)."""

    loss: Float[Tensor, ""]
    facts: dict[str, Tensor]


@runtime_checkable
class Game(Protocol):
    """Generator against discriminator."""

    def discriminate(self, batch: Batch) -> Outcome:
        """The discriminator's loss; the generator gets no gradient."""
        ...

    def generate(self, batch: Batch) -> Outcome:
        """The generator's loss; the discriminator's weights get no gradient (the caller froze them)."""
        ...


def draw_noise(count: int, generator: nn.Module, device: torch.device) -> Float[Tensor, "b z"]:
    """Standard normal noise for so many pictures, from PyTorch's own generator."""
    return torch.randn(count, int(generator.noise), device=device)  # type: ignore[arg-type]


def won(real: Float[Tensor, " b"], fake: Float[Tensor, " b"]) -> dict[str, Tensor]:
    """How far ahead the discriminator is: shares it gets right, and the gap between its mean logits."""
    real, fake = real.detach(), fake.detach()
    return {
        "right on real": (real > 0).float().mean(),
        "right on generated": (fake < 0).float().mean(),
        "gap": real.mean() - fake.mean(),
    }
