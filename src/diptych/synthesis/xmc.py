"""XMC-GAN as a game: hinge loss and three contrastive losses, each with a weight of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from diptych.core.errors import ConfigError
from diptych.synthesis.augment import Augmentation
from diptych.synthesis.contrast import centred, contrast, cosines, distance, hinge_discriminator, word_region_scores
from diptych.synthesis.discriminator import Seen
from diptych.synthesis.frozen_features import Look
from diptych.synthesis.game import Batch, Outcome, draw_noise, won
from diptych.synthesis.settings import XmcSettings


class XmcGame:
    """L_D = hinge + sentence(real) + word(real).
    L_G = -mean D(fake) + sentence(fake) + word(fake) + image(D's features) + frozen(a frozen network's),
    and, which is not the paper's, the distance of the real picture from the nearest of some generated ones.

    The discriminator learns its contrastive terms on real pictures alone, and real and generated picture of a
    text are augmented alike. Source: XMC-GAN (arXiv 2101.04702), section 4.

    Args:
        generator, discriminator: XmcGenerator and XmcDiscriminator.
        settings: the weights of the losses.
        eyes: the frozen network; None where nothing looks through it.
        augmentations: of DiffAugment.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        settings: XmcSettings,
        eyes: nn.Module | None = None,
        augmentations: tuple[str, ...] = (),
    ) -> None:
        self.generator: Any = generator
        self.discriminator: Any = discriminator
        self._settings = settings
        self._eyes = eyes
        self._augmentations = augmentations

    def discriminate(self, batch: Batch) -> Outcome:
        """See `Game`."""
        with torch.no_grad():
            fake = self._make(batch, self._noise(batch))
        change = self._augmentation(batch)
        both = torch.cat([change.apply(batch.pictures), change.apply(fake.to(batch.pictures.dtype))])
        with torch.no_grad():
            look = self._look(both) if self._settings.pretrained else None
        seen: Seen = self.discriminator(both, torch.cat([batch.sentence] * 2), look)
        count = len(batch.pictures)
        real, made = seen.logit[:count], seen.logit[count:]
        loss = hinge_discriminator(real, made)
        facts = {"hinge": loss.detach(), **won(real, made)}
        if self._settings.patches:
            local = hinge_discriminator(seen.patches[:count], seen.patches[count:])
            loss = loss + self._settings.patches * local
            facts["patch hinge"] = local.detach()
        own = Seen(*(part[:count] for part in seen))
        more, parts = self._text_losses(batch, own)
        return Outcome(loss + more, facts | {f"real {name}": value for name, value in parts.items()})

    def generate(self, batch: Batch) -> Outcome:
        """See `Game`."""
        settings = self._settings
        change = self._augmentation(batch)
        noise = self._nearest_noise(batch) if settings.reconstruct else self._noise(batch)
        fake, real = change.apply(self._make(batch, noise)), change.apply(batch.pictures)
        looks = bool(settings.pretrained or settings.frozen or settings.reconstruct)
        look = self._look(fake) if looks else None
        with torch.no_grad():
            wanted = self._look(real) if looks else None
        below, below_real = (look, wanted) if settings.pretrained else (None, None)
        seen: Seen = self.discriminator(fake, batch.sentence, below)
        adversarial = -seen.logit.mean()
        if settings.patches:
            adversarial = adversarial - settings.patches * seen.patches.mean()
        more, facts = self._text_losses(batch, seen)
        loss = adversarial + more
        facts["adversarial"] = adversarial.detach()
        if settings.image:
            with torch.no_grad():
                true: Seen = self.discriminator(real, batch.sentence, below_real)
            image = self._contrast(cosines(centred(seen.embedding, true.embedding), centred(true.embedding)), batch)
            loss = loss + settings.image * image
            facts["image"] = image.detach()
        if settings.frozen and look is not None and wanted is not None:
            made = centred(look.features, wanted.features)
            frozen = self._contrast(cosines(made, centred(wanted.features)), batch)
            loss = loss + settings.frozen * frozen
            facts["frozen"] = frozen.detach()
        if settings.reconstruct and look is not None and wanted is not None:
            apart = distance(fake, real, look.maps, wanted.maps).mean()
            loss = loss + settings.reconstruct * apart
            facts["reconstruct"] = apart.detach()
        return Outcome(loss, facts)

    def _look(self, pictures: Tensor) -> Look:
        if self._eyes is None:
            raise ConfigError("these losses look through a frozen network; set eyes, or their weights to 0")
        seen: Look = self._eyes.look(pictures)  # type: ignore[operator]
        return seen

    @torch.no_grad()
    def _nearest_noise(self, batch: Batch) -> Tensor:
        """Of some noises for each text the one whose picture is nearest to the real one by colour.

        So each of a text's pictures pulls at what is nearest to it, not all at their mean. Source: implicit maximum
        likelihood estimation (Li and Malik 2018, arXiv 1809.09087), of the conditional kind.
        """
        noises = torch.stack([self._noise(batch) for _ in range(self._settings.nearest)])
        apart = torch.stack([distance(self._make(batch, noise), batch.pictures) for noise in noises])
        return noises[apart.argmin(0), torch.arange(len(batch.pictures), device=noises.device)]

    def _noise(self, batch: Batch) -> Tensor:
        return draw_noise(len(batch.pictures), self.generator, batch.pictures.device)

    def _make(self, batch: Batch, noise: Tensor) -> Tensor:
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
            value = self._contrast(cosines(sentence, centred(seen.embedding)), batch)
            total = total + settings.sentence * value
            facts["sentence"] = value.detach()
        if settings.word:
            scores = word_region_scores(
                words, batch.mask, centred(seen.regions), settings.region_sharpness, settings.word_sharpness
            )
            value = self._contrast(scores, batch)
            total = total + settings.word * value
            facts["word"] = value.detach()
        return total, facts

    def _contrast(self, scores: Tensor, batch: Batch) -> Tensor:
        return contrast(scores / self._settings.temperature, batch.same)
