"""Checkpoints: one safetensors file each, never a pickle.

Weights, optimiser moments and random state are tensors; everything else is JSON in the file's
own header. One file means one atomic rename: a checkpoint is whole or it is the one before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from diptych.core.errors import ModelError
from diptych.core.files import write_bytes

_MODULE, _OPTIMISER, _RANDOM = "module/", "optimiser/", "random/"


@dataclass(frozen=True)
class Checkpoint:
    """What `read` found: tensors by role, and the facts (epoch, best score, fingerprints, ...)."""

    module: Mapping[str, Tensor]
    optimiser: Mapping[str, Tensor]
    random: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def write(
    path: Path,
    module: nn.Module,
    optimiser: torch.optim.Optimizer | None,
    facts: Mapping[str, Any],
) -> None:
    """Write weights, optimiser state, random state and facts, atomically and durably."""
    tensors = {f"{_MODULE}{key}": value for key, value in module.state_dict().items()}
    if optimiser is not None:
        for index, state in optimiser.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"{_OPTIMISER}{index}/{key}"] = torch.as_tensor(value)
    tensors[f"{_RANDOM}cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors[f"{_RANDOM}cuda"] = torch.cuda.get_rng_state()
    contiguous = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    write_bytes(path, save(contiguous, metadata={"diptych": json.dumps(facts)}))


def read(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises ModelError when the file is damaged or something else."""
    try:
        with safe_open(path, framework="pt") as stored:
            facts = json.loads(stored.metadata()["diptych"])
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is not a checkpoint of ours ({error}); remove it to start anew") from error

    def under(prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

    return Checkpoint(under(_MODULE), under(_OPTIMISER), under(_RANDOM), facts)


def restore(checkpoint: Checkpoint, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Put weights, optimiser state and random state back as they were."""
    module.load_state_dict(dict(checkpoint.module))
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in checkpoint.optimiser.items():
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    torch.set_rng_state(checkpoint.random["cpu"])
    if "cuda" in checkpoint.random and torch.cuda.is_available():
        torch.cuda.set_rng_state(checkpoint.random["cuda"])
