"""What a run keeps on disk to go on from, and how it goes on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diptych.core.errors import ConfigError
from diptych.core.protocols import Progress
from diptych.training import checkpoints, journal, randomness
from diptych.training.averaging import AveragedWeights
from diptych.training.distributed import from_first, of_each, precision_for, scaler_of
from diptych.training.settings import FREE_TO_CHANGE, TrainingSettings

LAST, BEST = "last.safetensors", "best.safetensors"
RUN_FILES = (LAST, BEST, *journal.JOURNAL_FILES)  # all that a run writes, beside the folder of TensorBoard


@dataclass
class Standing:
    """How far a run is."""

    epoch: int = 0  # whole epochs done
    batch: int = 0  # batches done of the next one
    loss: float = 0.0  # their sum
    best_score: float = -math.inf
    best_epoch: int = 0
    seconds: float = 0.0  # at work, over all interruptions
    unscored: int = 0  # epochs whose validation score was no number


class Saver:
    """Writes `last` (all that the next step depends on) and `best` (weights alone); only the first process writes.

    Args:
        folder: of the run.
        fabric: of the processes.
        module, optimiser, average: whose state is kept.
        identity: what a resumed run must agree on.
        settings: how often within an epoch.
    """

    def __init__(
        self,
        folder: Path,
        fabric: Any,
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
        average: AveragedWeights | None,
        identity: Mapping[str, Any],
        settings: TrainingSettings,
    ) -> None:
        self._folder = folder
        self._fabric = fabric
        self._module = module
        self._optimiser = optimiser
        self._average = average
        self._scaler = scaler_of(fabric)
        self._origin = {"identity": dict(identity), "processes": fabric.world_size, "precision": settings.precision}
        self._timetable = checkpoints.Timetable(settings.checkpoint_minutes, settings.checkpoint_steps)

    def due(self) -> bool:
        """Asked after each step: whether it is time to write."""
        return self._timetable.due()

    def save_last(self, at: Standing) -> None:
        """Write all that the next step depends on. Every process must call it."""
        random = randomness.snapshot()
        if self._fabric.world_size > 1:  # where each process stands
            random = {key: torch.stack(of_each(value, self._fabric)).cpu() for key, value in random.items()}
        if self._fabric.is_global_zero:
            facts = {**asdict(at), "scaler": self._scaler.state_dict() if self._scaler else None, **self._origin}
            average = self._average.average if self._average else None
            checkpoints.write(self._folder / LAST, self._module, self._optimiser, facts, random=random, average=average)
        self._timetable.written()

    def save_best(self, at: Standing) -> None:
        """Write the weights alone: the same bytes in every run with one seed."""
        if self._fabric.is_global_zero:
            facts = {"epoch": at.epoch, "best_score": at.best_score, "best_epoch": at.best_epoch, **self._origin}
            checkpoints.write(self._folder / BEST, self._module, None, facts, random={})

    def take_best(self) -> None:
        """Put the best weights into the module, on every process."""
        found = dict(checkpoints.read(self._folder / BEST).module) if self._fabric.is_global_zero else None
        self._module.load_state_dict(from_first(found, self._fabric))
        self._module.eval()

    def resume(self, progress: Progress) -> Standing:
        """Go on from the last checkpoint, or begin. Every process must call it.

        Raises ConfigError when the checkpoint is of a run with another identity or number of processes.
        """
        path = self._folder / LAST
        found = None
        if self._fabric.is_global_zero:
            remove_half_written(self._folder)
            found = checkpoints.read(path) if path.exists() else None
        found = from_first(found, self._fabric)
        self._timetable.written()
        if found is None:
            self._start_alike()
            return Standing()
        facts = found.facts
        then = {**facts["identity"], "processes": facts.get("processes", 1)}
        changed = differences(then, {**self._origin["identity"], "processes": self._fabric.world_size})
        if precision_of(facts) == self._origin["precision"]:  # "auto" and what it stood for are the same
            changed = [change for change in changed if not change.partition(":")[0].endswith("precision")]
        if changed:
            raise ConfigError(
                f"{self._folder} holds a run with other settings ({'; '.join(changed)}); "
                "choose another --out, or pass --fresh to start anew"
            )
        checkpoints.restore(found, self._module, self._optimiser, process=self._fabric.global_rank)
        if self._average:
            self._average.load(found.average)
        if self._scaler:
            self._scaler.load_state_dict(facts["scaler"])
        at = Standing(**{key: facts[key] for key in asdict(Standing()) if key in facts})  # older runs counted less
        within = f", batch {at.batch} of epoch {at.epoch + 1}" if at.batch else ""
        progress.say(f"going on after epoch {at.epoch}{within} of {self._folder}")
        return at

    def _start_alike(self) -> None:
        """The same weights on all processes, but other random numbers, so that their dropouts differ."""
        if self._fabric.world_size > 1:
            self._module.load_state_dict(from_first(self._module.state_dict(), self._fabric))
            torch.manual_seed(torch.initial_seed() + self._fabric.global_rank)


def chosen_precision(folder: Path, wanted: str, device: str) -> tuple[str, str]:
    """What a run is computed in, and why: "auto" is what the run that goes on was begun in, else what suits the device.

    Other precisions are themselves.
    """
    if wanted != "auto":
        return wanted, "as the settings say"
    here, why = precision_for(device)
    facts = checkpoints.read_facts(folder / LAST)
    begun = precision_of(facts) if facts else here
    if facts is None:
        return here, why
    other = "" if begun == here else f"; here it would be {here}: {why}"
    return begun, f"the run that goes on was begun in it{other}"


def precision_of(facts: Mapping[str, Any]) -> str:
    """What a checkpoint's run is computed in; older ones have it in their config alone."""

    def named(value: Any) -> str | None:
        if not isinstance(value, Mapping):
            return None
        own = value.get("precision")
        return own if isinstance(own, str) else next(filter(None, map(named, value.values())), None)

    return named(facts) or "32-true"


def forget(folder: Path) -> None:
    """Remove all that a run left in its folder; whatever else lies there stays."""
    remove_half_written(folder)
    for name in (LAST, BEST):
        (folder / name).unlink(missing_ok=True)
    journal.forget(folder)


def remove_half_written(folder: Path) -> None:
    """Remove what a kill in the middle of an atomic write left aside."""
    for name in RUN_FILES:
        for half in folder.glob(f".{name}.*.tmp"):
            half.unlink(missing_ok=True)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`key: old -> new` for every leaf that differs and matters."""
    changed = []
    for key in sorted({*old, *new} - FREE_TO_CHANGE):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            changed += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            changed.append(f"{prefix}{key}: {before!r} -> {after!r}")
    return changed
