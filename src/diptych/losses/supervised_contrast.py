"""Supervised contrast: everything of one class belongs together, whatever its modality."""

from __future__ import annotations

import torch
from torch import Tensor

from diptych.core.checks import positive
from diptych.core.registry import register
from diptych.core.shapes import Float
from diptych.losses.base import Embedded, Loss, widened


@register.loss("supervised_contrast")
class SupervisedContrast(Loss):
    """Cross-entropy of finding one's class among the batch.

    All 2B embeddings x = (image_1 ... image_B, text_1 ... text_B) are anchors; image and text are the two
    views of a record. With s the cosine, tau the temperature, A(i) all of the 2B but i, and P(i) those of
    A(i) that are of the class of i (siblings and the partner always are),

        L = -1/2B * sum_i 1/|P(i)| * sum_{p in P(i)} log exp(s_ip/tau) / sum_{a in A(i)} exp(s_ia/tau)

    A record without a class is a class of its own. Source: Khosla et al. 2020 (arXiv 2004.11362),
    equation 2, averaged over the anchors.

    Args:
        temperature: tau.
        across_only: leave an anchor's own modality out of A(i) and P(i): only image against text counts.
    """

    def __init__(self, temperature: float = 0.1, across_only: bool = False) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)
        self.across_only = across_only

    def forward(self, embedded: Embedded) -> Float[Tensor, ""]:
        """The mean over the 2B anchors.

        Raises ConfigError when every row comes from one record, DataError when the data has no classes.
        """
        embedded.require_negatives("supervised_contrast")
        both = torch.cat([embedded.image, embedded.text])
        logits = widened(both @ both.T) / self.temperature
        left_out = self._left_out(len(embedded.owner), logits.device)
        log_probability = logits.masked_fill(left_out, -torch.inf).log_softmax(1)
        positives = embedded.same_class().repeat(2, 2) & ~left_out
        found = log_probability.masked_fill(~positives, 0).sum(1) / positives.sum(1)
        return -found.mean()

    def _left_out(self, count: int, device: torch.device) -> Tensor:
        if not self.across_only:
            return torch.eye(2 * count, dtype=torch.bool, device=device)
        text = torch.arange(2 * count, device=device) >= count
        return text[:, None] == text[None, :]
