"""Whether 16-bit arithmetic is quicker here: known from the processor, or measured once and remembered.

Without units for bfloat16 a processor emulates it, and a matrix product takes tens of times as long as in 32 bits.
"""

from __future__ import annotations

import functools
import json
import platform
import timeit
from dataclasses import dataclass
from pathlib import Path

import torch

from diptych.core import fingerprint
from diptych.core.files import cache_folder, write_json

UNITS = ("amx_bf16", "avx512_bf16", "avx10_2", "bf16")  # as Linux names them; the last one is ARM's
_CPU_INFO = Path("/proc/cpuinfo")
_FILE = "half-precision.json"
_SIDE, _ROUNDS = 256, 5
_WORTH = 1.2  # bfloat16 is used where it is this many times as quick


@dataclass(frozen=True)
class Half:
    """Whether bfloat16 is quicker than 32 bits, and how that is known."""

    quicker: bool
    why: str


def half_on(device: str) -> Half:
    """For a device: "cpu", "cuda" or "cuda:N"."""
    if not device.startswith("cuda"):
        return _on_cpu(_CPU_INFO, cache_folder())
    has = bool(torch.cuda.is_bf16_supported())
    return Half(has, "the GPU has bfloat16 units" if has else "the GPU has no bfloat16 units")


@functools.cache
def _on_cpu(info: Path, cache: Path) -> Half:
    flags = cpu_flags(info)
    if flags is None:
        return _remembered(cache)
    unit = next((unit for unit in UNITS if unit in flags), None)
    return Half(True, f"the CPU has bfloat16 units ({unit})") if unit else Half(False, "the CPU has no bfloat16 units")


def cpu_flags(info: Path) -> set[str] | None:
    """What the processor can do; None where the system does not say."""
    try:
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, values = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            return set(values.split())
    return None


def _remembered(cache: Path) -> Half:
    """Measured on this machine with this PyTorch and these threads, once."""
    key = fingerprint.combined([platform.node(), platform.machine(), platform.processor(), torch.__version__])
    key = f"{key}-{torch.get_num_threads()}"
    path = cache / _FILE
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        ratio = float(known[key])
    except (OSError, ValueError, KeyError, TypeError):
        ratio = measured()
        write_json(path, {key: round(ratio, 3)})
    return Half(ratio >= _WORTH, f"a product of matrices in bfloat16 is {ratio:.2g} times as quick as in 32 bits here")


def measured() -> float:
    """Time of a matrix product in 32 bits by that in bfloat16: the quickest of a few each."""

    def seconds(kind: torch.dtype) -> float:
        matrix = torch.ones(_SIDE, _SIDE, dtype=kind)
        return min(timeit.repeat(lambda: matrix @ matrix, number=1, repeat=_ROUNDS))

    with torch.inference_mode():
        return seconds(torch.float32) / max(1e-9, seconds(torch.bfloat16))
