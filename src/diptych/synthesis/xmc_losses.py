"""The losses of XMC-GAN: a hinge loss and contrastive losses, each with a weight of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from diptych.core.errors import ConfigError
from diptych.synthesis.adversarial_losses import AdversarialBatch, AdversarialLosses, StepLoss, discriminator_lead
from diptych.synthesis.contrast import centred, contrast, cosines, distance, hinge_discriminator, word_region_scores
from diptych.synthesis.frozen_features import FrozenFeatures
from diptych.synthesis.settings import XmcSettings
from diptych.synthesis.xmc_discriminator import DiscriminatorOutput


class XmcLosses(AdversarialLosses[XmcSettings]):
    """L_D = hinge + sentence(real) + word(real).
    L_G = -mean D(fake) + sentence(fake) + word(fake) + image(D's features) + frozen(a frozen network's),
    and, which is not the paper's, the distance of the real image from the nearest of some generated ones.

    The discriminator learns its contrastive terms on real images alone, and real and generated image of a
    text are augmented alike. Source: XMC-GAN (arXiv 2101.04702), section 4.
    """

    def discriminator_loss(self, batch: AdversarialBatch) -> StepLoss:
        """As `AdversarialLosses`."""
        with torch.no_grad():
            fake = self._make(batch, self.noise(batch))
        change = self.augmentation(batch)
        both = torch.cat([change.apply(batch.images), change.apply(fake.to(batch.images.dtype))])
        with torch.no_grad():
            features = self._extract(both) if self._settings.pretrained else None
        output: DiscriminatorOutput = self.discriminator(both, torch.cat([batch.sentence] * 2), features)
        count = len(batch.images)
        real, made = output.logit[:count], output.logit[count:]
        loss = hinge_discriminator(real, made)
        facts = {"hinge": loss.detach(), **discriminator_lead(real, made)}
        if self._settings.patches:
            local = hinge_discriminator(output.patches[:count], output.patches[count:])
            loss = loss + self._settings.patches * local
            facts["patch hinge"] = local.detach()
        own = DiscriminatorOutput(*(part[:count] for part in output))
        more, parts = self._text_losses(batch, own)
        return StepLoss(loss + more, facts | {f"real {name}": value for name, value in parts.items()})

    def generator_loss(self, batch: AdversarialBatch) -> StepLoss:
        """As `AdversarialLosses`."""
        settings = self._settings
        change = self.augmentation(batch)
        noise = self._nearest_noise(batch) if settings.reconstruct else self.noise(batch)
        fake, real = change.apply(self._make(batch, noise)), change.apply(batch.images)
        needs_features = bool(settings.pretrained or settings.frozen or settings.reconstruct)
        features = self._extract(fake) if needs_features else None
        with torch.no_grad():
            wanted = self._extract(real) if needs_features else None
        inputs, real_inputs = (features, wanted) if settings.pretrained else (None, None)
        output: DiscriminatorOutput = self.discriminator(fake, batch.sentence, inputs)
        adversarial = -output.logit.mean()
        if settings.patches:
            adversarial = adversarial - settings.patches * output.patches.mean()
        more, facts = self._text_losses(batch, output)
        loss = adversarial + more
        facts["adversarial"] = adversarial.detach()
        if settings.image:
            with torch.no_grad():
                true: DiscriminatorOutput = self.discriminator(real, batch.sentence, real_inputs)
            image = self._compare(output.embedding, true.embedding, batch)
            loss = loss + settings.image * image
            facts["image"] = image.detach()
        if settings.frozen and features is not None and wanted is not None:
            frozen = self._compare(features.features, wanted.features, batch)
            loss = loss + settings.frozen * frozen
            facts["frozen"] = frozen.detach()
        if settings.reconstruct and features is not None and wanted is not None:
            apart = distance(fake, real, features.maps, wanted.maps).mean()
            loss = loss + settings.reconstruct * apart
            facts["reconstruct"] = apart.detach()
        return StepLoss(loss, facts)

    def _extract(self, images: Tensor) -> FrozenFeatures:
        if self._frozen is None:
            raise ConfigError("these losses need a frozen network; set frozen_network, or their weights to 0")
        found: FrozenFeatures = self._frozen.extract(images)
        return found

    @torch.no_grad()
    def _nearest_noise(self, batch: AdversarialBatch) -> Tensor:
        """Of some noises for each text the one whose image is nearest to the real one by colour.

        So each image of a text trains the generated image nearest to it, and not all of them their common mean.
        Source: implicit maximum likelihood estimation (Li and Malik 2018, arXiv 1809.09087), of the conditional kind.
        """
        noises = torch.stack([self.noise(batch) for _ in range(self._settings.nearest)])
        apart = torch.stack([distance(self._make(batch, noise), batch.images) for noise in noises])
        return noises[apart.argmin(0), torch.arange(len(batch.images), device=noises.device)]

    def _make(self, batch: AdversarialBatch, noise: Tensor) -> Tensor:
        made: Tensor = self.generator(noise, batch.sentence, batch.words, batch.mask)
        return made

    def _text_losses(self, batch: AdversarialBatch, output: DiscriminatorOutput) -> tuple[Tensor, dict[str, Tensor]]:
        """Sentence and word loss of these images, weighted and summed; and unweighted, by name."""
        settings = self._settings
        total = output.logit.new_zeros(())
        facts: dict[str, Tensor] = {}
        if not (settings.sentence or settings.word):
            return total, facts
        sentence, words = self.discriminator.read(batch.sentence, batch.words)
        if settings.sentence:
            value = self._contrast(cosines(sentence, self._centred(output.embedding)), batch)
            total = total + settings.sentence * value
            facts["sentence"] = value.detach()
        if settings.word:
            scores = word_region_scores(
                words,
                batch.mask,
                self._centred(output.regions),
                settings.region_sharpness,
                settings.word_sharpness,
                mean=settings.word_mean,
            )
            value = self._contrast(scores, batch)
            total = total + settings.word * value
            facts["word"] = value.detach()
        return total, facts

    def _compare(self, made: Tensor, real: Tensor, batch: AdversarialBatch) -> Tensor:
        """The contrastive loss of generated and real images by their features."""
        return self._contrast(cosines(self._centred(made, real), self._centred(real)), batch)

    def _centred(self, rows: Tensor, by: Tensor | None = None) -> Tensor:
        return centred(rows, by) if self._settings.centre else rows

    def _contrast(self, scores: Tensor, batch: AdversarialBatch) -> Tensor:
        return contrast(scores / self._settings.temperature, batch.same)
