"""The network's ONNX graphs as a `Backend`: ONNX Runtime and NumPy, no PyTorch."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from diptych.core.errors import ModelError, first_line
from diptych.core.shapes import Float, Float32, Int64
from diptych.encoders.onnx_session import start_session
from diptych.models.folder import WEIGHTS

from .graph_names import (
    ATTENTION,
    EMPTY_IMAGE,
    KEYS_VALUES,
    LIKELIHOOD,
    MATCHING,
    NEXT_WORDS,
    REGIONS,
    keys_values_names,
)


class OnnxBackend:
    """Runs the graphs in a model's folder; each is loaded when it is first needed. Safe to use from several threads.

    Args:
        folder: the folder, whose files are known to be whole.
        max_tokens: word pieces of a text that are read.
        device: as in `start_session`.
    """

    words_at_once = 2048  # the probabilities of all words at these places are computed at once

    def __init__(self, folder: Path, max_tokens: int, *, device: str = "auto") -> None:
        self._folder = folder
        self._max_tokens = max_tokens
        self._device = device
        self._lock = threading.Lock()
        self._sessions: dict[str, Any] = {}

    @property
    def max_tokens(self) -> int:
        """As `Backend.max_tokens`."""
        return self._max_tokens

    def fuse(self, features: np.ndarray) -> Float32[np.ndarray, "b r w"]:
        """As `Backend.fuse`."""
        return self._array(REGIONS, {"features": _floats(features)})

    def empty(self) -> Float32[np.ndarray, "1 1 w"]:
        """As `Backend.empty`. Raises ModelError when the weights are damaged."""
        path = self._folder / WEIGHTS
        try:
            with safe_open(path, framework="numpy") as file:
                return np.asarray(file.get_tensor(EMPTY_IMAGE), dtype=np.float32)[None, None]
        except (OSError, SafetensorError) as error:
            raise ModelError(f"cannot read {path}: {error}; copy the whole folder again") from error

    def keys_values(self, regions: Float[np.ndarray, "b r w"]) -> list[Any]:
        """As `Backend.keys_values`: values of ONNX Runtime, which stay where it computes."""
        return self._run(KEYS_VALUES, {"tokens": _floats(regions)}, [])

    def word_likelihoods(
        self, inputs: Int64[np.ndarray, "b s t"], targets: Int64[np.ndarray, "b s t"], keys_values: list[Any]
    ) -> Float32[np.ndarray, "b s t"]:
        """As `Backend.word_likelihoods`."""
        return self._array(LIKELIHOOD, {"inputs": inputs, "targets": targets}, keys_values)

    def matching(self, inputs: Int64[np.ndarray, "b s t"], keys_values: list[Any]) -> np.ndarray:
        """As `Backend.matching`."""
        return self._array(MATCHING, {"inputs": inputs}, keys_values)

    def next_words(self, so_far: Int64[np.ndarray, "b s t"], keys_values: list[Any]) -> Float32[np.ndarray, "b s v"]:
        """As `Backend.next_words`."""
        return self._array(NEXT_WORDS, {"inputs": so_far}, keys_values)

    def attention(self, inputs: Int64[np.ndarray, "b s t"], keys_values: list[Any]) -> Float32[np.ndarray, "b s t r"]:
        """As `Backend.attention`."""
        return self._array(ATTENTION, {"inputs": inputs}, keys_values)

    def _array(self, graph: str, given: dict[str, np.ndarray], keys_values: list[Any] | tuple[()] = ()) -> np.ndarray:
        (found,) = self._run(graph, given, keys_values)
        return np.asarray(found.numpy())

    def _run(self, graph: str, given: dict[str, np.ndarray], keys_values: list[Any] | tuple[()]) -> list[Any]:
        """The outputs of a graph; `keys_values` fill its last inputs, as far as it reads them."""
        session = self._session(graph)
        binding = session.io_binding()
        known = {one.name for one in session.get_inputs()}
        kept = {name: np.ascontiguousarray(array) for name, array in given.items()}  # bound by address
        try:
            for name, array in kept.items():
                binding.bind_cpu_input(name, array)
            for name, value in zip(keys_values_names(len(keys_values) // 2), keys_values, strict=True):
                if name in known:
                    binding.bind_ortvalue_input(name, value)
            for output in session.get_outputs():
                binding.bind_output(output.name)
            session.run_with_iobinding(binding)
            return list(binding.get_outputs())
        except Exception as error:  # ONNX Runtime's errors share no public base class
            shapes = ", ".join(f"{name} {array.shape}" for name, array in kept.items())
            raise ModelError(f"{self._folder / graph}.onnx cannot take {shapes}: {first_line(error)}") from error

    def _session(self, graph: str) -> Any:
        with self._lock:
            if graph not in self._sessions:
                path = self._folder / f"{graph}.onnx"
                self._sessions[graph] = start_session(path, spinning=False, device=self._device)
            return self._sessions[graph]


def _floats(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, dtype=np.float32)
