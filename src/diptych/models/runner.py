"""Runs a head's graph on ONNX Runtime."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.shapes import Float32, Shaped
from diptych.encoders.onnx_session import start_session


class OnnxHead:
    """Features (or token ids, or pixels) in, L2-normalised embeddings out; the session is made at the first call."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self.path = path
        self._threads = threads

    @cached_property
    def _session(self) -> Any:
        return start_session(self.path, threads=self._threads)

    @cached_property
    def _input_type(self) -> type[np.generic]:
        return np.int64 if self._session.get_inputs()[0].type == "tensor(int64)" else np.float32

    def __call__(self, features: Shaped[np.ndarray, "b f"]) -> Float32[np.ndarray, "b d"]:
        """Embeddings of unit length."""
        (embedding,) = self._session.run(None, {"features": np.ascontiguousarray(features, dtype=self._input_type)})
        return np.asarray(embedding, dtype=np.float32)
