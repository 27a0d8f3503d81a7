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
import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diptych.core.errors import ConfigError
from diptych.core.protocols import SILENT, Progress
from diptych.training import optimisation
from diptych.training.averaging import AveragedWeights
from diptych.training.batch_norm import check_norms, share_batch_norms
from diptych.training.batches import BatchRows, Plan
from diptych.training.distributed import accelerator, anywhere, from_first, scaler_of, start, sum_gradients
from diptych.training.divergence import DivergedError, NameRows, Watch
from diptych.training.journal import CURVE, Journal
from diptych.training.objectives import Contrastive, Direct, Objective
from diptych.training.saving import BEST, LAST, RUN_FILES, Saver, Standing, chosen_precision, forget
from diptych.training.settings import TrainingSettings

__all__ = ["BEST", "CURVE", "LAST", "RUN_FILES", "DivergedError", "FitResult", "Trainer", "accelerator", "forget"]

_SMALLEST_SCALE = 2.0**-10  # of 16-bit losses; below it no gradient was ever finite


def _nothing(_: float) -> None:
    return None


def _or_none(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class FitResult:
    """What a run came to: the module holds the best epoch's weights."""

    best_epoch: int
    best_score: float
    epochs: int
    seconds: float
    rows: list[dict[str, Any]]  # the log; empty on all processes but the first
    precision: str = ""  # what it was computed in, where the settings say "auto" too
    unscored: int = 0  # epochs whose validation score was no number, so that they could not be the best


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
        report_step: extra numbers for a line of steps.jsonl.
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
        plan: Plan,
        settings: TrainingSettings,
        folder: Path,
        *,
        identity: Mapping[str, Any],
        report: Callable[[], Mapping[str, Any]] = dict,
        report_step: Callable[[], Mapping[str, float]] = dict,
        start_epoch: Callable[[int], None] = _nothing,
        start_step: Callable[[float], None] = _nothing,
        name_rows: NameRows | None = None,
        device: str = "auto",
        title: str = "",
        progress: Progress = SILENT,
    ) -> None:
        self.plan = plan
        self.precision, self._why = chosen_precision(folder, settings.precision, device)
        settings = dataclasses.replace(settings, precision=self.precision)
        self.settings = settings
        self.folder = folder
        self.identity = dict(identity)
        self.objective: Objective = step if isinstance(step, Objective) else Direct(step)
        if settings.chunk and not isinstance(self.objective, Contrastive):
            raise ConfigError(
                f"training.chunk = {settings.chunk} cuts the embeddings of a contrastive batch, and this training has "
                "none; set it to 0, and lower batch_size or raise accumulate where memory is short"
            )
        self._validate = validate
        self._report = report
        self._report_step = report_step
        self._start_epoch = start_epoch
        self._start_step = start_step
        self._name_rows = name_rows
        self._title = title
        self.fabric = start(device, settings)
        self._progress = progress if self._is_first else SILENT
        if self.fabric.world_size > 1:
            module = share_batch_norms(module)
        self.module = module.to(self.fabric.device)
        self.optimiser = optimisation.build(module, settings)
        self._learning = [each for group in self.optimiser.param_groups for each in group["params"]]
        self._freeze = optimisation.WarmUpFreeze(module)
        self._average = AveragedWeights(module, settings.ema) if settings.ema else None
        self._saver = Saver(folder, self.fabric, self.module, self.optimiser, self._average, self.identity, settings)
        self._steps_an_epoch = -(-plan.batches // settings.accumulate)

    def fit(self) -> FitResult:
        """Run to the end, or to early stopping, going on from the last checkpoint if there is one.

        Raises ConfigError when that checkpoint is of another config or data; DivergedError when loss, gradient or
        weights are no numbers, or when no epoch's validation score is one.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._progress.say(f"precision {self.precision}: {self._why}")
        at = self._saver.resume(self._progress)
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
            where = f"in epoch {at.epoch + 1}" if at.batch or not at.epoch else f"after epoch {at.epoch}"
            self._progress.say(f"interrupted {where}; {kept}")
            raise
        finally:
            self._journal.close()
        if not at.best_epoch:
            raise DivergedError(
                f"the validation score was no number in any of {at.epoch} epochs, so none is the best and no model was "
                f"made; {self.folder / LAST} holds the last weights; look at what is validated on, or try a lower "
                "learning_rate"
            )
        self._saver.take_best()
        return FitResult(
            at.best_epoch, at.best_score, at.epoch, at.seconds, self._journal.rows, self.precision, at.unscored
        )

    def _epoch(self, at: Standing) -> None:
        """What is left of an epoch's batches."""
        self.module.train()
        self._freeze.start_epoch(at.epoch)
        self._start_epoch(at.epoch)
        self.objective.check(self.module)
        check_norms(self.module, self.fabric.world_size)
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
            due = anywhere(self._saver.due(), self.fabric)
            line = self._journal.wants(step + 1, pairs)
            if due or line:
                self._check(watch, at, step, now=True)
            if line:
                self._write_line(at, step, losses, norm)
            if due:
                self._tick(at)
                self._saver.save_last(at)
        self._check(watch, at, 0, now=True)
        self._require_finite_weights(at.epoch)
        self._tick(at)

    def _groups_of_batches(self, at: Standing) -> Iterator[list[tuple[int, BatchRows]]]:
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
        return scaler_of(self.fabric)

    def _check(self, watch: Watch, at: Standing, step: int, *, now: bool = False) -> None:
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

    def _write_line(self, at: Standing, step: int, losses: list[Tensor], norm: Tensor) -> None:
        length = float(norm)
        row = {
            "epoch": at.epoch + 1,
            "batch": at.batch,
            "loss": float(torch.stack(losses).mean()),
            "learning_rate": self.settings.rate_at(step, self.settings.epochs * self._steps_an_epoch),
            "gradient_norm": length if math.isfinite(length) else None,
            **self._report_step(),
        }
        self._journal.add_step(step + 1, row)

    def _require_finite_weights(self, epoch: int) -> None:
        if not all(bool(torch.isfinite(value).all()) for value in self._learning):
            raise DivergedError(
                f"weights stopped being numbers in epoch {epoch + 1}; the last good checkpoint is kept in "
                f"{self.folder}; try a lower learning_rate or clip"
            )

    def _close_epoch(self, at: Standing) -> None:
        """Validate, log and save."""
        self.module.eval()
        with self._average.in_place() if self._average else contextlib.nullcontext():
            measured = self._measure()
            self._tick(at)
            loss, at.loss, at.batch = at.loss / self.plan.batches, 0.0, 0
            at.epoch += 1
            score = measured["score"]
            if not math.isfinite(score):
                at.unscored += 1
                self._progress.say(
                    f"epoch {at.epoch}: the validation score is {score}, no number; this epoch cannot be the best one"
                )
            elif score > at.best_score:
                at.best_score, at.best_epoch = score, at.epoch
                self._saver.save_best(at)
        steps = at.epoch * self._steps_an_epoch
        numbers = {**measured, **self._report()}
        row = {"epoch": at.epoch, "loss": round(loss, 5), **{name: _or_none(each) for name, each in numbers.items()}}
        row |= {"learning_rate": self.settings.rate_at(steps - 1, self.settings.epochs * self._steps_an_epoch)}
        self._journal.add_epoch({**row, "seconds": round(at.seconds, 1)}, steps)
        self._tick(at)
        self._saver.save_last(at)
        best = f"best {at.best_score:.1f}" if at.best_epoch else "no best yet"
        self._progress.say(f"epoch {at.epoch}/{self.settings.epochs}  loss {loss:.3f}  rsum {score:.1f}  {best}")

    def _measure(self) -> dict[str, float]:
        measured: dict[str, float] = {}
        if self._is_first:
            with torch.inference_mode():
                measured = dict(self._validate())
        shared: dict[str, float] = from_first(measured, self.fabric)
        return shared

    def _out_of_patience(self, at: Standing) -> bool:
        return bool(self.settings.patience) and at.epoch - at.best_epoch >= self.settings.patience

    def _open_journal(self, at: Standing) -> Journal:
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

    def _tick(self, at: Standing) -> None:
        now = time.perf_counter()
        at.seconds += now - self._clock
        self._clock = now
