"""From the rows of a global batch to gradients: what a `Trainer` is given to minimise.

After `backward`, the gradients of all processes add up to the gradient of the batch's one loss, and the loss that
each process gets back is that of the whole batch. `Direct` needs no rows of other processes, so PyTorch's DDP adds
its gradients up while the backward pass runs; `Contrastive` gathers the embeddings of the whole batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from diptych.core.checks import at_least
from diptych.core.errors import ConfigError
from diptych.core.shapes import Float
from diptych.losses import Embedded, Loss
from diptych.training import randomness
from diptych.training.batch_order import BatchRows
from diptych.training.distributed import all_reduce_sum, gather_rows, rank_rows, scaler_of


@runtime_checkable
class Objective(Protocol):
    """What is minimised."""

    def check(self, module: nn.Module) -> None:
        """Called with the module in training mode before each epoch. Raises ConfigError when it cannot be trained."""
        ...

    def backward(self, rows: BatchRows, fabric: Any) -> Float[Tensor, ""]:
        """Add this process's share of the gradient to the parameters; the batch's loss, without graph."""
        ...


class Direct:
    """The mean of a loss over the rows: each process computes it on its own part of them.

    Rows of other processes are not seen, so a loss that compares rows has fewer negatives there than in
    one process; `Contrastive` gathers them.

    Args:
        step: batch rows -> scalar loss, a mean over the rows.
    """

    def __init__(self, step: Callable[[BatchRows], Tensor]) -> None:
        self.step = step
        self._parallel: DistributedDataParallel | None = None

    def distribute(self, module: nn.Module, fabric: Any) -> None:
        """Over several processes, sum the gradients of `module` within `backward`, while they are computed."""
        if fabric.world_size > 1:
            device = None if fabric.device.type == "cpu" else [fabric.device.index]
            # Unused parameters may change from epoch to epoch (`frozen_epochs`). Looking for them also keeps the
            # buckets as they are, so that a resumed run sums in the same order.
            self._parallel = DistributedDataParallel(
                _StepModule(module, lambda rows: self.step(rows)),
                device_ids=device,
                find_unused_parameters=True,
                broadcast_buffers=False,
            )

    def postponed(self) -> contextlib.AbstractContextManager[None]:
        """Within it, `backward` leaves the sum over the processes to the next `backward` outside."""
        return self._parallel.no_sync() if self._parallel else contextlib.nullcontext()

    @property
    def sums_gradients(self) -> bool:
        """Whether `backward` sums the gradients over the processes."""
        return self._parallel is not None

    def check(self, module: nn.Module) -> None:
        """Any module can be trained."""

    def backward(self, rows: BatchRows, fabric: Any) -> Float[Tensor, ""]:
        """The gradient of the loss of this process's rows, by its share of all rows."""
        part = rank_rows(len(rows), fabric)
        share = (part.stop - part.start) / len(rows)
        with fabric.autocast():
            loss: Tensor = (self._parallel or self.step)(rows if share == 1 else rows[part])
        if share != 1:
            loss = loss * share
        fabric.backward(loss * fabric.world_size if self._parallel else loss)  # DDP takes the mean over processes
        return all_reduce_sum(loss, fabric)


class _StepModule(nn.Module):
    """A step as a module, whose parameters DDP watches."""

    def __init__(self, module: nn.Module, step: Callable[[BatchRows], Tensor]) -> None:
        super().__init__()
        self.module = module
        self._step = step

    def forward(self, rows: BatchRows) -> Tensor:
        """The loss of the rows."""
        return self._step(rows)


class Contrastive:
    """One loss over the embeddings of all processes' rows, with as little memory as asked for.

    1. Each process embeds its rows: at once, or chunk by chunk without a graph.
    2. The embeddings of all processes are gathered; each process computes the loss L of the whole batch, and its
       gradient g = dL/de for the embeddings e. A loss with parameters or a memory sees the same batch
       everywhere, so it stays the same everywhere.
    3. Each process backpropagates g of its own rows through its towers, after embedding each chunk again, now
       with a graph and the same random numbers (the same dropout).

    By the chain rule this is exactly the gradient of the full batch. Source: gradient caching, Gao et al.
    2021 (arXiv 2101.06983), section 3.2; gathered negatives as in CLIP (arXiv 2103.00020), figure 3.

    Args:
        embed: batch rows -> embeddings; each row's own must not depend on which others are there.
        loss: of the whole batch.
        chunk: rows embedded at once with a graph; 0 is all of the process's.
        extra: rows and their embeddings -> the mean over them of a further loss, added to the first. It is computed
            chunk by chunk, so it must need no other rows.
        weight: of `loss` beside `extra`.
    """

    def __init__(
        self,
        embed: Callable[[BatchRows], Embedded],
        loss: Loss,
        chunk: int = 0,
        *,
        extra: Callable[[BatchRows, Embedded], Tensor] | None = None,
        weight: float = 1.0,
    ) -> None:
        self.embed = embed
        self.loss = loss
        self.chunk = at_least("chunk", chunk, 0)
        self.extra = extra
        self.weight = weight

    def check(self, module: nn.Module) -> None:
        """Raise ConfigError for a chunk with batch norms in training mode: there a row depends on its chunk."""
        if self.chunk and any(isinstance(part, _BatchNorm) and part.training for part in module.modules()):
            raise ConfigError(
                f"chunk = {self.chunk} gives another result than the full batch with batch norms that learn from "
                "the batch; set chunk = 0, or keep the batch norms in evaluation mode"
            )

    def backward(self, rows: BatchRows, fabric: Any) -> Float[Tensor, ""]:
        """The gradient of the whole batch's loss, as far as it comes through this process's rows.

        Raises what the loss raises, such as ConfigError for a batch with a single record.
        """
        part = rank_rows(len(rows), fabric)
        size = part.stop - part.start
        step = self.chunk or size
        chunks = [rows[begin : min(begin + step, part.stop)] for begin in range(part.start, part.stop, step)]
        cached = len(chunks) > 1
        states, embedded = [], []
        with torch.set_grad_enabled(not cached):
            for chunk in chunks:
                states.append(randomness.torch_snapshot())
                embedded.append(self._embed(chunk, fabric))
        image, text, loss = self._loss_on_gathered(embedded, part, len(rows), fabric)
        if not cached:
            more = self._extra(chunks[0], embedded[0], len(rows), fabric)
            _backward_embeddings(embedded[0], image, text, more, fabric)
            return loss if more is None else loss + all_reduce_sum(more, fabric)
        further = []
        after = randomness.torch_snapshot()
        begin = 0
        for chunk, state in zip(chunks, states, strict=True):
            randomness.torch_restore(state)
            own = slice(begin, begin + len(chunk))
            again = self._embed(chunk, fabric)
            more = self._extra(chunk, again, len(rows), fabric)
            _backward_embeddings(again, image[own], text[own], more, fabric)
            if more is not None:
                further.append(more.detach())
            begin += len(chunk)
        randomness.torch_restore(after)
        return loss + all_reduce_sum(torch.stack(further).sum(), fabric) if further else loss

    def _extra(self, rows: BatchRows, embedded: Embedded, all_rows: int, fabric: Any) -> Tensor | None:
        """These rows' part of the extra loss, which is a mean over the batch."""
        if self.extra is None:
            return None
        with fabric.autocast():
            return self.extra(rows, embedded) * (len(rows) / all_rows)

    def _embed(self, rows: BatchRows, fabric: Any) -> Embedded:
        with fabric.autocast():
            return self.embed(rows)

    def _loss_on_gathered(
        self, own: list[Embedded], part: slice, rows: int, fabric: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients for this process's embeddings (with the scaler's factor, if any), and the loss."""

        def all_rows(parts: list[Tensor]) -> Tensor:
            return gather_rows(torch.cat(parts), rows, fabric)

        image = all_rows([each.image for each in own]).requires_grad_()
        text = all_rows([each.text for each in own]).requires_grad_()
        groups = [each.group for each in own if each.group is not None]
        group = all_rows(groups) if groups else None
        numbers = [each.rows for each in own if each.rows is not None]
        owner = all_rows([each.owner for each in own])
        rows_of_pairs = all_rows(numbers) if numbers else None
        labels = [each.label for each in own if each.label is not None]
        label = all_rows(labels) if labels else None
        with fabric.autocast():
            loss: Tensor = self.loss(Embedded(image, text, owner, group, rows_of_pairs, own[0].sides, label))
        if self.weight != 1:
            loss = self.weight * loss
        # Every process computes this very loss, so each adds only its share to the loss's own parameters.
        processes = fabric.world_size
        fabric.backward(loss / processes if processes > 1 else loss)
        for_image, for_text = (_gradient(each)[part] * processes for each in (image, text))
        return for_image, for_text, loss.detach()


def _gradient(rows: Tensor) -> Tensor:
    return torch.zeros_like(rows) if rows.grad is None else rows.grad


def _backward_embeddings(embedded: Embedded, image: Tensor, text: Tensor, more: Tensor | None, fabric: Any) -> None:
    """Backpropagate these gradients of the embeddings, and a further loss of them, through the towers."""
    pairs = [(embedded.image, image), (embedded.text, text)]
    if more is not None:
        scaler = scaler_of(fabric)
        pairs.append((scaler.scale(more) if scaler else more, torch.ones_like(more)))
    learning = [(rows, gradient) for rows, gradient in pairs if rows.requires_grad]
    if learning:  # a tower may be frozen, without a head
        torch.autograd.backward([rows for rows, _ in learning], [gradient for _, gradient in learning])
