"""The losses of X-MRS's synthesis: cross-entropies, and distances in the space of a frozen dual encoder."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from diptych.core.errors import ConfigError
from diptych.core.shapes import Float
from diptych.synthesis.adversarial_losses import AdversarialBatch, AdversarialLosses, StepLoss, discriminator_lead
from diptych.synthesis.settings import XMrsSettings


class XMrsLosses(AdversarialLosses[XMrsSettings]):
    """L_D = BCE(real, 1) + BCE(fake, 0) + CE(class of real) + CE(class of fake).
    L_G = BCE(fake, 1) + CE(class of fake) + 2 KL + 32 (1 - cos(f(g), v)) + 32 (1 - cos(f(g), t)).

    f is the frozen encoder's image side, v and t are its embeddings of the record's image and text; KL is that
    of the conditioning augmentation to the standard normal. Source: X-MRS (arXiv 2012.01345), section 3.4.

    `frozen` is the encoder: images in [-1, 1] -> embeddings of length one.
    """

    def discriminator_loss(self, batch: AdversarialBatch) -> StepLoss:
        """As `AdversarialLosses`."""
        with torch.no_grad():
            sample = self.generator.sample(self.noise(batch), batch.sentence)
        change = self.augmentation(batch)
        real, label = self.discriminator(change.apply(batch.images), sample.mean)
        fake, made = self.discriminator(change.apply(sample.images.to(batch.images.dtype)), sample.mean)
        adversarial = _cross_entropy(real, 1) + _cross_entropy(fake, 0)
        classes = _classes(label, batch) + _classes(made, batch)
        facts = {"adversarial": adversarial, "classes": classes, **discriminator_lead(real, fake)}
        return StepLoss(adversarial + self._settings.classes * classes, facts)

    def generator_loss(self, batch: AdversarialBatch) -> StepLoss:
        """As `AdversarialLosses`. Raises ConfigError for a batch without embeddings."""
        if batch.image_embedding is None or batch.text_embedding is None:
            raise ConfigError("this design needs the frozen encoder's embeddings of images and texts")
        settings = self._settings
        sample = self.generator.sample(self.noise(batch), batch.sentence)
        fake, made = self.discriminator(self.augmentation(batch).apply(sample.images), sample.mean.detach())
        adversarial = _cross_entropy(fake, 1)
        classes = _classes(made, batch)
        divergence = kl_to_standard(sample.mean.float(), sample.log_variance.float())
        embedded = self._frozen(sample.images)
        to_image = (1 - functional.cosine_similarity(embedded.float(), batch.image_embedding, dim=1)).mean()
        to_text = (1 - functional.cosine_similarity(embedded.float(), batch.text_embedding, dim=1)).mean()
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
        return StepLoss(loss, facts)


def kl_to_standard(mean: Float[Tensor, "b c"], log_variance: Float[Tensor, "b c"]) -> Float[Tensor, ""]:
    """KL(N(mean, variance) || N(0, 1)), mean over numbers and rows: -1/2 mean(1 + log v - m^2 - v)."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).mean()


def _cross_entropy(logit: Float[Tensor, " b"], target: float) -> Float[Tensor, ""]:
    return functional.binary_cross_entropy_with_logits(logit.float(), torch.full_like(logit, target).float())


def _classes(label: Tensor | None, batch: AdversarialBatch) -> Float[Tensor, ""]:
    """Cross-entropy of the classes over the records that have one; 0 when none has."""
    if label is None or batch.label is None:
        return batch.images.new_zeros(())
    # no number is read back from a GPU: the pass can be recorded
    known = (batch.label >= 0).sum().clamp(min=1)
    return functional.cross_entropy(label.float(), batch.label, ignore_index=-1, reduction="sum") / known
