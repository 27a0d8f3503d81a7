"""XMC-GAN as a game: hinge loss and three contrastive losses, each with a weight of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diptych.synthesis.augment import Augmentation
from diptych.synthesis.contrast import contrast, cosines, hinge_discriminator, word_region_scores
from diptych.synthesis.discriminator import Seen, XmcDiscriminator
from diptych.synthesis.game import Batch, Outcome, draw_noise, won
from diptych.synthesis.generator import XmcGenerator
from diptych.synthesis.settings import XmcSettings


class XmcGame:
    """L_D = hinge + sentence(real) + word(real).
    L_G = -mean D(fake) + sentence(fake) + word(fake) + image(D's features) + frozen(a frozen network's).

    The discriminator learns its contrastive terms on real pictures alone, and real and generated picture of a
    text are augmented alike. Source: XMC-GAN (arXiv 2101.04702), section 4.

    Args:
        generator, discriminator: the networks.
        settings: the weights of the losses.
        eyes: the frozen network; None where its weight is 0.
        augmentations: of DiffAugment.
    """

    def __init__(
        self,
        generator: XmcGenerator,
        discriminator: XmcDiscriminator,
        settings: XmcSettings,
        eyes: nn.Module | None = None,
        augmentations: tuple[str, ...] = (),
    ) -> None:
        self.generator = generator
        self.discriminator = discriminator
        self._settings = settings
        self._eyes = eyes
        self._augmentations = augmentations

    def discriminate(self, batch: Batch) -> Outcome:
        """See `Game`."""
        with torch.no_grad():
            fake = self._make(batch)
        change = self._augmentation(batch)
        both = torch.cat([change.apply(batch.pictures), change.apply(fake.to(batch.pictures.dtype))])
        seen: Seen = self.discriminator(both, torch.cat([batch.sentence] * 2))
        count = len(batch.pictures)
        real, made = seen.logit.split(count)
        loss = hinge_discriminator(real, made)
        facts = {"hinge": loss.detach(), **won(real, made)}
        own = Seen(real, seen.embedding[:count], seen.regions[:count])
        more, parts = self._text_losses(batch, own)
        return Outcome(loss + more, facts | {f"real {name}": value for name, value in parts.items()})

    def generate(self, batch: Batch) -> Outcome:
        """See `Game`."""
        settings = self._settings
        fake = self._make(batch)
        change = self._augmentation(batch)
        seen: Seen = self.discriminator(change.apply(fake), batch.sentence)
        adversarial = -seen.logit.mean()
        more, facts = self._text_losses(batch, seen)
        loss = adversarial + more
        facts["adversarial"] = adversarial.detach()
        if settings.image:
            with torch.no_grad():
                real: Seen = self.discriminator(change.apply(batch.pictures), batch.sentence)
            image = self._contrast(cosines(seen.embedding, real.embedding), batch)
            loss = loss + settings.image * image
            facts["image"] = image.detach()
        if settings.frozen and self._eyes is not None:
            with torch.no_grad():
                wanted = self._eyes(batch.pictures)
            frozen = self._contrast(cosines(self._eyes(fake), wanted), batch)
            loss = loss + settings.frozen * frozen
            facts["frozen"] = frozen.detach()
        return Outcome(loss, facts)

    def _make(self, batch: Batch) -> Tensor:
        noise = draw_noise(len(batch.pictures), self.generator, batch.pictures.device)
        made: Tensor = self.generator(noise, batch.sentence, batch.words, batch.mask)
        return made

    def _augmentation(self, batch: Batch) -> Augmentation:
        return Augmentation.draw(self._augmentations, len(batch.pictures), batch.pictures.device)

    def _text_losses(self, batch: Batch, seen: Seen) -> tuple[Tensor, dict[str, Tensor]]:
        """Sentence and word loss of these pictures, weighted and summed; and unweighted, by name."""
        settings = self._settings
        total = seen.logit.new_zeros(())
        facts: dict[str, Tensor] = {}
        if not (settings.sentence or settings.word):
            return total, facts
        sentence, words = self.discriminator.read(batch.sentence, batch.words)
        if settings.sentence:
            value = self._contrast(cosines(sentence, seen.embedding), batch)
            total = total + settings.sentence * value
            facts["sentence"] = value.detach()
        if settings.word:
            scores = word_region_scores(
                words, batch.mask, seen.regions, settings.region_sharpness, settings.word_sharpness
            )
            value = self._contrast(scores, batch)
            total = total + settings.word * value
            facts["word"] = value.detach()
        return total, facts

    def _contrast(self, scores: Tensor, batch: Batch) -> Tensor:
        return contrast(scores / self._settings.temperature, batch.same)
