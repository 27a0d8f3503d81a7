"""Reads losses and gradient norms back from the device, and stops a run that has left the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diptych.core.errors import DiptychError
from diptych.training.batches import BatchRows

NameRows = Callable[[BatchRows], Sequence[str]]
_NAMED = 8  # records that an error names


class DivergedError(DiptychError):
    """The loss or its gradient stopped being a number; the last good checkpoint is kept."""


@dataclass(frozen=True)
class _Seen:
    what: str  # "loss" or "gradient"
    value: Tensor
    batch: int
    rows: BatchRows


class Watch:
    """Collects what an epoch's batches came to.

    Reading a number back makes a GPU wait, so values are kept where they are until `check`.

    Args:
        folder: of the run; named in the error.
        epoch: from 0.
        batches: in this epoch.
        name_rows: the records' names of a batch, for the error.
    """

    def __init__(self, folder: Path, epoch: int, batches: int, name_rows: NameRows | None) -> None:
        self._folder = folder
        self._epoch = epoch
        self._batches = batches
        self._name_rows = name_rows
        self._seen: list[_Seen] = []

    def loss(self, value: Tensor, batch: int, rows: BatchRows) -> None:
        """Note the loss of batch number `batch`, from 0."""
        self._seen.append(_Seen("loss", value, batch, rows))

    def gradient(self, norm: Tensor, batch: int, rows: BatchRows) -> None:
        """Note the norm of the gradient after batch number `batch`."""
        self._seen.append(_Seen("gradient", norm, batch, rows))

    def check(self) -> list[float]:
        """The losses noted since the last check. Raises DivergedError at the first value that is no number."""
        seen, self._seen = self._seen, []
        values = torch.stack([each.value.double() for each in seen]).tolist() if seen else []
        for each, value in zip(seen, values, strict=True):
            if not math.isfinite(value):
                raise self._diverged(each, value)
        return [value for each, value in zip(seen, values, strict=True) if each.what == "loss"]

    def _diverged(self, seen: _Seen, value: float) -> DivergedError:
        names = list(self._name_rows(seen.rows)) if self._name_rows else []
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        records = f"; its records: {', '.join(names[:_NAMED])}{more}" if names else ""
        return DivergedError(
            f"the {seen.what} is {value} in epoch {self._epoch + 1}, batch {seen.batch + 1} of {self._batches}"
            f"{records}; the last good checkpoint is kept in {self._folder}; try a lower learning_rate or clip"
        )
