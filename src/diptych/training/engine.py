"""The training loop: one for every method.

It knows no tower, loss or data set: its arguments are a module to train, an objective that turns batch rows into
gradients, and a function that scores the module. A resumed run is exact, also within an epoch: every epoch's
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
from diptych.training.batch_norm import check_norms, sync_batch_norms
from diptych.training.batch_order import BatchOrder, BatchRows
from diptych.training.checkpoints import BEST, LAST, RUN_FILES, Checkpoints, RunState, chosen_precision, remove_run
from diptych.training.distributed import accelerator, any_rank, broadcast, launch, scaler_of, sum_gradients
from diptych.training.divergence import DivergedError, DivergenceMonitor, NameRows
from diptych.training.logs import CURVE, RunLogger
from diptych.training.objectives import Contrastive, Direct, Objective
from diptych.training.online_images import ImageLoader
from diptych.training.settings import TrainingSettings

__all__ = ["BEST", "CURVE", "LAST", "RUN_FILES", "DivergedError", "FitResult", "Trainer", "accelerator", "remove_run"]

_SMALLEST_SCALE = 2.0**-10  # of 16-bit losses; below it no gradient was ever finite


def _nothing(_: float) -> None:
    return None


def _or_none(value: Any) -> Any:
    """None for a number that is not finite, which JSON cannot hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class FitResult:
    """The outcome of a run; the module holds the best epoch's weights."""

    best_epoch: int
    best_score: float
    epochs: int
    seconds: float
    rows: list[dict[str, Any]]  # the log; empty on all processes but the first
    precision: str = ""  # what it was computed in, also where the settings say "auto"
    unscored: int = 0  # epochs whose validation score was not finite, so that they could not be the best


@dataclass(eq=False)
class Trainer:
    """Fits a module.

    Args:
        module: everything with weights to learn (heads, towers, the loss's own parameters). A submodule's
            `learning_rate_scale` and `frozen_epochs` are respected (see `optimisation`).
        step: what is minimised: an `Objective`, or a function of batch rows -> mean loss, which becomes `Direct`.
        validate: -> numbers; the one called "score" decides which epoch is best (higher is better).
        order: which rows meet in which batch.
        settings: how long, how fast, when to stop.
        folder: where log, curve and checkpoints go.
        identity: what a resumed run must agree on (config, data fingerprint, seed); JSON-ready.
        report: extra numbers for the log, such as a temperature.
        report_step: extra numbers for a line of steps.jsonl.
        start_epoch: called with the epoch's number before each, from 0; also after a resume.
        start_step: called with the share of all batches that is done before each.
        images: loads the images of each batch; None where they are cached rows.
        name_rows: the names of a batch's records, for the error about a loss that is not finite.
        device: auto, cpu, cuda or cuda:N.
    """

    module: nn.Module
    step: Callable[[BatchRows], Tensor] | Objective
    validate: Callable[[], Mapping[str, float]]
    order: BatchOrder
    settings: TrainingSettings
    folder: Path
    _: dataclasses.KW_ONLY
    identity: Mapping[str, Any]
    report: Callable[[], Mapping[str, Any]] = dict
    report_step: Callable[[], Mapping[str, float]] = dict
    start_epoch: Callable[[int], None] = _nothing
    start_step: Callable[[float], None] = _nothing
    images: ImageLoader | None = None
    name_rows: NameRows | None = None
    device: str = "auto"
    title: str = ""
    progress: Progress = SILENT

    def __post_init__(self) -> None:
        precision, self._why = chosen_precision(self.folder, self.settings.precision, self.device)
        self.settings = dataclasses.replace(self.settings, precision=precision)
        self.objective: Objective = self.step if isinstance(self.step, Objective) else Direct(self.step)
        if self.settings.chunk and not isinstance(self.objective, Contrastive):
            raise ConfigError(
                f"training.chunk = {self.settings.chunk} cuts the embeddings of a contrastive batch, and this training "
                "has none; set it to 0, and lower batch_size or raise accumulate where memory is short"
            )
        self.fabric = launch(self.device, self.settings)
        self._is_first = bool(self.fabric.is_global_zero)
        if not self._is_first:
            self.progress = SILENT
        if self.fabric.world_size > 1:
            self.module = sync_batch_norms(self.module)
        self.module = self.module.to(self.fabric.device)
        self.optimiser = optimisation.build_optimiser(self.module, self.settings)
        self._learning = [each for group in self.optimiser.param_groups for each in group["params"]]
        self._freeze = optimisation.WarmUpFreeze(self.module)
        self._average = AveragedWeights(self.module, self.settings.ema) if self.settings.ema else None
        self._checkpoints = Checkpoints(
            self.folder, self.fabric, self.module, self.optimiser, self._average, self.identity, self.settings
        )
        self._steps_an_epoch = -(-self.order.batches // self.settings.accumulate)
        self._direct = self.objective if isinstance(self.objective, Direct) else None
        if self._direct:
            self._direct.distribute(self.module, self.fabric)

    def fit(self) -> FitResult:
        """Run to the end, or to early stopping, from the last checkpoint on if there is one.

        Raises ConfigError when that checkpoint is of another config or data; DivergedError when loss, gradient or
        weights are not finite, or when no epoch's validation score is.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.progress.say(f"precision {self.settings.precision}: {self._why}")
        state = self._checkpoints.resume(self.progress)
        self._logger = self._open_logs(state)
        try:
            with self.images.running() if self.images else contextlib.nullcontext():
                while state.epoch < self.settings.epochs and not self._out_of_patience(state):
                    self._train_epoch(state)
                    self._close_epoch(state)
        except KeyboardInterrupt:
            kept = (
                "the same run goes on from its last checkpoint"
                if (self.folder / LAST).exists()
                else "nothing was kept yet"
            )
            where = f"in epoch {state.epoch + 1}" if state.batch or not state.epoch else f"after epoch {state.epoch}"
            self.progress.say(f"interrupted {where}; {kept}")
            raise
        finally:
            self._logger.close()
        if not state.best_epoch:
            raise DivergedError(
                f"the validation score was not a number in any of {state.epoch} epochs, so none is the best and no "
                f"model was made; {self.folder / LAST} holds the last weights; check the validation data, or try "
                "a lower learning_rate"
            )
        self._checkpoints.load_best()
        return FitResult(
            state.best_epoch,
            state.best_score,
            state.epoch,
            state.seconds,
            self._logger.rows,
            self.settings.precision,
            state.unscored,
        )

    def _train_epoch(self, state: RunState) -> None:
        """The batches of an epoch that are left."""
        self.module.train()
        self._freeze.start_epoch(state.epoch)
        self.start_epoch(state.epoch)
        self.objective.check(self.module)
        check_norms(self.module, self.fabric.world_size)
        self.optimiser.zero_grad(set_to_none=True)
        self._logger.start_epoch()
        self._clock = time.perf_counter()
        monitor = DivergenceMonitor(self.folder, state.epoch, self.order.batches, self.name_rows)
        losses: list[Tensor] = []
        pairs = 0
        for number, rows in enumerate(self._batches_left(state), state.batch):
            done = state.epoch * self.order.batches + number
            is_last = len(losses) + 1 == self.settings.accumulate or number + 1 == self.order.batches
            if not losses:
                self._set_rate(state)
            self.start_step(done / (self.settings.epochs * self.order.batches))
            with contextlib.nullcontext() if is_last or not self._direct else self._direct.postponed():
                losses.append(self.objective.backward(rows, self.fabric))
            monitor.loss(losses[-1], number, rows)
            pairs += len(rows)
            if is_last:
                norm = self._finish_gradient(len(losses))
                if self._scaler is None:  # a scaler meets infinite gradients, and skips them
                    monitor.gradient(norm, number, rows)
                self._update(state, monitor, losses, norm, pairs)
                losses, pairs = [], 0
        self._check(monitor, state, now=True)
        self._require_finite_weights(state.epoch)
        self._count_seconds(state)

    def _update(
        self, state: RunState, monitor: DivergenceMonitor, losses: list[Tensor], norm: Tensor, pairs: int
    ) -> None:
        """One step of the optimiser; its line of the log and its checkpoint, where they are due."""
        step = self._step_of(state)
        self._check(monitor, state)  # before the weights change, where reading the losses costs nothing
        self.fabric.strategy.optimizer_step(self.optimiser)
        self.optimiser.zero_grad(set_to_none=True)
        if self._average:
            self._average.update(step)
        state.batch += len(losses)
        save = any_rank(self._checkpoints.due(), self.fabric)
        line = self._logger.wants(step + 1, pairs)
        if save or line:
            self._check(monitor, state, now=True)
        if line:
            self._write_line(state, step, losses, norm)
        if save:
            self._count_seconds(state)
            self._checkpoints.save_last(state)

    def _batches_left(self, state: RunState) -> Iterator[BatchRows]:
        left: Iterator[BatchRows] = itertools.islice(self.order.epoch(state.epoch), state.batch, None)
        if self.images:
            left = self.images.load(state.epoch, left, self.fabric)
        return self.progress.track(left, f"epoch {state.epoch + 1}", total=self.order.batches - state.batch)

    def _step_of(self, state: RunState) -> int:
        """Number of the next step, from 0."""
        return state.epoch * self._steps_an_epoch + -(-state.batch // self.settings.accumulate)

    def _rate_at(self, step: int) -> float:
        return self.settings.rate_at(step, self.settings.epochs * self._steps_an_epoch)

    def _set_rate(self, state: RunState) -> None:
        rate = self._rate_at(self._step_of(state))
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["scale"]

    def _finish_gradient(self, batches: int) -> Tensor:
        """Sum over processes, mean over batches, unscale and clip; the norm before clipping."""
        if not (self._direct and self._direct.sums_gradients):
            sum_gradients(self._learning, self.fabric)
        gradients = [each.grad for each in self._learning if each.grad is not None]
        if batches > 1:
            torch._foreach_mul_(gradients, 1 / batches)
        self.fabric.strategy.precision.unscale_gradients(self.optimiser)
        norm: Tensor = nn.utils.get_total_norm(gradients)
        if self.settings.clip:
            nn.utils.clip_grads_with_norm_(self._learning, self.settings.clip, norm)
        return norm

    @property
    def _scaler(self) -> Any:
        return scaler_of(self.fabric)

    def _check(self, monitor: DivergenceMonitor, state: RunState, *, now: bool = False) -> None:
        """Read the losses back: at each step on a CPU, now and then on a GPU, which would have to wait."""
        often = self.fabric.device.type == "cpu"
        if not (now or often or self._step_of(state) % (self.settings.log_steps or 50) == 0):
            return
        for value in monitor.check():
            state.loss += value
        if self._scaler is not None and self._scaler.get_scale() < _SMALLEST_SCALE:
            raise DivergedError(
                f"the gradient is not a number at any scale in epoch {state.epoch + 1}; the last good checkpoint is "
                f"kept in {self.folder}; try a lower learning_rate, or precision bf16-mixed"
            )

    def _write_line(self, state: RunState, step: int, losses: list[Tensor], norm: Tensor) -> None:
        row = {
            "epoch": state.epoch + 1,
            "batch": state.batch,
            "loss": float(torch.stack(losses).mean()),
            "learning_rate": self._rate_at(step),
            "gradient_norm": _or_none(float(norm)),
            **self.report_step(),
        }
        self._logger.add_step(step + 1, row)

    def _require_finite_weights(self, epoch: int) -> None:
        largest = nn.utils.get_total_norm(self._learning, math.inf)  # one pass; not a number where a weight is none
        if not bool(torch.isfinite(largest)):
            raise DivergedError(
                f"weights stopped being numbers in epoch {epoch + 1}; the last good checkpoint is kept in "
                f"{self.folder}; try a lower learning_rate or clip"
            )

    def _close_epoch(self, state: RunState) -> None:
        """Validate, log and save."""
        self.module.eval()
        with self._average.in_place() if self._average else contextlib.nullcontext():
            measured = self._measure()
            self._count_seconds(state)
            loss, state.loss, state.batch = state.loss / self.order.batches, 0.0, 0
            state.epoch += 1
            score = measured["score"]
            if not math.isfinite(score):
                state.unscored += 1
                self.progress.say(
                    f"epoch {state.epoch}: the validation score is {score}, not a number; this epoch cannot be the best"
                )
            elif score > state.best_score:
                state.best_score, state.best_epoch = score, state.epoch
                self._checkpoints.save_best(state)
        steps = self._step_of(state)
        numbers = {**measured, **self.report(), **(self.images.report() if self.images else {})}
        row = {"epoch": state.epoch, "loss": round(loss, 5), **{name: _or_none(each) for name, each in numbers.items()}}
        row |= {"learning_rate": self._rate_at(steps - 1), "seconds": round(state.seconds, 1)}
        self._logger.add_epoch(row, steps)
        self._count_seconds(state)
        self._checkpoints.save_last(state)
        best = f"best {state.best_score:.1f}" if state.best_epoch else "no best yet"
        self.progress.say(f"epoch {state.epoch}/{self.settings.epochs}  loss {loss:.3f}  rsum {score:.1f}  {best}")

    def _measure(self) -> dict[str, float]:
        measured: dict[str, float] = {}
        if self._is_first:
            with torch.inference_mode():
                measured = dict(self.validate())
        shared: dict[str, float] = broadcast(measured, self.fabric)
        return shared

    def _out_of_patience(self, state: RunState) -> bool:
        return bool(self.settings.patience) and state.epoch - state.best_epoch >= self.settings.patience

    def _open_logs(self, state: RunState) -> RunLogger:
        return RunLogger(
            self.folder,
            state.epoch,
            self._step_of(state),
            every=self.settings.log_steps,
            tensorboard=self.settings.tensorboard,
            title=self.title,
            progress=self.progress,
            enabled=self._is_first,
        )

    def _count_seconds(self, state: RunState) -> None:
        now = time.perf_counter()
        state.seconds += now - self._clock
        self._clock = now
