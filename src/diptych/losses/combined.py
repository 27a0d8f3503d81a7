"""Several losses at once, as a weighted sum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn

from diptych.core.checks import positive
from diptych.core.errors import ConfigError
from diptych.core.registry import Part, build, part_of, register
from diptych.core.shapes import Float
from diptych.losses.base import Embedded, Loss


class Combined(Loss):
    """L = sum_k w_k * L_k over the losses given by name.

    Instance discrimination with adversarial alignment is one such sum: the first keeps pairs apart, the
    second mixes the modalities.

    Args:
        losses: by a name for the log, which has no dot in it.
        weights: w, in the order of the losses.
    """

    def __init__(self, losses: Mapping[str, Loss], weights: Sequence[float]) -> None:
        super().__init__()
        if not losses:
            raise ConfigError("a combined loss needs at least 1 loss, found none")
        if len(weights) != len(losses):
            raise ConfigError(f"a combined loss needs a weight for each loss, found {len(weights)} for {len(losses)}")
        self.losses = nn.ModuleDict(losses)
        self.needs_modalities = any(loss.needs_modalities for loss in losses.values())
        self.needs_labels = any(loss.needs_labels for loss in losses.values())
        self.weights = tuple(positive("weight", weight) for weight in weights)
        self._last: dict[str, Tensor] = {}

    def forward(self, embedded: Embedded) -> Float[Tensor, ""]:
        """The weighted sum; raises what its losses raise."""
        values = {name: loss(embedded) for name, loss in self._items()}
        self._last = {name: value.detach() for name, value in values.items()}
        terms = [weight * value for weight, value in zip(self.weights, values.values(), strict=True)]
        return cast(Tensor, sum(terms[1:], terms[0]))

    def start_epoch(self, epoch: int) -> None:
        """Pass it on to all losses."""
        for _, loss in self._items():
            loss.start_epoch(epoch)

    def start_step(self, progress: float) -> None:
        """Pass it on to all losses."""
        for _, loss in self._items():
            loss.start_step(progress)

    def report(self) -> Mapping[str, float]:
        """Each loss's value in the last batch, before its weight, and its own report as `name.value`."""
        found: dict[str, float] = {name: float(value) for name, value in self._last.items()}
        for name, loss in self._items():
            found |= {f"{name}.{key}": value for key, value in loss.report().items()}
        return found

    def _items(self) -> Iterator[tuple[str, Loss]]:
        return cast(Iterator[tuple[str, Loss]], iter(self.losses.items()))


@register.loss("combined")
def combined(parts: Sequence[Any], dim: int | None = None, classes: int | None = None) -> Combined:
    """Build a `Combined` from a config: tables of a loss with its options, and `weight` (1 if left out).

        loss = {name = "combined", parts = [
            {name = "instance_discrimination", weight = 1.0, queue = 4096},
            {name = "adversarial", weight = 0.1},
        ]}

    Raises ConfigError for anything but such a list.
    """
    if not isinstance(parts, list | tuple):
        raise ConfigError(f"combined.parts must be a list of losses, found {parts!r}")
    losses: dict[str, Loss] = {}
    weights: list[float] = []
    for value in parts:
        part = part_of(value, "combined.parts")
        options = dict(part.options)
        weights.append(options.pop("weight", 1.0))
        name = part.name.rpartition(":")[2]
        copies = sum(key.split("-")[0] == name for key in losses)
        loss: Loss = build("loss", Part(part.name, options), dim=dim, classes=classes)
        losses[f"{name}-{copies + 1}" if copies else name] = loss
    return Combined(losses, weights)
