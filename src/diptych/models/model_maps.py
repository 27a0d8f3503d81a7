"""The feature maps inside a model's image graph, as a frozen tower: the regions of a cross-encoder over that model.

A model such as `base` ships as a graph in 8 bits. Its network cannot be had back in PyTorch, but its maps can be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from diptych.core import fingerprint
from diptych.core.errors import ConfigError
from diptych.core.extras import needed_by
from diptych.core.files import cache_folder
from diptych.core.registry import register
from diptych.core.shapes import Float32, UInt8
from diptych.encoders.graphs import Graph, read_graph, weights_of
from diptych.encoders.image.onnx import OnnxImageTower
from diptych.encoders.onnx_session import start_session
from diptych.models.folder import IMAGE_TOWER
from diptych.models.shipped import load

FEATURES = "features"


@register.image_tower("model-maps", "feature maps inside a model that is one graph, such as base", arguments=("MODEL",))
class ModelMaps:
    """The maps that a model pools into its features, each flattened channel by channel, side by side.

    Args:
        model: name or folder of a model whose image network is one graph in its folder, and pools maps by their
            maximum, as the EfficientNet-Lite towers and `efficientnet_tail` do.
        which: of these maps, from 0, finest first. Those of `base` are of stage 5, 6, 7 and of the last convolution.
        threads: of ONNX Runtime.
        folder: where the graph is kept.

    Raises ConfigError for a model without such maps, or without those that are asked for.
    """

    address = "model-maps"  # how a saved model names it: without the model, which it does not need

    def __init__(
        self,
        model: str | Path,
        which: Sequence[int] = (0, 1, 3),
        *,
        threads: int | None = None,
        folder: Path | None = None,
    ) -> None:
        self._model = load(model)
        self._threads = threads
        self._folder = folder or cache_folder() / "towers"
        self.preprocess = self._model.preprocess
        if not (self._model.folder / f"{IMAGE_TOWER}.onnx").is_file():
            raise ConfigError(f"{self._model.name} has no image network in its folder; expected a model such as base")
        with needed_by("model-maps"):
            self._graph = read_graph(self._model.folder, IMAGE_TOWER)
        pooled = [node.input[0] for node in self._graph.proto.graph.node if node.op_type == "ReduceMax"]
        if not which or not all(number in range(len(pooled)) for number in which):
            raise ConfigError(
                f"which must name some of the {len(pooled)} maps that {self._model.name} pools, from 0; found "
                f"{list(which)}"
            )
        self._read = [pooled[number] for number in which]

    @cached_property
    def fingerprint(self) -> str:
        """Of the model's graph and weights, and of the maps that are read."""
        files = (self._model.folder / f"{IMAGE_TOWER}.onnx", weights_of(self._model.folder, IMAGE_TOWER))
        return fingerprint.combined(["model-maps-1", *map(fingerprint.of_file, files), *self._read])

    @cached_property
    def folder(self) -> Path:
        """The folder with the graph and its weights (`image_tower.onnx`, `model.safetensors`)."""
        folder = self._folder / f"model-maps-{self.fingerprint[:16]}"
        if not (folder / f"{IMAGE_TOWER}.onnx").exists():
            from diptych.encoders.export import export_graphs

            export_graphs(folder, {IMAGE_TOWER: _with_maps(self._graph, self._read)})
        return folder

    @cached_property
    def _session(self) -> OnnxImageTower:
        return OnnxImageTower(self.folder / f"{IMAGE_TOWER}.onnx", self.preprocess, threads=self._threads)

    @cached_property
    def maps(self) -> tuple[tuple[int, int, int], ...]:
        """(channels, rows, columns) of each map, in the order of `which`."""
        session = start_session(self.folder / f"{IMAGE_TOWER}.onnx", threads=self._threads, device="cpu")
        return tuple(tuple(each.shape[1:]) for each in session.get_outputs()[1:])

    @property
    def dim(self) -> int:
        """Numbers in the flattened maps."""
        return self._session.dim

    def embed(self, pixels: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b d"]:
        """The maps of resized RGB images."""
        return self._session.embed(pixels)


def _with_maps(graph: Graph, names: Sequence[str]) -> Graph:
    """The graph with the maps of these names, flattened side by side, as `features`, and each as it is after them."""
    from onnx import TensorProto, helper

    proto = type(graph.proto)()
    proto.CopyFrom(graph.proto)
    net = proto.graph
    for node in net.node:  # what was the output before keeps its value under another name
        node.output[:] = [f"pooled_{name}" if name == FEATURES else name for name in node.output]
    flat = [f"flat_{number}" for number in range(len(names))]
    net.node.extend(helper.make_node("Flatten", [name], [to], axis=1) for name, to in zip(names, flat, strict=True))
    net.node.append(helper.make_node("Concat", flat, [FEATURES], axis=1))
    del net.output[:]
    net.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (FEATURES, *names))
    return replace(graph, proto=proto)
