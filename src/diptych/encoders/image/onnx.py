"""An image tower in an ONNX file, run by ONNX Runtime. No PyTorch."""

from __future__ import annotations

import json
import threading
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import fingerprint, hashes
from diptych.core.config import from_dict
from diptych.core.errors import ConfigError, ModelError, first_line
from diptych.core.protocols import Preprocess
from diptych.core.registry import register
from diptych.core.shapes import Float32, UInt8
from diptych.encoders.inputs import grey_pixels, normalise_pixels
from diptych.encoders.onnx_session import start_session

INPUT = "pixels"
PREPROCESS_KEY = "diptych_preprocess"  # in the file's metadata: the fields of Preprocess as JSON


@register.image_tower("onnx", "a graph of your own", arguments=("FILE",))
class OnnxImageTower:
    """A graph from `pixels`, float32 (b, 3, h, w) already normalised, to the output named `output`, (b, d).

    `preprocess` None reads it from the file's metadata (see `PREPROCESS_KEY`). `weights` is the
    file with the graph's external data when that lies in another folder than the graph; its name
    must be the one in the graph. `threads` None leaves the number to ONNX Runtime. `tokens` names
    an output with a feature map (b, c, h, w), for `tokens()`. `device` is as in `start_session`.

    The session starts with the first image (or with the first question about `dim`).
    Safe to use from several threads. Raises ModelError for files and pixels that do not fit.
    """

    def __init__(
        self,
        path: str | Path,
        preprocess: Preprocess | None = None,
        *,
        output: str = "features",
        tokens: str = "tokens",
        threads: int | None = None,
        weights: str | Path | None = None,
        device: str = "auto",
    ) -> None:
        self._path = Path(path)
        self._weights = Path(weights) if weights is not None else None
        for file in (self._path, self._weights):
            if file is not None and not file.is_file():
                raise ModelError(f"no model file at {file}; expected an ONNX file or its weights")
        self._output, self._tokens, self._threads, self._device = output, tokens, threads, device
        self._lock = threading.Lock()
        self._started: Any = None
        if preprocess is not None:
            self.preprocess = preprocess

    @cached_property
    def preprocess(self) -> Preprocess:
        """Size, mode, mean and std of the images; from the file's metadata when not given."""
        found = self._session.get_modelmeta().custom_metadata_map.get(PREPROCESS_KEY)
        if found is None:
            raise ModelError(
                f"{self._path} does not say how images are prepared for it: its metadata has no "
                f"{PREPROCESS_KEY!r}; pass a Preprocess"
            )
        try:
            fields = json.loads(found)
            needed = {name: fields[name] for name in ("size", "mode", "mean", "std")}
            return from_dict(Preprocess, {**fields, **needed}, str(self._path))
        except (ValueError, KeyError, TypeError, ConfigError) as error:
            raise ModelError(f"{self._path} has a broken {PREPROCESS_KEY!r} in its metadata: {found!r}") from error

    @cached_property
    def dim(self) -> int:
        """Features an image, from the graph or, when it leaves that open, from a grey image."""
        outputs = {output.name: output.shape for output in self._session.get_outputs()}
        size = outputs[self._output][-1]
        if isinstance(size, int):
            return size
        return int(self._run(grey_pixels(self.preprocess), self._output).shape[-1])

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the file, of its external weights, and of the preprocessing."""
        prepared = self.preprocess
        parts = [hashes.of_file(self._path)]
        if self._weights is not None:
            parts.append(hashes.of_file(self._weights))
        settings = [self._output, *prepared.stated().values()]
        return fingerprint.combined([*parts, fingerprint.of_json(settings)])

    def embed(self, pixels: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b d"]:
        """Features of resized RGB images."""
        if len(pixels) == 0:
            return np.zeros((0, self.dim), dtype=np.float32)
        features = self._run(pixels, self._output)
        if features.ndim != 2:
            raise ModelError(
                f"output {self._output!r} of {self._path} has shape {features.shape}; expected (b, d): "
                "name the pooled output"
            )
        return features

    def tokens(self, pixels: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b n c"]:
        """The feature map as n = h x w tokens an image, row by row; ModelError if the graph has none."""
        maps = self._run(pixels, self._tokens)
        if maps.ndim != 4:
            raise ModelError(
                f"output {self._tokens!r} of {self._path} has shape {maps.shape}; expected a map (b, c, h, w)"
            )
        return np.ascontiguousarray(maps.reshape(*maps.shape[:2], -1).swapaxes(1, 2))

    def _run(self, pixels: np.ndarray, output: str) -> np.ndarray:
        session = self._session
        self._require_output(session, output)
        planes = normalise_pixels(pixels, self.preprocess)
        try:
            (result,) = session.run([output], {session.get_inputs()[0].name: planes})
        except Exception as error:  # ONNX Runtime's errors share no public base class
            raise ModelError(f"{self._path} cannot take {planes.shape}: {first_line(error)}") from error
        return np.asarray(result, dtype=np.float32)

    def _require_output(self, session: Any, output: str) -> None:
        names = [found.name for found in session.get_outputs()]
        if output not in names:
            raise ModelError(f"{self._path} has no output {output!r}; it has {', '.join(names)}")

    @property
    def _session(self) -> Any:
        with self._lock:
            if self._started is None:
                self._started = self._start()
            return self._started

    def _start(self) -> Any:
        session = start_session(
            self._path, threads=self._threads, weights=self._weights, spinning=False, device=self._device
        )
        self._require_output(session, self._output)
        inputs = session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
            found = ", ".join(f"{item.name} {item.type} {item.shape}" for item in inputs)
            raise ModelError(f"{self._path} takes {found}; expected one input {INPUT!r}, float32 of shape (b, 3, h, w)")
        return session
