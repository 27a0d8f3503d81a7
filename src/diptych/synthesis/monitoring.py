"""Monitoring of a generator in training: statistics of its norms, diversity of its samples, signs of a collapse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.shapes import Float
from diptych.synthesis.blocks import collecting_statistics

_SMALL = 16  # pixels that images are compared at
SAME_TEXT, OTHER_TEXT = "diversity of noise", "diversity of texts"
_ALARM_TEXTS = 0.3  # of the spread of real images
_ALARM_NOISE = 0.02
_ALARM_RIGHT = 0.99


def collect_statistics(
    generator: nn.Module, batches: Sequence[tuple[Tensor, Tensor, Tensor]], noise: Sequence[Tensor]
) -> None:
    """Standing statistics of the norms from these texts and noises; see `blocks.StandingNorm`."""
    with torch.no_grad(), collecting_statistics(generator):
        for batch, z in zip(batches, noise, strict=True):
            generator(z, *batch)


def diversity(images: Float[Tensor, "t n 3 s s"], real: Float[Tensor, "m 3 s s"]) -> dict[str, float]:
    """Spread of images at 16 x 16 pixels, as a share of the spread of real images.

    "diversity of noise": between the n images of one text, mean over texts. "diversity of texts": between the
    mean images of the texts. A collapsed generator has 0.
    """
    texts, each = images.shape[:2]
    flat = functional.adaptive_avg_pool2d(images.flatten(0, 1).float(), _SMALL)
    small = flat.reshape(texts, each, -1)
    whole = functional.adaptive_avg_pool2d(real.float(), _SMALL).flatten(1)

    def spread(rows: Tensor) -> float:
        return float(rows.var(dim=0, unbiased=False).mean().sqrt())

    scale = max(spread(whole), 1e-6)
    noise = sum(spread(rows) for rows in small) / texts / scale
    return {SAME_TEXT: round(noise, 4), OTHER_TEXT: round(spread(small.mean(1)) / scale, 4)}


def alarms(facts: Mapping[str, float]) -> list[str]:
    """Sentences on what in a round's numbers looks like a collapse; empty when nothing does."""
    found = []
    if facts.get(OTHER_TEXT, 1.0) < _ALARM_TEXTS:
        found.append(f"images of different texts hardly differ ({OTHER_TEXT} {facts[OTHER_TEXT]:.2f} of real images')")
    if facts.get(SAME_TEXT, 1.0) < _ALARM_NOISE:
        found.append(f"images of one text are all alike ({SAME_TEXT} {facts[SAME_TEXT]:.3f} of real images')")
    right = min(facts.get(f"discriminator right on {what}", 0.5) for what in ("real", "generated"))
    if right > _ALARM_RIGHT:
        found.append(f"the discriminator is right {100 * right:.0f} % of the time, so the generator learns little")
    return found
