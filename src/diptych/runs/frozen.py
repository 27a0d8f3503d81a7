"""A side that is kept as it is: its network becomes part of its tower, so its features are cached."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from diptych.core import fingerprint
from diptych.core.batched import batched
from diptych.core.shapes import Float32
from diptych.encoders.pytorch import choose_device, computed_by, state_fingerprint
from diptych.models.networks import Network

_BATCH = 256


class FrozenTower:
    """A tower and the network above it, as one frozen tower of images or of texts.

    Args:
        tower: gives rows of pixels or of token ids.
        network: with its final weights.
        device: where it runs.
    """

    def __init__(self, tower: Any, network: Network, device: str = "auto") -> None:
        self.tower = tower
        self.network = network.to(choose_device(device))
        self.dim = network.dim

    def __getattr__(self, name: str) -> Any:
        # what images and texts need each: preprocess, or languages, max_tokens and count_tokens
        if name in ("preprocess", "languages", "max_tokens", "count_tokens"):
            return getattr(self.tower, name)
        raise AttributeError(name)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the tower's and of the network's weights, and of what the network computes."""
        computing = fingerprint.of_json(computed_by(self.network))
        return fingerprint.combined([self.tower.fingerprint, state_fingerprint(self.network), computing])

    def embed(self, inputs: np.ndarray | Sequence[str]) -> Float32[np.ndarray, "b f"]:
        """Features of prepared pixels, or of texts."""
        made = [np.zeros((0, self.dim), dtype=np.float32)]
        device = next(self.network.parameters()).device
        for part in batched(inputs, _BATCH) if not isinstance(inputs, np.ndarray) else [inputs]:
            rows = torch.from_numpy(np.asarray(self.tower.embed(part)))
            rows = rows.long() if rows.dtype == torch.int32 else rows
            with torch.inference_mode():
                made.append(self.network(rows.to(device)).float().cpu().numpy())
        return np.concatenate(made)
