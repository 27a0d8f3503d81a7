"""The states of all random generators of a process as tensors, so that a checkpoint can hold them."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

_NAN = float("nan")


def snapshot() -> dict[str, Tensor]:
    """The state of PyTorch's generators (CPU and this process's GPU), of NumPy's global one and of `random`."""
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    _, numbers, python_gauss = random.getstate()
    state = {
        "cpu": torch.get_rng_state(),
        "numpy": torch.tensor([*np.asarray(keys).tolist(), position, has_gauss], dtype=torch.int64),
        "python": torch.tensor(numbers, dtype=torch.int64),
        "gauss": torch.tensor([gauss, _NAN if python_gauss is None else python_gauss], dtype=torch.float64),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore(state: dict[str, Tensor]) -> None:
    """Put all generators back to where `snapshot` found them."""
    torch.set_rng_state(state["cpu"].clone())  # PyTorch reads a view from the start of its memory
    *keys, position, has_gauss = state["numpy"].tolist()
    gauss, python_gauss = state["gauss"].tolist()
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    random.setstate((3, tuple(state["python"].tolist()), None if np.isnan(python_gauss) else python_gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].clone())


def torch_snapshot() -> tuple[Tensor, ...]:
    """The state of PyTorch's generators alone: cheap enough for every chunk of a batch."""
    cpu = torch.get_rng_state()
    return (cpu, torch.cuda.get_rng_state()) if torch.cuda.is_available() else (cpu,)


def torch_restore(state: tuple[Tensor, ...]) -> None:
    """Put PyTorch's generators back."""
    torch.set_rng_state(state[0])
    if len(state) > 1:
        torch.cuda.set_rng_state(state[1])
