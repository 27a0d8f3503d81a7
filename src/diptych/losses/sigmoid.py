"""Sigmoid loss: each image-text combination of the batch is a yes-or-no question of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.checks import positive
from diptych.core.errors import ConfigError
from diptych.core.registry import register
from diptych.core.shapes import Float
from diptych.core.similarity import Similarity, similarity_of
from diptych.losses.base import Embedded, Loss


@register.loss("sigmoid")
class Sigmoid(Loss):
    """The SigLIP loss, with learnt temperature and bias.

    With s the similarity, tau the temperature, b the bias and z_ij = 1 for partners, -1 for others,

        L = -1/B * sum_i sum_j log sigmoid( z_ij * (s_ij / tau + b) )

    where siblings of i are left out of the sum over j. Source: Zhai et al. 2023 (arXiv 2303.15343),
    section 3.2 and algorithm 1. The bias starts low because nearly all combinations are negatives.

    Args:
        temperature: tau at the start; log(1/tau) is trained.
        bias: b at the start; trained.
        similarity: "cosine", "l2", "order", or a function of images and texts.
    """

    def __init__(self, temperature: float = 0.1, bias: float = -10.0, similarity: str | Similarity = "cosine") -> None:
        super().__init__()
        if not math.isfinite(bias):
            raise ConfigError(f"bias must be a finite number, found {bias}")
        self.log_scale = nn.Parameter(torch.tensor(-math.log(positive("temperature", temperature))))
        self.bias = nn.Parameter(torch.tensor(float(bias)))
        self.similarity = similarity_of(similarity)

    def forward(self, embedded: Embedded) -> Float[Tensor, ""]:
        """The sum over texts, averaged over images. Raises ConfigError when every row comes from one record."""
        embedded.require_negatives("sigmoid")
        scores = embedded.scores(self.similarity)
        logits = scores * self.log_scale.exp() + self.bias
        negatives = embedded.negatives()
        right = functional.logsigmoid(torch.where(negatives, -logits, logits))
        return -right.masked_fill(embedded.siblings(), 0).sum() / len(negatives)

    def logits(self) -> tuple[float, float]:
        """1 / temperature, and the bias; probabilities are a sigmoid."""
        return float(self.log_scale.detach().exp()), float(self.bias.detach())

    def report(self) -> Mapping[str, float]:
        """The current temperature and bias."""
        return {"temperature": float((-self.log_scale.detach()).exp()), "bias": float(self.bias.detach())}
