"""Instance discrimination: each pair is a class of its own, distinguished from a queue of many others."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from diptych.core.checks import at_least, positive
from diptych.core.errors import ConfigError
from diptych.core.registry import register
from diptych.core.shapes import Bool, Float
from diptych.losses.base import Embedded, Loss, widened


@register.loss("instance_discrimination")
class InstanceDiscrimination(Loss):
    """Cross-entropy of finding the partner among the batch and a queue of earlier embeddings.

    With s the cosine, tau the temperature, v_i the image and t_i the text of row i, and Q_v, Q_t the queues,

        L = -1/2B * sum_i [ log exp(s(v_i,t_i)/tau) / (sum_j exp(s(v_i,t_j)/tau) + sum_{q in Q_t} exp(s(v_i,q)/tau))
                          + log exp(s(v_i,t_i)/tau) / (sum_j exp(s(v_j,t_i)/tau) + sum_{q in Q_v} exp(s(q,t_i)/tau)) ]

    where siblings of i are left out, in the batch and in the queues. Source: each instance a class, with a
    memory: Wu et al. 2018 (arXiv 1805.01978), equation 2; the memory as a first-in-first-out queue: He et
    al. 2020 (arXiv 1911.05722), section 3.1; across two modalities: Morgado et al. 2021 (arXiv 2004.12943).

    A batch joins the queue after its loss is computed, in training mode only, and without gradient. The
    queue is part of the state dict, so a resumed run continues with the same queue. While it is empty, in
    the first batch, the negatives are those of the batch.

    What the queue holds was embedded by older weights. While the weights move fast, towers learn to differ from
    their older embeddings rather than to tell records apart, so the queue is left out for the first part of
    training (as in XBM, Wang et al. 2020, arXiv 1912.06798, section 3.2: features must drift slowly first).

    Args:
        dim: width of the embeddings.
        queue: embeddings remembered of each modality; 0 is none.
        temperature: tau.
        wait: share of training before the queue counts.
    """

    needs_modalities = True  # its queues are of images and of texts

    image_queue: Tensor
    text_queue: Tensor
    owner_queue: Tensor
    filled: Tensor
    position: Tensor

    def __init__(self, dim: int, queue: int = 4096, temperature: float = 0.07, wait: float = 0.5) -> None:
        super().__init__()
        if not 0 <= wait <= 1:
            raise ConfigError(f"wait is a share of training from 0 to 1, found {wait}")
        self.wait = wait
        self.waiting = False  # until a trainer says where it is
        at_least("queue", queue, 0)
        self.temperature = positive("temperature", temperature)
        self.register_buffer("image_queue", torch.zeros(queue, dim))
        self.register_buffer("text_queue", torch.zeros(queue, dim))
        self.register_buffer("owner_queue", torch.zeros(queue, dtype=torch.int64))
        self.register_buffer("filled", torch.tensor(0))
        self.register_buffer("position", torch.tensor(0))  # where the next embedding goes

    def start_step(self, progress: float) -> None:
        """Leave the queue out until `wait`."""
        self.waiting = progress < self.wait

    def forward(self, embedded: Embedded) -> Float[Tensor, ""]:
        """The mean of both directions over the batch. Raises ConfigError when every row comes from one record."""
        embedded.require_negatives("instance_discrimination")
        image, text = embedded.image, embedded.text
        siblings, not_negatives = embedded.siblings(), self._not_negatives(embedded)
        scores = image @ text.T
        to_text = self._direction(scores, image @ self.text_queue.to(image.dtype).T, siblings, not_negatives)
        to_image = self._direction(scores.T, text @ self.image_queue.to(text.dtype).T, siblings, not_negatives)
        if self.training:
            self._remember(embedded)
        return 0.5 * (to_text + to_image)

    def report(self) -> Mapping[str, float]:
        """How many embeddings of each modality the queue holds."""
        return {"queue": 0.0 if self.waiting else float(self.filled)}

    def _direction(self, batch: Tensor, queue: Tensor, siblings: Tensor, not_negatives: Tensor) -> Tensor:
        logits = widened(torch.cat([batch, queue], dim=1)) / self.temperature
        logits = logits.masked_fill(torch.cat([siblings, not_negatives], dim=1), -torch.inf)
        return functional.cross_entropy(logits, torch.arange(len(batch), device=batch.device))

    def _not_negatives(self, embedded: Embedded) -> Bool[Tensor, "b q"]:
        """True for places of the queue that are empty, or hold the record that the row is of."""
        empty = torch.arange(len(self.owner_queue), device=self.filled.device) >= self.filled
        return self.waiting | empty[None, :] | (self.owner_queue[None, :] == embedded.owner[:, None])

    @torch.no_grad()
    def _remember(self, embedded: Embedded) -> None:
        size = len(self.owner_queue)
        if size == 0:
            return
        image, text, owner = embedded.image[-size:], embedded.text[-size:], embedded.owner[-size:]
        places = (self.position + torch.arange(len(owner), device=self.position.device)) % size
        # Out of place: the queues as they were are still needed for this batch's gradient.
        self.image_queue = self.image_queue.index_copy(0, places, image.detach().to(self.image_queue.dtype))
        self.text_queue = self.text_queue.index_copy(0, places, text.detach().to(self.text_queue.dtype))
        self.owner_queue = self.owner_queue.index_copy(0, places, owner.to(torch.int64))
        self.position = (self.position + len(owner)) % size
        self.filled = (self.filled + len(owner)).clamp(max=size)
