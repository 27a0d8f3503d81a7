"""A detector in an ONNX file, run by ONNX Runtime. No PyTorch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import ModelError, first_line
from diptych.core.registry import register
from diptych.core.shapes import Bool, Float32, UInt8
from diptych.data.images import prepare
from diptych.encoders.inputs import normalise_pixels
from diptych.encoders.onnx_session import start_session

from .facts import check_threshold, read_facts
from .outputs import best_scores


@register.detector("onnx", "an ONNX detector of your own", arguments=("FILE",))
class OnnxDetector:
    """A graph with one input for images, whose outputs have a layout that `outputs` knows.

    The input is (1, h, w, 3), (1, 3, h, w) or (3, h, w), float32 or uint8. Its classes, threshold and preprocessing are
    those of FILE.detector.json beside it, or of its metadata: see `facts`. Raises ModelError for a file that is not
    here, is no such graph, or does not say its classes.
    """

    def __init__(self, path: str | Path, *, threshold: float | None = None, device: str = "auto") -> None:
        self._path = Path(path)
        if not self._path.is_file():
            raise ModelError(f"no detector at {self._path}; expected an ONNX file")
        self._session = start_session(self._path, device=device)
        facts = read_facts(self._path, self._session.get_modelmeta().custom_metadata_map)
        inputs = self._session.get_inputs()
        self._input = inputs[0].name
        self._axes, size = _axes_and_size(self._path, inputs)
        self._is_whole_numbers = inputs[0].type == "tensor(uint8)"
        self._preprocess = replace(facts.preprocess, size=size or facts.preprocess.size)
        self.classes = facts.classes
        self.threshold = facts.threshold if threshold is None else check_threshold(threshold)
        licence = f" (licence: {facts.licence})" if facts.licence else ""
        self.name = f"{self._path.name}, {len(self.classes)} classes, from a score of {self.threshold:g}{licence}"

    def scores(self, images: UInt8[np.ndarray, "n h w 3"]) -> Float32[np.ndarray, "n c"]:
        """The best score of each class in each image."""
        found = np.zeros((len(images), len(self.classes)), dtype=np.float32)
        names = [output.name for output in self._session.get_outputs()]
        for row, image in enumerate(images):
            try:
                outputs = self._session.run(names, {self._input: self._fed(image)})
            except Exception as error:  # ONNX Runtime's errors share no public base class
                raise ModelError(f"the detector {self._path} cannot run: {first_line(error)}") from error
            found[row] = best_scores(dict(zip(names, outputs, strict=True)), len(self.classes))
        return found

    def detect(self, images: UInt8[np.ndarray, "n h w 3"]) -> Bool[np.ndarray, "n c"]:
        """Which of `classes` each image shows."""
        return self.scores(images) >= self.threshold

    def _fed(self, image: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
        pixels = prepare(image, self._preprocess)[np.newaxis]
        whole = pixels.transpose(0, 3, 1, 2)
        planes = whole if self._is_whole_numbers else normalise_pixels(pixels, self._preprocess)
        turned = planes.transpose(0, 2, 3, 1) if self._axes == "nhwc" else planes
        return np.ascontiguousarray(turned[0] if self._axes == "chw" else turned)


def _axes_and_size(path: Path, inputs: list[Any]) -> tuple[str, int]:
    """The order of the input's axes, and the side of its images where that is fixed, else 0."""
    shape = inputs[0].shape
    axes = "chw" if len(shape) == 3 else "nhwc" if shape[-1:] == [3] else "nchw"
    rest = {inputs[0].name: inputs[0].type} | {one.name: one.type for one in inputs[1:]}
    sides = [shape[axes.index("h")], shape[axes.index("w")]] if len(shape) in (3, 4) else []
    fixed = [side for side in sides if isinstance(side, int)]
    if len(inputs) != 1 or not sides or inputs[0].type not in ("tensor(float)", "tensor(uint8)") or len(set(fixed)) > 1:
        raise ModelError(
            f"{path} takes {rest} of shape {shape}; expected one input of images, (1, h, w, 3), (1, 3, h, w) or "
            "(3, h, w), square, of type float or uint8"
        )
    return axes, fixed[0] if fixed else 0
