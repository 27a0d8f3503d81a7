"""Adversarial training on the engine of all other training: each batch trains one of several networks.

The engine holds one module with all networks and one optimiser. While one network is trained the others get no
gradient, so the optimiser leaves their weights and moments as they are. Which one is trained follows from the number
of the step, so that a resume is exact. A network learns at a rate of its own by its `learning_rate_scale`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diptych.core.errors import ConfigError
from diptych.core.shapes import Float
from diptych.training.batch_order import BatchRows
from diptych.training.cuda_graph import CudaGraphStep, LossTerm
from diptych.training.distributed import scaler_of
from diptych.training.objectives import Direct


class AdversarialObjective:
    """An objective that trains one of several networks in each step, by that network's own loss.

    Over several processes each compares the rows of its own part only, as `Direct` does.

    Args:
        networks: name -> network; together they are the module that the engine trains.
        terms: name -> batch -> the network's mean loss, and numbers for the log.
        order: the names, one a step, over and over.
        steps: of the whole run.
        read: batch rows -> batch; the rows themselves when left out.
        replay: on a single GPU, record each term once as a CUDA graph and replay it (see `CudaGraphStep`, and what it
            requires of batches).
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        terms: Mapping[str, LossTerm],
        order: Sequence[str],
        steps: int,
        *,
        read: Callable[[BatchRows], Any] = lambda rows: rows,
        replay: bool = False,
    ) -> None:
        if not order or not set(order) <= set(networks) or networks.keys() != terms.keys():
            raise ConfigError(f"the training order names {sorted(set(order))}; the networks are {sorted(networks)}")
        self._networks = dict(networks)
        self._terms = dict(terms)
        self._order = tuple(order)
        self._steps = steps
        self._read = read
        self._replay = replay
        self._recorded: dict[str, CudaGraphStep] = {}
        self._since_line = RunningMeans()
        self._since_epoch = RunningMeans()
        self.step = 0  # of the run, from 0

    def start_step(self, done: float) -> None:
        """Called before each step with the share of all steps that is done."""
        self.step = round(done * self._steps)

    def check(self, module: nn.Module) -> None:
        """Any module can be trained."""

    def backward(self, rows: BatchRows, fabric: Any) -> Float[Tensor, ""]:
        """The gradient of the loss of this step's network, for its weights alone."""
        name = self._order[self.step % len(self._order)]

        def term(part: BatchRows) -> Tensor:
            loss, numbers = self._terms[name](self._read(part))
            self._note(name, numbers)
            return loss

        others = [
            parameter
            for other, network in self._networks.items()
            if other != name
            for parameter in network.parameters()
            if parameter.requires_grad
        ]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            if self._replay and _is_one_gpu_without_scaler(fabric):
                loss, numbers = self._recorded_step(name, fabric)(self._read(rows))
                self._note(name, numbers)
                return loss
            return Direct(term).backward(rows, fabric)
        finally:
            for parameter in others:
                parameter.requires_grad_(True)

    def _recorded_step(self, name: str, fabric: Any) -> CudaGraphStep:
        if name not in self._recorded:
            whole = nn.ModuleDict(self._networks)
            self._recorded[name] = CudaGraphStep(self._terms[name], self._networks[name], whole, fabric.autocast)
        return self._recorded[name]

    def _note(self, name: str, numbers: Mapping[str, Tensor]) -> None:
        for key, value in numbers.items():
            for means in (self._since_line, self._since_epoch):
                means.add(f"{name} {key}", value)

    def step_report(self) -> dict[str, float]:
        """Means of the terms' numbers since the last call: for a line of steps.jsonl."""
        return self._since_line.take()

    def epoch_report(self) -> dict[str, float]:
        """The same, asked once an epoch; a resume within an epoch begins anew."""
        return self._since_epoch.take()


class RunningMeans:
    """Means of named numbers, left on their device until they are asked for."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Note one value."""
        self._values.setdefault(name, []).append(value.detach().float())

    def take(self) -> dict[str, float]:
        """The means, and begin anew."""
        means = {name: round(float(torch.stack(values).mean()), 5) for name, values in sorted(self._values.items())}
        self._values.clear()
        return means


def _is_one_gpu_without_scaler(fabric: Any) -> bool:
    """A gradient scaler must see each loss, which a recorded step does not allow."""
    return fabric.device.type == "cuda" and fabric.world_size == 1 and scaler_of(fabric) is None
