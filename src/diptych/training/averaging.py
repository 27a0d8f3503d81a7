"""Averaged weights: an exponential moving average that is validated and saved in place of the present weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class AveragedWeights:
    """a <- d * a + (1 - d) * w after each step, with d = min(decay, (1 + t) / (10 + t)) at step t from 0.

    The smaller d of the first steps removes the random start from the average. Buffers are not averaged. Source:
    Polyak and Juditsky 1992, in the exponential form; the ramp is that of TensorFlow's ExponentialMovingAverage.

    Args:
        module: whose parameters are averaged.
        decay: d in the long run.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._parameters = dict(module.named_parameters())
        self._decay = decay
        self.average = {name: value.detach().clone() for name, value in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the weights after step number `step`, from 0."""
        weight = 1 - min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.average.values()), list(self._parameters.values()), weight)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The module has the averaged weights within this block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def load(self, average: Mapping[str, Tensor]) -> None:
        """Take the average of a checkpoint."""
        for name, value in self.average.items():
            value.copy_(average[name])

    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.data, self.average[name] = self.average[name], parameter.data
