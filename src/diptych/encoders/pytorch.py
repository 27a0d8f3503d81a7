"""What the PyTorch towers share: the device, a frozen module, its fingerprint, one copy per model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from diptych.core import fingerprint
from diptych.core.errors import ConfigError
from diptych.core.extras import need

if TYPE_CHECKING:
    import torch

_live: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()
_lock = threading.RLock()


def choose_device(device: str) -> torch.device:
    """A device by name; "auto" is CUDA when there is one. Raises ConfigError for one that is not there."""
    need("torch", "this tower")
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {device!r}; choose from auto, cpu, cuda, cuda:N") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {device!r} is not here: {torch.cuda.device_count()} CUDA devices found; use cpu")
    return chosen


def freeze(module: Any, device: torch.device) -> Any:
    """Float32, evaluation mode, no gradients, on `device`."""
    return module.float().eval().requires_grad_(False).to(device)


def state_fingerprint(module: torch.nn.Module) -> str:
    """Fingerprint of every parameter and buffer: names, types, shapes and values."""
    import torch

    parts = []
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        parts += [name, str(tensor.dtype), str(tuple(tensor.shape)), fingerprint.of_bytes(values.tobytes())]
    return fingerprint.combined(parts)


def shared(key: Hashable, make: Callable[[], Any]) -> Any:
    """One live object per key, so that the two towers of a CLIP model hold its weights once.

    The object goes when the last tower that uses it does.
    """
    with _lock:
        found = _live.get(key)
        if found is None:
            found = _live[key] = make()
        return found
