"""A text tower in an ONNX file, run by ONNX Runtime over the ids of a tokenizer. No PyTorch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import fingerprint, hashes
from diptych.core.errors import ModelError, first_line
from diptych.core.shapes import Float32
from diptych.encoders.graphs import weights_of
from diptych.encoders.onnx_session import start_session
from diptych.encoders.text.by_length import by_length
from diptych.encoders.text.tokens import TokenTower


class OnnxTextTower:
    """A graph from `ids`, int64 (b, l) with -1 where the model sees no token, to `features`, (b, d).

    `tokens` gives the ids. Where the graph leaves l open, rows end with the longest text of their batch. `threads`
    None leaves the number to ONNX Runtime; `device` is as in `start_session`. The session starts with the first text.
    Safe to use from several threads. Raises ModelError for a file that does not fit.
    """

    def __init__(self, path: Path, tokens: TokenTower, *, threads: int | None = None, device: str = "auto") -> None:
        self.tokens = tokens
        self.languages, self.max_tokens = tokens.languages, tokens.max_tokens
        self._path, self._threads, self._device = path, threads, device
        self._lock = threading.Lock()
        self._started: Any = None

    @cached_property
    def dim(self) -> int:
        """Features a text."""
        size = self._session.get_outputs()[0].shape[-1]
        return size if isinstance(size, int) else int(self.embed(["a"]).shape[1])

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the graph, its weights and the tokenizer."""
        weights = weights_of(self._path.parent, self._path.stem)
        return fingerprint.combined([*map(hashes.of_file, (self._path, weights)), self.tokens.fingerprint])

    def embed(self, texts: Sequence[str]) -> Float32[np.ndarray, "b d"]:
        """Features of texts, each cut at `max_tokens`."""
        if len(texts) == 0:
            return np.zeros((0, self.dim), dtype=np.float32)
        session = self._session
        any_length = not isinstance(session.get_inputs()[0].shape[1], int)
        rows = self.tokens.embed(texts).astype(np.int64)
        features: Any = None
        for chosen, ids in by_length(rows, cut=any_length):
            try:
                (found,) = session.run(["features"], {"ids": ids})
            except Exception as error:  # ONNX Runtime's errors share no public base class
                raise ModelError(f"{self._path} cannot take ids of shape {ids.shape}: {first_line(error)}") from error
            if features is None:
                features = np.empty((len(texts), found.shape[1]), dtype=np.float32)
            features[chosen] = found
        return np.asarray(features)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each whole text, before any cut."""
        return self.tokens.count_tokens(texts)

    @property
    def _session(self) -> Any:
        with self._lock:
            if self._started is None:
                self._started = start_session(self._path, threads=self._threads, spinning=False, device=self._device)
            return self._started
