"""Checkpoints: one safetensors file each, never a pickle.

Weights, averaged weights, optimiser moments and random states are tensors; everything else is JSON in
the file's own header. One file means one atomic rename: a checkpoint is whole or it is the one before.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from diptych.core.errors import ModelError
from diptych.core.files import write_bytes
from diptych.training import randomness

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
        random: where the random generators stand; left out, they are asked now.
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


def read_facts(path: Path) -> Mapping[str, Any] | None:
    """The facts of a checkpoint alone; None where there is none that can be read."""
    try:
        with safe_open(path, framework="pt") as stored:
            facts: Mapping[str, Any] = json.loads(stored.metadata()["diptych"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError):
        return None
    return facts


def restore(checkpoint: Checkpoint, module: nn.Module, optimiser: torch.optim.Optimizer, *, process: int = 0) -> None:
    """Put weights, optimiser state and the random state of this process back as they were."""
    module.load_state_dict(dict(checkpoint.module))
    state: dict[int, dict[str, Tensor]] = {}
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for key, value in checkpoint.optimiser.items():
        index, _, name = key.partition("/")
        like = parameters[int(index)]
        if value.shape == like.shape:
            # in memory as the weight lies (channels last, say): a fused step takes both as plain rows of numbers
            value = torch.empty_like(like, dtype=value.dtype, device="cpu").copy_(value)
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    if checkpoint.random:
        several = checkpoint.random["cpu"].ndim > 1
        randomness.restore({key: value[process] if several else value for key, value in checkpoint.random.items()})


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """Hash of a state dict: names, kinds, shapes and the very bytes, whatever else its file holds."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class Timetable:
    """When the next checkpoint within an epoch is due.

    Args:
        minutes: between two; 0 is none by time.
        steps: between two; 0 is none by count.
    """

    def __init__(self, minutes: float, steps: int) -> None:
        self._seconds = 60 * minutes
        self._steps = steps
        self.written()

    def written(self) -> None:
        """A checkpoint was written just now."""
        self._since = time.monotonic()
        self._taken = 0

    def due(self) -> bool:
        """Asked after each step."""
        self._taken += 1
        by_count = self._steps > 0 and self._taken >= self._steps
        return by_count or (self._seconds > 0 and time.monotonic() - self._since >= self._seconds)
