"""The network itself as a `Backend`. Needs PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from diptych.core.shapes import Float, Float32, Int64

from .decoder import KeysValues
from .network import CrossNetwork


class TorchBackend:
    """Runs a network without training it, on its device.

    Args:
        network: the network, in evaluation mode.
        half: compute scores in bfloat16 where that is quicker; the likelihoods themselves stay in float32.
    """

    words_at_once = 16_384

    def __init__(self, network: CrossNetwork, *, half: bool = False) -> None:
        self.network = network
        self._half = half

    @property
    def max_tokens(self) -> int:
        """As `Backend.max_tokens`."""
        return self.network.settings.max_tokens

    def fuse(self, features: np.ndarray) -> Float32[np.ndarray, "b r w"]:
        """As `Backend.fuse`, in single precision."""
        with torch.inference_mode():
            return _array(self.network.fusion(self._floats(features)))

    def empty(self) -> Float32[np.ndarray, "1 1 w"]:
        """As `Backend.empty`."""
        return _array(self.network.empty().detach())

    def keys_values(self, regions: Float[np.ndarray, "b r w"]) -> KeysValues:
        """As `Backend.keys_values`."""
        with torch.inference_mode(), self._autocast():
            return self.network.keys_values(self._floats(regions))

    def word_likelihoods(
        self, inputs: Int64[np.ndarray, "b s t"], targets: Int64[np.ndarray, "b s t"], keys_values: KeysValues
    ) -> Float32[np.ndarray, "b s t"]:
        """As `Backend.word_likelihoods`."""
        return self._run(lambda: self.network.word_likelihoods(self._ids(inputs), self._ids(targets), keys_values))

    def matching(self, inputs: Int64[np.ndarray, "b s t"], keys_values: KeysValues) -> np.ndarray:
        """As `Backend.matching`."""
        return self._run(lambda: self.network.matching(self._ids(inputs), keys_values))

    def next_words(self, so_far: Int64[np.ndarray, "b s t"], keys_values: KeysValues) -> Float32[np.ndarray, "b s v"]:
        """As `Backend.next_words`."""
        return self._run(lambda: self.network.next_words(self._ids(so_far), keys_values))

    def attention(self, inputs: Int64[np.ndarray, "b s t"], keys_values: KeysValues) -> Float32[np.ndarray, "b s t r"]:
        """As `Backend.attention`."""
        return self._run(lambda: self.network.attention(self._ids(inputs), keys_values))

    def _run(self, compute: Callable[[], Tensor]) -> np.ndarray:
        with torch.inference_mode(), self._autocast():
            return _array(compute())

    def _floats(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(self._device)

    def _ids(self, array: np.ndarray) -> Tensor:
        return torch.tensor(array).to(self._device)  # a copy: the array may be read-only

    @property
    def _device(self) -> torch.device:
        return self.network.empty_image_token.device

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._half)


def _array(found: Tensor) -> np.ndarray:
    return np.asarray(found.float().cpu().numpy())
