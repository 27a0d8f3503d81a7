"""Cross-entropy on the label of a pair: is it related, yes or no?"""

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
from diptych.losses.base import Embedded, Loss


@register.loss("pair_cross_entropy")
class PairCrossEntropy(Loss):
    """Cross-entropy of a pair's label and the sigmoid of its cosine, with learnt temperature and bias.

    With c_i the cosine of the two embeddings of pair i, r_i its label, tau the temperature and b the bias,

        p_i = sigmoid( c_i / tau + b ),    L = -1/B * sum_i [ r_i * log p_i + (1 - r_i) * log(1 - p_i) ]

    A label between 0 and 1 is the probability to aim at. The saved model keeps tau and b, so that it says how likely
    two texts are related. Source: the sigmoid of SigLIP (`sigmoid`), on the labels that the data states instead of on
    all combinations of a batch. A softmax over (u, v, |u - v|) as in SBERT (arXiv 1908.10084, section 3) learns a
    classifier that ranking by the cosine would not use.

    Args:
        temperature: tau at the start; log(1/tau) is trained.
        bias: b at the start; trained. A cosine of 0.5 begins as a probability of one half.
    """

    needs_labels = True

    def __init__(self, temperature: float = 0.1, bias: float = -5.0) -> None:
        super().__init__()
        if not math.isfinite(bias):
            raise ConfigError(f"bias must be a finite number, found {bias}")
        self.log_scale = nn.Parameter(torch.tensor(-math.log(positive("temperature", temperature))))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def forward(self, embedded: Embedded) -> Float[Tensor, ""]:
        """The mean over the pairs. Raises DataError for pairs without labels."""
        label = embedded.labels("pair_cross_entropy")
        scores = embedded.pair_scores()
        logits = scores * self.log_scale.exp() + self.bias
        return functional.binary_cross_entropy_with_logits(logits, label.to(logits.dtype))

    def logits(self) -> tuple[float, float]:
        """1 / temperature, and the bias; probabilities are a sigmoid."""
        return float(self.log_scale.detach().exp()), float(self.bias.detach())

    def report(self) -> Mapping[str, float]:
        """The current temperature and bias."""
        return {"temperature": float((-self.log_scale.detach()).exp()), "bias": float(self.bias.detach())}
