"""Instance discrimination: each pair is a class of its own, distinguished from a queue of many others."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.checks import at_least, positive
from diptych.core.errors import ConfigError
from diptych.core.registry import register
from diptych.core.shapes import Bool, Float, Int
from diptych.losses.base import IMAGE, Embedded, Loss, widened


@register.loss("instance_discrimination")
class InstanceDiscrimination(Loss):
    """Cross-entropy of finding the partner among the batch and a queue of earlier embeddings.

    With s the cosine, tau the temperature, v_i the image and t_i the text of row i, and Q_v, Q_t the queues,

        L = -1/2B * sum_i [ log exp(s(v_i,t_i)/tau) / (sum_j exp(s(v_i,t_j)/tau) + sum_{q in Q_t} exp(s(v_i,q)/tau))
                          + log exp(s(v_i,t_i)/tau) / (sum_j exp(s(v_j,t_i)/tau) + sum_{q in Q_v} exp(s(q,t_i)/tau)) ]

    where siblings of i are left out, in the batch and in the queues. Source: each instance a class, with a
    memory: Wu et al. 2018 (arXiv 1805.01978), equation 2; the memory as a first-in-first-out queue: He et
    al. 2020 (arXiv 1911.05722), section 3.1; across two modalities: Morgado et al. 2021 (arXiv 2004.12943).

    There is one queue for each modality. In a batch within one, v_i and t_i are its two texts (or images), and
    Q_v and Q_t are both the queue of texts (or images), as in the first two sources.

    A batch joins the queues after its loss is computed, in training mode only, and without gradient. The
    queues are part of the state dict, so a resumed run continues with the same ones. While they are empty, in
    the first batch, the negatives are those of the batch.

    What a queue holds was embedded by older weights. While the weights move fast, towers learn to differ from
    their older embeddings rather than to tell records apart, so the queues are left out for the first part of
    training (as in XBM, Wang et al. 2020, arXiv 1912.06798, section 3.2: features must drift slowly first).

    Args:
        dim: width of the embeddings.
        queue: embeddings remembered of each modality; 0 is none.
        temperature: tau.
        wait: share of training before the queues count.
    """

    def __init__(self, dim: int, queue: int = 4096, temperature: float = 0.07, wait: float = 0.5) -> None:
        super().__init__()
        if not 0 <= wait <= 1:
            raise ConfigError(f"wait is a share of training from 0 to 1, found {wait}")
        self.wait = wait
        self.waiting = False  # until a trainer says where it is
        at_least("queue", queue, 0)
        self.temperature = positive("temperature", temperature)
        self.image = Queue(queue, dim)
        self.text = Queue(queue, dim)

    def start_step(self, progress: float) -> None:
        """Leave the queues out until `wait`."""
        self.waiting = progress < self.wait

    def forward(self, embedded: Embedded) -> Float[Tensor, ""]:
        """The mean of both directions over the batch. Raises ConfigError when every row comes from one record."""
        embedded.require_negatives("instance_discrimination")
        image, text = embedded.image, embedded.text
        of_image, of_text = (self.image if side == IMAGE else self.text for side in embedded.sides)
        scores = image @ text.T
        to_text = self._direction(scores, image, of_text, embedded)
        to_image = self._direction(scores.T, text, of_image, embedded)
        if self.training:
            of_image.add(image, embedded.owner)
            of_text.add(text, embedded.owner)
        return 0.5 * (to_text + to_image)

    def report(self) -> Mapping[str, float]:
        """How many embeddings of each modality are negatives of every row."""
        queues = {"image_queue": self.image, "text_queue": self.text}
        return {name: 0.0 if self.waiting else float(queue.filled) for name, queue in queues.items()}

    def _direction(self, batch: Tensor, anchors: Tensor, queue: Queue, embedded: Embedded) -> Tensor:
        logits = widened(torch.cat([batch, anchors @ queue.rows.to(anchors.dtype).T], dim=1)) / self.temperature
        left_out = torch.cat([embedded.siblings(), self.waiting | queue.not_negatives(embedded.owner)], dim=1)
        logits = logits.masked_fill(left_out, -torch.inf)
        return functional.cross_entropy(logits, torch.arange(len(batch), device=batch.device))


class Queue(nn.Module):
    """The last embeddings of one modality, first in, first out, each with the record that it is of."""

    rows: Tensor
    owner: Tensor
    filled: Tensor
    position: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(size, dim))
        self.register_buffer("owner", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("filled", torch.tensor(0))
        self.register_buffer("position", torch.tensor(0))  # where the next embedding goes

    def not_negatives(self, owner: Int[Tensor, " b"]) -> Bool[Tensor, "b q"]:
        """True for places that are empty, or hold an embedding of the record that the row is of."""
        empty = torch.arange(len(self.owner), device=self.filled.device) >= self.filled
        return empty[None, :] | (self.owner[None, :] == owner[:, None])

    @torch.no_grad()
    def add(self, rows: Float[Tensor, "b d"], owner: Int[Tensor, " b"]) -> None:
        """Remember these embeddings in place of the oldest ones."""
        size = len(self.owner)
        if size == 0:
            return
        rows, owner = rows[-size:].detach(), owner[-size:]
        places = (self.position + torch.arange(len(owner), device=self.position.device)) % size
        # Out of place: the queue as it was is still needed for this batch's gradient.
        self.rows = self.rows.index_copy(0, places, rows.to(self.rows.dtype))
        self.owner = self.owner.index_copy(0, places, owner.to(torch.int64))
        self.position = (self.position + len(owner)) % size
        self.filled = (self.filled + len(owner)).clamp(max=size)
