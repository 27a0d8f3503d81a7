"""The training loop: one for every method.

It knows no tower, loss or data set: it is given a module to train, a function that turns batch
rows into a loss, and a function that scores the module. Resuming is exact, because every epoch's
batches are a function of (seed, epoch) and a checkpoint holds the random state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diptych.core.errors import ConfigError, DiptychError
from diptych.core.protocols import SILENT, Progress
from diptych.training import checkpoints
from diptych.training.batches import BatchRows, EpochPlan
from diptych.training.log import LOGS, RunLog, draw_curve
from diptych.training.settings import TrainingSettings

LAST, BEST, CURVE = "last.safetensors", "best.safetensors", "curve.png"
RUN_FILES = (LAST, BEST, CURVE, *LOGS)  # all that a run writes


def _nothing(_: float) -> None:
    return None


class DivergedError(DiptychError):
    """The loss stopped being a number; the last good checkpoint is kept."""


@dataclass(frozen=True)
class FitResult:
    """What a run came to: the module holds the best epoch's weights."""

    best_epoch: int
    best_score: float
    epochs: int
    seconds: float
    rows: list[dict[str, Any]]


class Trainer:
    """Fits a module.

    Args:
        module: everything with weights to learn (heads, towers, the loss's own parameters).
        step: batch rows -> scalar loss.
        validate: -> numbers; the one called "score" decides which epoch is best (higher is better).
        plan: the batches.
        settings: how long, how fast, when to stop.
        folder: where log, curve and checkpoints go.
        identity: what a resumed run must agree on (config, data fingerprint, seed).
        report: extra numbers for the log, such as a temperature.
        start_epoch: told the epoch's number before each, from 0; also after a resume.
        start_step: told the share of all steps that is done before each.
    """

    def __init__(
        self,
        module: nn.Module,
        step: Callable[[BatchRows], Tensor],
        validate: Callable[[], Mapping[str, float]],
        plan: EpochPlan,
        settings: TrainingSettings,
        folder: Path,
        *,
        identity: Mapping[str, Any],
        report: Callable[[], Mapping[str, float]] = dict,
        start_epoch: Callable[[int], None] = _nothing,
        start_step: Callable[[float], None] = _nothing,
        device: str = "auto",
        title: str = "",
        progress: Progress = SILENT,
    ) -> None:
        from lightning_fabric import Fabric

        self.plan = plan
        self.settings = settings
        self.folder = folder
        self.identity = dict(identity)
        self._step = step
        self._validate = validate
        self._report = report
        self._start_epoch = start_epoch
        self._start_step = start_step
        self._title = title
        self._progress = progress
        kind, devices = accelerator(device)
        self.fabric = Fabric(accelerator=kind, devices=devices, precision=settings.precision)
        self.module = module.to(self.fabric.device)
        self.optimiser = torch.optim.AdamW(_groups(module, settings.weight_decay), lr=settings.learning_rate)

    def fit(self) -> FitResult:
        """Run to the end, or to early stopping, going on from the last checkpoint if there is one.

        Raises ConfigError when that checkpoint is of another config or data, DivergedError on NaN.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        log = RunLog(self.folder)
        epoch, best_score, best_epoch, seconds = self._resume(log)
        steps = self.settings.epochs * self.plan.batches
        while epoch < self.settings.epochs and not self._out_of_patience(epoch, best_epoch):
            started = time.perf_counter()
            loss = self._epoch(epoch, steps)
            self.module.eval()
            with torch.inference_mode():
                measured = dict(self._validate())
            seconds += time.perf_counter() - started
            epoch += 1
            score = measured["score"]
            log.add(
                {
                    "epoch": epoch,
                    "loss": round(loss, 5),
                    **measured,
                    **self._report(),
                    "seconds": round(seconds, 1),
                }
            )
            if score > best_score:
                best_score, best_epoch = score, epoch
                self._save(BEST, epoch, best_score, best_epoch, seconds, optimiser=False)
            self._save(LAST, epoch, best_score, best_epoch, seconds)
            draw_curve(log.rows, self.folder / CURVE, self._title)
            self._progress.say(
                f"epoch {epoch}/{self.settings.epochs}  loss {loss:.3f}  rsum {score:.1f}  best {best_score:.1f}"
            )
        self.module.load_state_dict(dict(checkpoints.read(self.folder / BEST).module))
        self.module.eval()
        return FitResult(best_epoch, best_score, epoch, seconds, log.rows)

    def _epoch(self, epoch: int, steps: int) -> float:
        self.module.train()
        self._start_epoch(epoch)
        total = 0.0
        batches = self._progress.track(self.plan.epoch(epoch), f"epoch {epoch + 1}", total=self.plan.batches)
        for number, rows in enumerate(batches):
            step = epoch * self.plan.batches + number
            for group in self.optimiser.param_groups:
                group["lr"] = self.settings.rate_at(step, steps) * group["scale"]
            self._start_step(step / steps)
            with self.fabric.autocast():
                loss = self._step(rows)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise DivergedError(
                    f"the loss is {value} in epoch {epoch + 1}, batch {number + 1} of {self.plan.batches}; "
                    f"the last good checkpoint is kept in {self.folder}; try a lower learning_rate or clip"
                )
            self.optimiser.zero_grad(set_to_none=True)
            self.fabric.backward(loss)
            if self.settings.clip:
                nn.utils.clip_grad_norm_(self.module.parameters(), self.settings.clip)
            self.optimiser.step()
            total += value
        if not all(bool(torch.isfinite(value).all()) for value in self.module.parameters()):
            raise DivergedError(
                f"weights stopped being numbers in epoch {epoch + 1}; the last good checkpoint is kept in "
                f"{self.folder}; try a lower learning_rate or clip"
            )
        return total / self.plan.batches

    def _out_of_patience(self, epoch: int, best_epoch: int) -> bool:
        return bool(self.settings.patience) and epoch - best_epoch >= self.settings.patience

    def _save(self, name: str, epoch: int, score: float, best: int, seconds: float, *, optimiser: bool = True) -> None:
        facts = {
            "epoch": epoch,
            "best_score": score,
            "best_epoch": best,
            "seconds": seconds,
            "identity": self.identity,
        }
        checkpoints.write(self.folder / name, self.module, self.optimiser if optimiser else None, facts)

    def _resume(self, log: RunLog) -> tuple[int, float, int, float]:
        path = self.folder / LAST
        if not path.exists():
            return 0, -math.inf, 0, 0.0
        found = checkpoints.read(path)
        changed = _differences(found.facts["identity"], self.identity)
        if changed:
            raise ConfigError(
                f"{self.folder} holds a run with other settings ({'; '.join(changed)}); "
                "choose another --out, or pass --fresh to start anew"
            )
        checkpoints.restore(found, self.module, self.optimiser)
        facts = found.facts
        log.restore(facts["epoch"])
        self._progress.say(f"going on after epoch {facts['epoch']} of {self.folder}")
        return facts["epoch"], facts["best_score"], facts["best_epoch"], facts["seconds"]


def _groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and temperatures do not.

    A submodule with a `learning_rate_scale` learns at that share of the rate (a pretrained backbone).
    """
    scale_of: dict[nn.Parameter, float] = {}
    for part in module.modules():
        scale = getattr(part, "learning_rate_scale", None)
        if scale is not None:
            scale_of.update(dict.fromkeys(part.parameters(), float(scale)))
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            decay = weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((scale_of.get(parameter, 1.0), decay), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "scale": scale} for (scale, decay), parameters in groups.items()
    ]


def accelerator(device: str) -> tuple[str, Any]:
    """Fabric's words for a device: its kind, and its number in a list or 1. Raises ConfigError if it is not here."""
    if device == "auto":
        return ("cuda", 1) if torch.cuda.is_available() else ("cpu", 1)
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise ConfigError(f"unknown device {device!r}; choose from auto, cpu, cuda, cuda:N")
    if kind == "cpu" and number:
        raise ConfigError(f"unknown device {device!r}; the CPU has no number, choose cpu")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {device!r} is not here: found {torch.cuda.device_count()} CUDA devices; choose cpu")
    return kind, [int(number)] if number else 1


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`key: old -> new` for every leaf that differs."""
    changed = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            changed += _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            changed.append(f"{prefix}{key}: {before!r} -> {after!r}")
    return changed
