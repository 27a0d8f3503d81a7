"""A pass forward and backward, recorded once as a CUDA graph and then replayed.

With networks of thousands of small operations, launching them from Python takes longer than computing them. A replay
launches all of them at once. Source: CUDA graphs, as `torch.cuda.CUDAGraph` offers them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diptych.core.errors import ConfigError
from diptych.training import randomness

LossTerm = Callable[[Any], tuple[Tensor, Mapping[str, Tensor]]]  # a batch -> loss, and numbers for the log
Recorder = Callable[[Callable[[], Sequence[Tensor]]], tuple[Sequence[Tensor], Callable[[], None]]]
_WARM_UPS = 3  # runs before recording, in which libraries choose their algorithms and allocate their memory


def record_on_gpu(run: Callable[[], Sequence[Tensor]]) -> tuple[Sequence[Tensor], Callable[[], None]]:
    """What `run` gives, and a replay of it that writes into the same tensors. `run` runs a few times before."""
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_WARM_UPS):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        given = run()
    return given, graph.replay


class CudaGraphStep:
    """`loss, numbers = step(batch)` leaves the gradients where `loss.backward()` would.

    One recording for each combination of shapes; what is recorded must not read numbers back from the GPU
    (ConfigError where it does).
    Buffers and random generators are after a recording as they were before, so that a resumed run, which
    records again, gives the same result.

    Args:
        step: a batch, a dataclass whose fields are tensors of fixed shapes or None -> loss, and numbers for the log.
        learning: the module whose parameters get the gradients.
        whole: the module whose buffers a pass changes.
        autocast: -> the context that a pass runs in.
        record: how a pass is recorded.
    """

    def __init__(
        self,
        step: LossTerm,
        learning: nn.Module,
        whole: nn.Module,
        autocast: Callable[[], Any],
        record: Recorder = record_on_gpu,
    ) -> None:
        self._step, self._autocast, self._record_pass = step, autocast, record
        self._learning = [each for each in learning.parameters() if each.requires_grad]
        self._buffers = list(whole.buffers())
        self._recordings: dict[tuple[Any, ...], _Recording] = {}

    def __call__(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, without a graph, and the numbers."""
        given = _tensors(batch)
        shapes = tuple((name, value.shape, value.dtype) for name, value in given.items())
        if shapes not in self._recordings:
            self._recordings[shapes] = self._record(batch, given)
        recording = self._recordings[shapes]
        for name, value in recording.given.items():
            value.copy_(given[name])
        recording.replay()
        for parameter, gradient in zip(recording.reached, recording.gradients, strict=True):
            parameter.grad = gradient
        loss, *numbers = recording.values.clone().unbind()  # the next replay writes over these values
        return loss, dict(zip(recording.names, numbers, strict=True))

    def _record(self, batch: Any, given: Mapping[str, Tensor]) -> _Recording:
        fixed = {name: value.clone() for name, value in given.items()}
        copy = dataclasses.replace(batch, **fixed)
        random, buffers = randomness.torch_snapshot(), [each.clone() for each in self._buffers]
        names: list[str] = []
        reached: list[nn.Parameter] = []

        def run() -> Sequence[Tensor]:
            self._clear_gradients()
            with self._autocast():
                loss, numbers = self._step(copy)
            loss.backward()  # type: ignore[no-untyped-call]
            names[:] = numbers
            reached[:] = [each for each in self._learning if each.grad is not None]
            values = torch.stack([loss.detach().float(), *(value.detach().float() for value in numbers.values())])
            return [values, *(each.grad for each in reached if each.grad is not None)]

        try:
            (values, *gradients), replay = self._record_pass(run)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ConfigError(
                f"this step cannot be recorded for the GPU ({str(error).splitlines()[0]}); set replay = false"
            ) from error
        self._clear_gradients()
        randomness.torch_restore(random)
        for buffer, before in zip(self._buffers, buffers, strict=True):
            buffer.copy_(before)
        return _Recording(replay, fixed, reached, gradients, values, tuple(names))

    def _clear_gradients(self) -> None:
        for parameter in self._learning:
            parameter.grad = None


@dataclasses.dataclass(frozen=True)
class _Recording:
    replay: Callable[[], None]
    given: dict[str, Tensor]  # what a replay reads
    reached: list[nn.Parameter]  # those that get a gradient
    gradients: list[Tensor]  # theirs, which a replay writes
    values: Tensor  # loss and numbers
    names: tuple[str, ...]  # of the numbers


def _tensors(batch: Any) -> dict[str, Tensor]:
    values = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}
