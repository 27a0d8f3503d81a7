"""X-MRS's synthesis as a game: cross-entropies, and two terms that a frozen dual encoder judges."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.errors import ConfigError
from diptych.core.shapes import Float
from diptych.synthesis.augment import Augmentation
from diptych.synthesis.game import Batch, Outcome, draw_noise, won
from diptych.synthesis.settings import XMrsSettings


class XMrsGame:
    """L_D = BCE(real, 1) + BCE(fake, 0) + CE(class of real) + CE(class of fake).
    L_G = BCE(fake, 1) + CE(class of fake) + 2 KL + 32 (1 - cos(f(g), v)) + 32 (1 - cos(f(g), t)).

    f is the frozen encoder's image side, v and t are its embeddings of the record's picture and text; KL is that
    of the conditioning augmentation to the standard normal. Source: X-MRS (arXiv 2012.01345), section 3.4.

    Args:
        generator, discriminator: StackGenerator and StackDiscriminator.
        settings: the weights of the losses.
        encoder: pictures in [-1, 1] -> embeddings of length one, frozen, differentiable.
        augmentations: of DiffAugment.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        settings: XMrsSettings,
        encoder: nn.Module,
        augmentations: tuple[str, ...] = (),
    ) -> None:
        self.generator: Any = generator
        self.discriminator: Any = discriminator
        self._settings = settings
        self._encoder = encoder
        self._augmentations = augmentations

    def discriminate(self, batch: Batch) -> Outcome:
        """See `Game`."""
        with torch.no_grad():
            drawn = self.generator.draw(self._noise(batch), batch.sentence)
        change = self._augmentation(batch)
        real, label = self.discriminator(change.apply(batch.pictures), drawn.mean)
        fake, made = self.discriminator(change.apply(drawn.pictures.to(batch.pictures.dtype)), drawn.mean)
        adversarial = _cross_entropy(real, 1) + _cross_entropy(fake, 0)
        classes = _classes(label, batch) + _classes(made, batch)
        facts = {"adversarial": adversarial, "classes": classes, **won(real, fake)}
        return Outcome(adversarial + self._settings.classes * classes, facts)

    def generate(self, batch: Batch) -> Outcome:
        """See `Game`. Raises ConfigError for a batch without embeddings."""
        if batch.image_embedding is None or batch.text_embedding is None:
            raise ConfigError("this design needs the frozen encoder's embeddings of pictures and texts")
        settings = self._settings
        drawn = self.generator.draw(self._noise(batch), batch.sentence)
        fake, made = self.discriminator(self._augmentation(batch).apply(drawn.pictures), drawn.mean.detach())
        adversarial = _cross_entropy(fake, 1)
        classes = _classes(made, batch)
        divergence = kl_to_standard(drawn.mean.float(), drawn.log_variance.float())
        seen = self._encoder(drawn.pictures)
        to_image = (1 - functional.cosine_similarity(seen.float(), batch.image_embedding, dim=1)).mean()
        to_text = (1 - functional.cosine_similarity(seen.float(), batch.text_embedding, dim=1)).mean()
        loss = (
            adversarial
            + settings.classes * classes
            + settings.kl * divergence
            + settings.to_image * to_image
            + settings.to_text * to_text
        )
        facts = {
            "adversarial": adversarial,
            "classes": classes,
            "kl": divergence,
            "to image": to_image,
            "to text": to_text,
        }
        return Outcome(loss, facts)

    def _noise(self, batch: Batch) -> Tensor:
        return draw_noise(len(batch.pictures), self.generator, batch.pictures.device)

    def _augmentation(self, batch: Batch) -> Augmentation:
        return Augmentation.draw(self._augmentations, len(batch.pictures), batch.pictures.device)


def kl_to_standard(mean: Float[Tensor, "b c"], log_variance: Float[Tensor, "b c"]) -> Float[Tensor, ""]:
    """KL(N(mean, variance) || N(0, 1)), mean over numbers and rows: -1/2 mean(1 + log v - m^2 - v)."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).mean()


def _cross_entropy(logit: Float[Tensor, " b"], target: float) -> Float[Tensor, ""]:
    return functional.binary_cross_entropy_with_logits(logit.float(), torch.full_like(logit, target).float())


def _classes(label: Tensor | None, batch: Batch) -> Float[Tensor, ""]:
    """Cross-entropy of the classes over the records that have one; 0 when none has."""
    if label is None or batch.label is None:
        return batch.pictures.new_zeros(())
    # no number is read back from a GPU: the pass can be recorded
    known = (batch.label >= 0).sum().clamp(min=1)
    return functional.cross_entropy(label.float(), batch.label, ignore_index=-1, reduction="sum") / known
