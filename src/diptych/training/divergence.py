"""Reads losses and gradient norms back from the device, and stops a run when one is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from diptych.core.errors import DiptychError
from diptych.training.batch_order import BatchRows

NameRows = Callable[[BatchRows], Sequence[str]]
_NAMED = 8  # records that an error names


class DivergedError(DiptychError):
    """The loss or its gradient is not finite; the last good checkpoint is kept."""


@dataclass(frozen=True)
class _Noted:
    what: str  # "loss" or "gradient"
    value: Tensor
    batch: int
    rows: BatchRows


@dataclass
class DivergenceMonitor:
    """Collects the losses and gradient norms of an epoch's batches.

    Reading a number back makes a GPU wait, so values are kept where they are until `check`.

    Args:
        folder: of the run; named in the error.
        epoch: from 0.
        batches: in this epoch.
        name_rows: the records' names of a batch, for the error.
    """

    folder: Path
    epoch: int
    batches: int
    name_rows: NameRows | None
    _noted: list[_Noted] = field(default_factory=list)

    def loss(self, value: Tensor, batch: int, rows: BatchRows) -> None:
        """Note the loss of batch number `batch`, from 0."""
        self._noted.append(_Noted("loss", value, batch, replace(rows, loaded=None)))

    def gradient(self, norm: Tensor, batch: int, rows: BatchRows) -> None:
        """Note the norm of the gradient after batch number `batch`."""
        self._noted.append(_Noted("gradient", norm, batch, replace(rows, loaded=None)))

    def check(self) -> list[float]:
        """The losses noted since the last check. Raises DivergedError at the first value that is no number."""
        noted, self._noted = self._noted, []
        values = torch.stack([each.value.double() for each in noted]).tolist() if noted else []
        for each, value in zip(noted, values, strict=True):
            if not math.isfinite(value):
                raise self._diverged(each, value)
        return [value for each, value in zip(noted, values, strict=True) if each.what == "loss"]

    def _diverged(self, noted: _Noted, value: float) -> DivergedError:
        names = list(self.name_rows(noted.rows)) if self.name_rows else []
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        records = f"; its records: {', '.join(names[:_NAMED])}{more}" if names else ""
        return DivergedError(
            f"the {noted.what} is {value} in epoch {self.epoch + 1}, batch {noted.batch + 1} of {self.batches}"
            f"{records}; the last good checkpoint is kept in {self.folder}; try a lower learning_rate or clip"
        )
