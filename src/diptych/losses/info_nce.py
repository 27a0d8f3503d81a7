"""Symmetric InfoNCE with a learnt temperature."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.checks import at_least, share
from diptych.core.registry import register
from diptych.core.shapes import Float
from diptych.core.similarity import Similarity, similarity_of
from diptych.losses.base import Embedded, Loss

MAX_SCALE = 100.0  # 1 / temperature is kept below this, as CLIP does


@register.loss("info_nce")
class InfoNCE(Loss):
    """Cross-entropy of finding the partner among the batch, in both directions.

    With s the similarity and tau the temperature,

        L = -1/2b * sum_i [ log exp(s_ii/tau) / sum_j exp(s_ij/tau)      image -> text
                          + log exp(s_ii/tau) / sum_j exp(s_ji/tau) ]    text -> image

    where siblings of i (other captions of the same image) are left out of both sums. Source:
    van den Oord et al. 2018, section 2.3; symmetric form with learnt temperature as in Radford
    et al. 2021, figure 3.

    Args:
        temperature: tau at the start, at least 1 / MAX_SCALE.
        learn_temperature: train log(1/tau) with the rest.
        label_smoothing: share of the target spread over the whole batch.
        similarity: "cosine", "l2", "order", or a function of images and texts.
    """

    def __init__(
        self,
        temperature: float = 0.05,
        learn_temperature: bool = True,
        label_smoothing: float = 0.0,
        similarity: str | Similarity = "cosine",
    ) -> None:
        super().__init__()
        at_least("temperature", temperature, 1 / MAX_SCALE)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learn_temperature)
        self.label_smoothing = share("label_smoothing", label_smoothing)
        self.similarity = similarity_of(similarity)

    def forward(self, embedded: Embedded) -> Float[Tensor, ""]:
        """The mean of both directions over the batch; needs at least two records to compare.

        Raises ConfigError when every row comes from one record: there is no negative in the batch.
        """
        embedded.require_negatives("InfoNCE")
        siblings = embedded.siblings()
        scores = embedded.scores(self.similarity) * self.scale()
        scores = scores.masked_fill(siblings, torch.finfo(scores.dtype).min)
        target = torch.arange(len(siblings), device=scores.device)
        return 0.5 * (self._direction(scores, siblings, target) + self._direction(scores.T, siblings, target))

    def _direction(self, scores: Tensor, siblings: Tensor, target: Tensor) -> Tensor:
        if self.label_smoothing == 0:
            return functional.cross_entropy(scores, target)
        # Smooth over the true candidates only: siblings take no part of the target.
        log_probability = functional.log_softmax(scores, dim=1)
        hit = log_probability.gather(1, target[:, None]).mean()
        allowed = (~siblings).to(scores.dtype)
        spread = (log_probability.masked_fill(siblings, 0).sum(1) / allowed.sum(1)).mean()
        return -(1 - self.label_smoothing) * hit - self.label_smoothing * spread

    def scale(self) -> Float[Tensor, ""]:
        """1 / temperature, bounded by MAX_SCALE."""
        return self.log_scale.exp().clamp(max=MAX_SCALE)

    def logits(self) -> tuple[float, None]:
        """1 / temperature; probabilities are a softmax."""
        return float(self.scale().detach()), None

    def report(self) -> Mapping[str, float]:
        """The current temperature."""
        return {"temperature": float(1 / self.scale().detach())}
