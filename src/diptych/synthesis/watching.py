"""How a generator is looked at while it learns: fixed samples, its statistics, alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.shapes import Float
from diptych.synthesis.blocks import collecting

_SMALL = 16  # pixels that pictures are compared at
SAME_TEXT, OTHER_TEXT = "diversity of noise", "diversity of texts"
_ALARM_TEXTS = 0.3  # of the spread of real pictures
_ALARM_NOISE = 0.02
_ALARM_RIGHT = 0.99


def collect_statistics(
    generator: nn.Module, batches: Sequence[tuple[Tensor, Tensor, Tensor]], noise: Sequence[Tensor]
) -> None:
    """Standing statistics of the norms from these texts and noises; see `blocks.StandingNorm`."""
    with torch.no_grad(), collecting(generator):
        for batch, z in zip(batches, noise, strict=True):
            generator(z, *batch)


def diversity(pictures: Float[Tensor, "t n 3 s s"], real: Float[Tensor, "m 3 s s"]) -> dict[str, float]:
    """Spread of pictures at 16 x 16 pixels, as a share of the spread of real pictures.

    "diversity of noise": between the n pictures of one text, mean over texts. "diversity of texts": between the
    mean pictures of the texts. A collapsed generator has 0.
    """
    texts, each = pictures.shape[:2]
    flat = functional.adaptive_avg_pool2d(pictures.flatten(0, 1).float(), _SMALL)
    small = flat.reshape(texts, each, -1)
    whole = functional.adaptive_avg_pool2d(real.float(), _SMALL).flatten(1)

    def spread(rows: Tensor) -> float:
        return float(rows.var(dim=0, unbiased=False).mean().sqrt())

    scale = max(spread(whole), 1e-6)
    noise = sum(spread(rows) for rows in small) / texts / scale
    return {SAME_TEXT: round(noise, 4), OTHER_TEXT: round(spread(small.mean(1)) / scale, 4)}


def alarms(facts: Mapping[str, float]) -> list[str]:
    """What looks like a collapse in a round's numbers, in words; nothing when all is well."""
    found = []
    if facts.get(OTHER_TEXT, 1.0) < _ALARM_TEXTS:
        found.append(
            f"pictures of different texts hardly differ ({OTHER_TEXT} {facts[OTHER_TEXT]:.2f} of real pictures')"
        )
    if facts.get(SAME_TEXT, 1.0) < _ALARM_NOISE:
        found.append(f"pictures of one text are all alike ({SAME_TEXT} {facts[SAME_TEXT]:.3f} of real pictures')")
    right = min(facts.get(f"discriminator right on {what}", 0.5) for what in ("real", "generated"))
    if right > _ALARM_RIGHT:
        found.append(f"the discriminator is right {100 * right:.0f} % of the time, so the generator learns little")
    return found
