"""What a run keeps on disk to be resumed from.

A checkpoint is one safetensors file, never a pickle: weights, averaged weights, optimiser moments and random states
are tensors; everything else is JSON in the file's own header. One file means one atomic rename, so after a kill there
is either the new checkpoint or the one before, never a part of one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from diptych.core.errors import ConfigError, ModelError
from diptych.core.files import write_bytes
from diptych.core.protocols import Progress
from diptych.training import logs, randomness
from diptych.training.averaging import AveragedWeights
from diptych.training.distributed import all_gather, broadcast, precision_for, scaler_of
from diptych.training.settings import FREE_TO_CHANGE, TrainingSettings

LAST, BEST = "last.safetensors", "best.safetensors"
RUN_FILES = (LAST, BEST, *logs.LOG_FILES)  # all that a run writes, beside the folder of TensorBoard

_MODULE, _OPTIMISER, _RANDOM, _AVERAGE = "module/", "optimiser/", "random/", "average/"


@dataclass(frozen=True)
class Checkpoint:
    """What `read` found: tensors by role, and the facts (epoch, best score, fingerprints, ...)."""

    module: Mapping[str, Tensor]
    optimiser: Mapping[str, Tensor]
    random: Mapping[str, Tensor]
    facts: Mapping[str, Any]
    average: Mapping[str, Tensor] = field(default_factory=dict)


def write(
    path: Path,
    module: nn.Module,
    optimiser: torch.optim.Optimizer | None,
    facts: Mapping[str, Any],
    *,
    random: Mapping[str, Tensor] | None = None,
    average: Mapping[str, Tensor] | None = None,
) -> None:
    """Write weights, optimiser state, random state and facts, atomically and durably.

    Args:
        path: the file.
        module: whose weights and buffers.
        optimiser: its moments; None leaves them out.
        facts: anything that JSON can hold.
        random: states of the random generators; None takes the present ones.
        average: averaged weights, if there are any.
    """
    tensors = {f"{_MODULE}{key}": value for key, value in module.state_dict().items()}
    if optimiser is not None:
        for index, state in optimiser.state_dict()["state"].items():
            for key, value in state.items():
                if value is not None:  # the momentum of an SGD without momentum
                    tensors[f"{_OPTIMISER}{index}/{key}"] = torch.as_tensor(value)
    random = randomness.snapshot() if random is None else random
    tensors |= {f"{_RANDOM}{key}": value for key, value in random.items()}
    tensors |= {f"{_AVERAGE}{key}": value for key, value in (average or {}).items()}
    contiguous = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    write_bytes(path, save(contiguous, metadata={"diptych": json.dumps(facts)}))


def read(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises ModelError when the file is damaged or something else."""
    try:
        with safe_open(path, framework="pt") as stored:
            facts = json.loads(stored.metadata()["diptych"])
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}
    # PyTorch's mapping of a file that was replaced meanwhile is a RuntimeError
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} is not a checkpoint of ours ({error}); remove it to start anew") from error

    def under(prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

    return Checkpoint(under(_MODULE), under(_OPTIMISER), under(_RANDOM), facts, under(_AVERAGE))


def restore(checkpoint: Checkpoint, module: nn.Module, optimiser: torch.optim.Optimizer, *, process: int = 0) -> None:
    """Put weights, optimiser state and the random state of this process back as they were."""
    module.load_state_dict(dict(checkpoint.module))
    state: dict[int, dict[str, Tensor]] = {}
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for key, value in checkpoint.optimiser.items():
        index, _, name = key.partition("/")
        like = parameters[int(index)]
        if value.shape == like.shape:
            # the same memory layout as the weight (such as channels last), which a fused step needs
            value = torch.empty_like(like, dtype=value.dtype, device="cpu").copy_(value)
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    if checkpoint.random:
        several = checkpoint.random["cpu"].ndim > 1
        randomness.restore({key: value[process] if several else value for key, value in checkpoint.random.items()})


@dataclass
class RunState:
    """How far a run is."""

    epoch: int = 0  # whole epochs done
    batch: int = 0  # batches done of the next one
    loss: float = 0.0  # their sum
    best_score: float = -math.inf
    best_epoch: int = 0
    seconds: float = 0.0  # of training, over all interruptions
    unscored: int = 0  # epochs whose validation score was not finite


@dataclass(eq=False)
class Checkpoints:
    """Writes `last` (all that the next step depends on) and `best` (weights alone); only the first process writes.

    Args:
        folder: of the run.
        fabric: of the processes.
        module, optimiser, average: whose state is kept.
        identity: what a resumed run must agree on.
        settings: how often within an epoch.
    """

    folder: Path
    fabric: Any
    module: nn.Module
    optimiser: torch.optim.Optimizer
    average: AveragedWeights | None
    identity: Mapping[str, Any]
    settings: TrainingSettings

    def __post_init__(self) -> None:
        self._scaler = scaler_of(self.fabric)
        self._timer = Timer(self.settings.checkpoint_minutes, self.settings.checkpoint_steps)
        self._origin = {
            "identity": dict(self.identity),
            "processes": self.fabric.world_size,
            "precision": self.settings.precision,
        }

    def due(self) -> bool:
        """Whether it is time to write. Call it after each step."""
        return self._timer.due()

    def save_last(self, state: RunState) -> None:
        """Write all that the next step depends on. Every process must call it."""
        random = randomness.snapshot()
        if self.fabric.world_size > 1:
            random = {key: torch.stack(all_gather(value, self.fabric)).cpu() for key, value in random.items()}
        if self.fabric.is_global_zero:
            facts = {**asdict(state), "scaler": self._scaler.state_dict() if self._scaler else None, **self._origin}
            average = self.average.average if self.average else None
            write(self.folder / LAST, self.module, self.optimiser, facts, random=random, average=average)
        self._timer.restart()

    def save_best(self, state: RunState) -> None:
        """Write the weights alone: the same bytes in every run with one seed."""
        if self.fabric.is_global_zero:
            facts = {"epoch": state.epoch, "best_score": state.best_score, "best_epoch": state.best_epoch}
            write(self.folder / BEST, self.module, None, facts | self._origin, random={})

    def load_best(self) -> None:
        """Put the best weights into the module, on every process."""
        found = dict(read(self.folder / BEST).module) if self.fabric.is_global_zero else None
        self.module.load_state_dict(broadcast(found, self.fabric))
        self.module.eval()

    def resume(self, progress: Progress) -> RunState:
        """Resume from the last checkpoint, or begin. Every process must call it.

        Raises ConfigError when the checkpoint is of a run with another identity or number of processes.
        """
        path = self.folder / LAST
        found = None
        if self.fabric.is_global_zero:
            _remove_half_written(self.folder)
            found = read(path) if path.exists() else None
        found = broadcast(found, self.fabric)
        self._timer.restart()
        if found is None:
            self._synchronise()
            return RunState()
        self._require_same_origin(found.facts)
        restore(found, self.module, self.optimiser, process=self.fabric.global_rank)
        if self.average:
            self.average.load(found.average)
        if self._scaler:
            self._scaler.load_state_dict(found.facts["scaler"])
        state = RunState(**{key: found.facts[key] for key in asdict(RunState()) if key in found.facts})
        within = f", batch {state.batch} of epoch {state.epoch + 1}" if state.batch else ""
        progress.say(f"continuing after epoch {state.epoch}{within} of {self.folder}")
        return state

    def _require_same_origin(self, facts: Mapping[str, Any]) -> None:
        then = {**facts["identity"], "processes": facts.get("processes", 1)}
        changed = differences(then, {**self._origin["identity"], "processes": self.fabric.world_size})
        if precision_of(facts) == self._origin["precision"]:  # "auto" and what it stood for are the same
            changed = [change for change in changed if not change.partition(":")[0].endswith("precision")]
        if changed:
            raise ConfigError(
                f"{self.folder} holds a run with other settings ({'; '.join(changed)}); "
                "choose another folder (--out), or start anew (--fresh, fresh=True)"
            )

    def _synchronise(self) -> None:
        """The same weights on all processes, but other random numbers, so that their dropouts differ."""
        if self.fabric.world_size > 1:
            self.module.load_state_dict(broadcast(self.module.state_dict(), self.fabric))
            torch.manual_seed(torch.initial_seed() + self.fabric.global_rank)


class Timer:
    """When the next checkpoint within an epoch is due.

    Args:
        minutes: between two; 0 is none by time.
        steps: between two; 0 is none by count.
    """

    def __init__(self, minutes: float, steps: int) -> None:
        self._seconds = 60 * minutes
        self._steps = steps
        self.restart()

    def restart(self) -> None:
        """Count from now on."""
        self._since = time.monotonic()
        self._taken = 0

    def due(self) -> bool:
        """Whether it is time. Call it after each step."""
        self._taken += 1
        by_count = self._steps > 0 and self._taken >= self._steps
        return by_count or (self._seconds > 0 and time.monotonic() - self._since >= self._seconds)


def chosen_precision(folder: Path, wanted: str, device: str) -> tuple[str, str]:
    """What a run is computed in, and why: "auto" is what a resumed run was begun in, else what suits the device.

    Other precisions are themselves.
    """
    if wanted != "auto":
        return wanted, "as the settings say"
    here, why = precision_for(device)
    try:
        begun = precision_of(read(folder / LAST).facts)
    except ModelError:  # there is none, or `resume` will say that it is damaged
        return here, why
    other = "" if begun == here else f"; here it would be {here}: {why}"
    return begun, f"the run to resume was started in it{other}"


def precision_of(facts: Mapping[str, Any]) -> str:
    """What a checkpoint's run is computed in."""
    return str(facts.get("precision", "32-true"))


def remove_run(folder: Path) -> None:
    """Remove all that a run left in its folder; whatever else lies there stays."""
    _remove_half_written(folder)
    for name in (LAST, BEST):
        (folder / name).unlink(missing_ok=True)
    logs.remove_logs(folder)


def _remove_half_written(folder: Path) -> None:
    """Remove what a kill in the middle of an atomic write left behind."""
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
