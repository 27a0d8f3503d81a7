"""The training loop: one for every method.

It knows no tower, loss or data set: it is given a module to train, an objective that turns batch rows into
gradients, and a function that scores the module. Resuming is exact, also within an epoch: every epoch's
batches are a function of (seed, epoch), and a checkpoint holds all that the next step depends on.

Over several processes (`torchrun`, `fabric run`, or `devices` and `nodes`) each process works on its part of
each batch and the gradients are summed, so the batch size is that of all processes together. Only the first
process validates and writes.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diptych.core.errors import ConfigError
from diptych.core.protocols import SILENT, Progress
from diptych.training import checkpoints, journal, optimisation, randomness
from diptych.training.averaging import AveragedWeights
from diptych.training.batches import BatchRows, EpochPlan
from diptych.training.distributed import accelerator, anywhere, of_each, start, sum_gradients
from diptych.training.journal import CURVE, JOURNAL_FILES, Journal
from diptych.training.objectives import Direct, Objective
from diptych.training.settings import FREE_TO_CHANGE, TrainingSettings
from diptych.training.watch import DivergedError, NameRows, Watch

__all__ = ["BEST", "CURVE", "LAST", "RUN_FILES", "DivergedError", "FitResult", "Trainer", "accelerator", "forget"]

LAST, BEST = "last.safetensors", "best.safetensors"
RUN_FILES = (LAST, BEST, *JOURNAL_FILES)  # all that a run writes, beside the folder of TensorBoard
_SMALLEST_SCALE = 2.0**-10  # of 16-bit losses; below it no gradient was ever finite


def _nothing(_: float) -> None:
    return None


@dataclass(frozen=True)
class FitResult:
    """What a run came to: the module holds the best epoch's weights."""

    best_epoch: int
    best_score: float
    epochs: int
    seconds: float
    rows: list[dict[str, Any]]  # the log; empty on all processes but the first


@dataclass
class _Standing:
    """How far a run is."""

    epoch: int = 0  # whole epochs done
    batch: int = 0  # batches done of the next one
    loss: float = 0.0  # their sum
    best_score: float = -math.inf
    best_epoch: int = 0
    seconds: float = 0.0  # at work, over all interruptions


class Trainer:
    """Fits a module.

    Args:
        module: everything with weights to learn (heads, towers, the loss's own parameters). A submodule's
            `learning_rate_scale` and `frozen_epochs` are heeded (see `optimisation`).
        step: what is minimised: an `Objective`, or a function of batch rows -> mean loss, which becomes `Direct`.
        validate: -> numbers; the one called "score" decides which epoch is best (higher is better).
        plan: the batches.
        settings: how long, how fast, when to stop.
        folder: where log, curve and checkpoints go.
        identity: what a resumed run must agree on (config, data fingerprint, seed); JSON-ready.
        report: extra numbers for the log, such as a temperature.
        start_epoch: told the epoch's number before each, from 0; also after a resume.
        start_step: told the share of all batches that is done before each.
        name_rows: the names of a batch's records, for the error that tells of a loss that is no number.
        device: auto, cpu, cuda or cuda:N.
    """

    def __init__(
        self,
        module: nn.Module,
        step: Callable[[BatchRows], Tensor] | Objective,
        validate: Callable[[], Mapping[str, float]],
        plan: EpochPlan,
        settings: TrainingSettings,
        folder: Path,
        *,
        identity: Mapping[str, Any],
        report: Callable[[], Mapping[str, float]] = dict,
        start_epoch: Callable[[int], None] = _nothing,
        start_step: Callable[[float], None] = _nothing,
        name_rows: NameRows | None = None,
        device: str = "auto",
        title: str = "",
        progress: Progress = SILENT,
    ) -> None:
        self.plan = plan
        self.settings = settings
        self.folder = folder
        self.identity = dict(identity)
        self.objective: Objective = step if isinstance(step, Objective) else Direct(step)
        self._validate = validate
        self._report = report
        self._start_epoch = start_epoch
        self._start_step = start_step
        self._name_rows = name_rows
        self._title = title
        self.fabric = start(device, settings)
        self._progress = progress if self._is_first else SILENT
        self.module = module.to(self.fabric.device)
        self.optimiser = optimisation.build(module, settings)
        self._learning = [each for group in self.optimiser.param_groups for each in group["params"]]
        self._freeze = optimisation.WarmUpFreeze(module)
        self._average = AveragedWeights(module, settings.ema) if settings.ema else None
        self._steps_an_epoch = -(-plan.batches // settings.accumulate)

    def fit(self) -> FitResult:
        """Run to the end, or to early stopping, going on from the last checkpoint if there is one.

        Raises ConfigError when that checkpoint is of another config or data, DivergedError on NaN.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._is_first:
            _remove_half_written(self.folder)
        at = self._resume()
        self._timetable = checkpoints.Timetable(self.settings.checkpoint_minutes, self.settings.checkpoint_steps)
        self._journal = self._open_journal(at)
        try:
            while at.epoch < self.settings.epochs and not self._out_of_patience(at):
                self._epoch(at)
                self._close_epoch(at)
        except KeyboardInterrupt:
            kept = (
                "the same run goes on from its last checkpoint"
                if (self.folder / LAST).exists()
                else "nothing was kept yet"
            )
            self._progress.say(f"interrupted in epoch {at.epoch + 1}; {kept}")
            raise
        finally:
            self._journal.close()
        self._take_best()
        return FitResult(at.best_epoch, at.best_score, at.epoch, at.seconds, self._journal.rows)

    def _epoch(self, at: _Standing) -> None:
        """What is left of an epoch's batches."""
        self.module.train()
        self._freeze.start_epoch(at.epoch)
        self._start_epoch(at.epoch)
        self.objective.check(self.module)
        self.optimiser.zero_grad(set_to_none=True)
        self._journal.start_epoch()
        self._clock = time.perf_counter()
        watch = Watch(self.folder, at.epoch, self.plan.batches, self._name_rows)
        for group in self._groups_of_batches(at):
            step = at.epoch * self._steps_an_epoch + at.batch // self.settings.accumulate
            self._set_rate(step)
            losses = []
            for number, rows in group:
                self._start_step((at.epoch * self.plan.batches + number) / (self.settings.epochs * self.plan.batches))
                losses.append(self.objective.backward(rows, self.fabric))
                watch.loss(losses[-1], number, rows)
            norm = self._finish_gradient(len(group))
            if self._scaler is None:  # a scaler meets infinite gradients, and skips them
                watch.gradient(norm, *group[-1])
            pairs = sum(len(rows) for _, rows in group)
            self._check(watch, at, step)  # before the weights are touched, where looking costs nothing
            self.fabric.strategy.optimizer_step(self.optimiser)
            self.optimiser.zero_grad(set_to_none=True)
            if self._average:
                self._average.update(step)
            at.batch = group[-1][0] + 1
            due = anywhere(self._timetable.due(), self.fabric)
            line = self._journal.wants(step + 1, pairs)
            if due or line:
                self._check(watch, at, step, now=True)
            if line:
                self._write_line(at, step, losses, norm)
            if due:
                self._save_last(at)
        self._check(watch, at, 0, now=True)
        self._require_finite_weights(at.epoch)
        self._tick(at)

    def _groups_of_batches(self, at: _Standing) -> Iterator[list[tuple[int, BatchRows]]]:
        """The batches of each step, with their numbers, from where the run stands."""
        left = itertools.islice(self.plan.epoch(at.epoch), at.batch, None)
        tracked = self._progress.track(left, f"epoch {at.epoch + 1}", total=self.plan.batches - at.batch)
        numbered = enumerate(tracked, at.batch)
        while group := list(itertools.islice(numbered, self.settings.accumulate)):
            yield group

    def _set_rate(self, step: int) -> None:
        rate = self.settings.rate_at(step, self.settings.epochs * self._steps_an_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["scale"]

    def _finish_gradient(self, batches: int) -> Tensor:
        """Sum over processes, mean over batches, unscale and clip; the norm before clipping."""
        sum_gradients(self._learning, self.fabric, 1 / batches)
        self.fabric.strategy.precision.unscale_gradients(self.optimiser)
        gradients = [each.grad for each in self._learning if each.grad is not None]
        norm: Tensor = nn.utils.get_total_norm(gradients)
        if self.settings.clip:
            nn.utils.clip_grads_with_norm_(self._learning, self.settings.clip, norm)
        return norm

    @property
    def _scaler(self) -> Any:
        return getattr(self.fabric.strategy.precision, "scaler", None)

    def _check(self, watch: Watch, at: _Standing, step: int, *, now: bool = False) -> None:
        """Read the losses back: at each step on a CPU, now and then on a GPU, which would have to wait."""
        if not (now or self.fabric.device.type == "cpu" or step % (self.settings.log_steps or 50) == 0):
            return
        for value in watch.check():
            at.loss += value
        if self._scaler is not None and self._scaler.get_scale() < _SMALLEST_SCALE:
            raise DivergedError(
                f"the gradient is no number at any scale in epoch {at.epoch + 1}; the last good checkpoint is kept "
                f"in {self.folder}; try a lower learning_rate, or precision bf16-mixed"
            )

    def _write_line(self, at: _Standing, step: int, losses: list[Tensor], norm: Tensor) -> None:
        length = float(norm)
        row = {
            "epoch": at.epoch + 1,
            "batch": at.batch,
            "loss": float(torch.stack(losses).mean()),
            "learning_rate": self.settings.rate_at(step, self.settings.epochs * self._steps_an_epoch),
            "gradient_norm": length if math.isfinite(length) else None,
        }
        self._journal.add_step(step + 1, row)

    def _require_finite_weights(self, epoch: int) -> None:
        if not all(bool(torch.isfinite(value).all()) for value in self._learning):
            raise DivergedError(
                f"weights stopped being numbers in epoch {epoch + 1}; the last good checkpoint is kept in "
                f"{self.folder}; try a lower learning_rate or clip"
            )

    def _close_epoch(self, at: _Standing) -> None:
        """Validate, log and save."""
        self.module.eval()
        with self._average.in_place() if self._average else contextlib.nullcontext():
            measured = self._measure()
            self._tick(at)
            loss, at.loss, at.batch = at.loss / self.plan.batches, 0.0, 0
            at.epoch += 1
            score = measured["score"]
            if score > at.best_score:
                at.best_score, at.best_epoch = score, at.epoch
                self._save_best(at)
        steps = at.epoch * self._steps_an_epoch
        row = {"epoch": at.epoch, "loss": round(loss, 5), **measured, **self._report()}
        row |= {"learning_rate": self.settings.rate_at(steps - 1, self.settings.epochs * self._steps_an_epoch)}
        self._journal.add_epoch({**row, "seconds": round(at.seconds, 1)}, steps)
        self._save_last(at)
        self._progress.say(
            f"epoch {at.epoch}/{self.settings.epochs}  loss {loss:.3f}  rsum {score:.1f}  best {at.best_score:.1f}"
        )

    def _measure(self) -> dict[str, float]:
        measured: dict[str, float] = {}
        if self._is_first:
            with torch.inference_mode():
                measured = dict(self._validate())
        shared: dict[str, float] = self._from_first(measured)
        return shared

    def _out_of_patience(self, at: _Standing) -> bool:
        return bool(self.settings.patience) and at.epoch - at.best_epoch >= self.settings.patience

    def _save_last(self, at: _Standing) -> None:
        """All that the next step depends on."""
        self._tick(at)
        random = randomness.snapshot()
        if self.fabric.world_size > 1:  # where each process stands
            random = {key: torch.stack(of_each(value, self.fabric)).cpu() for key, value in random.items()}
        if self._is_first:
            facts = {**asdict(at), "scaler": self._scaler.state_dict() if self._scaler else None, **self._origin()}
            average = self._average.average if self._average else None
            checkpoints.write(self.folder / LAST, self.module, self.optimiser, facts, random=random, average=average)
        self._timetable.written()

    def _save_best(self, at: _Standing) -> None:
        """The weights alone: the same bytes in every run with one seed."""
        if self._is_first:
            facts = {"epoch": at.epoch, "best_score": at.best_score, "best_epoch": at.best_epoch, **self._origin()}
            checkpoints.write(self.folder / BEST, self.module, None, facts, random={})

    def _origin(self) -> dict[str, Any]:
        return {"identity": self.identity, "processes": self.fabric.world_size}

    def _resume(self) -> _Standing:
        path = self.folder / LAST
        found = self._from_first(checkpoints.read(path) if self._is_first and path.exists() else None)
        if found is None:
            self._start_alike()
            return _Standing()
        facts = found.facts
        changed = _differences(
            {**facts["identity"], "processes": facts.get("processes", 1)},
            {**self.identity, "processes": self.fabric.world_size},
        )
        if changed:
            raise ConfigError(
                f"{self.folder} holds a run with other settings ({'; '.join(changed)}); "
                "choose another --out, or pass --fresh to start anew"
            )
        checkpoints.restore(found, self.module, self.optimiser, process=self.fabric.global_rank)
        if self._average:
            self._average.load(found.average)
        if self._scaler:
            self._scaler.load_state_dict(facts["scaler"])
        at = _Standing(**{key: facts[key] for key in asdict(_Standing())})
        within = f", batch {at.batch} of epoch {at.epoch + 1}" if at.batch else ""
        self._progress.say(f"going on after epoch {at.epoch}{within} of {self.folder}")
        return at

    def _start_alike(self) -> None:
        """The same weights on all processes, but other random numbers, so that their dropouts differ."""
        if self.fabric.world_size > 1:
            self.module.load_state_dict(self._from_first(self.module.state_dict()))
            torch.manual_seed(torch.initial_seed() + self.fabric.global_rank)

    def _take_best(self) -> None:
        best = self._from_first(dict(checkpoints.read(self.folder / BEST).module) if self._is_first else None)
        self.module.load_state_dict(best)
        self.module.eval()

    def _open_journal(self, at: _Standing) -> Journal:
        return Journal(
            self.folder,
            at.epoch,
            at.epoch * self._steps_an_epoch + at.batch // self.settings.accumulate,
            every=self.settings.log_steps,
            tensorboard=self.settings.tensorboard,
            title=self._title,
            progress=self._progress,
            quiet=not self._is_first,
        )

    @property
    def _is_first(self) -> bool:
        return bool(self.fabric.is_global_zero)

    def _from_first(self, value: Any) -> Any:
        return self.fabric.broadcast(value) if self.fabric.world_size > 1 else value

    def _tick(self, at: _Standing) -> None:
        now = time.perf_counter()
        at.seconds += now - self._clock
        self._clock = now


def forget(folder: Path) -> None:
    """Remove all that a run left in its folder; whatever else lies there stays."""
    _remove_half_written(folder)
    for name in (LAST, BEST):
        (folder / name).unlink(missing_ok=True)
    journal.forget(folder)


def _remove_half_written(folder: Path) -> None:
    """What a kill in the middle of an atomic write left aside."""
    for name in RUN_FILES:
        for half in folder.glob(f".{name}.*.tmp"):
            half.unlink(missing_ok=True)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`key: old -> new` for every leaf that differs and matters."""
    changed = []
    for key in sorted({*old, *new} - FREE_TO_CHANGE):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            changed += _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            changed.append(f"{prefix}{key}: {before!r} -> {after!r}")
    return changed
