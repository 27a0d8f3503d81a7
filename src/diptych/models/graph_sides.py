"""The parts of a saved model that are graphs, as an export writes them. Needs onnx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.core.config import Part
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32
from diptych.encoders.graphs import Graph, read_graph, stored
from diptych.encoders.image.onnx import INPUT
from diptych.encoders.image.pixel_tower import PixelTower
from diptych.encoders.image.quantised import is_convolutional, quantised
from diptych.encoders.joined_graphs import FEATURES, parted, put_on, widened
from diptych.models import folder as files
from diptych.models.dual import DualEncoder

_HEADS = files.IMAGE_HEAD, files.TEXT_HEAD, files.QUERY_HEAD


@dataclass(frozen=True)
class GraphSides:
    """A model's graphs by name, after the network over an image tower became part of the tower's graph."""

    graphs: Mapping[str, Graph]
    head: Part  # what is above the image tower
    is_joined: bool = False  # the image tower's graph holds the network that was over it

    @property
    def calibrates(self) -> bool:
        """Whether the image tower can compute in 8 bits by ranges that are measured on images."""
        tower = self.graphs.get(files.IMAGE_TOWER)
        return tower is not None and is_convolutional(tower)

    def changed(self, *, in_bytes: bool) -> set[str]:
        """ "image" and "text", where `stored` gives no copies of that side's graphs."""
        names = self.graphs if in_bytes else [files.IMAGE_TOWER] * self.is_joined
        return {"image" if name in (files.IMAGE_TOWER, files.IMAGE_HEAD) else "text" for name in names}

    def stored(
        self, *, in_bytes: bool, planes: Float32[np.ndarray, "n 3 h w"] | None = None, progress: Progress = SILENT
    ) -> dict[str, Graph]:
        """The graphs as they are written: copies, but for an image tower with its network, in 16 bits.

        Args:
            in_bytes: an image tower computes in 8 bits, and large matrices of heads and of networks over texts are
                stored in 8 bits with a scale a row.
            planes: normalised images for the ranges, where it `calibrates`.
            progress: told about them.
        """
        from diptych.encoders.tower_graphs import narrowed

        made = dict(self.graphs)
        for name, graph in self.graphs.items():
            if name != files.IMAGE_TOWER:
                made[name] = Graph(graph.proto, _compact(widened(graph).weights)) if in_bytes else graph
            elif in_bytes and self.calibrates and planes is not None:
                made[name] = narrowed(quantised(graph, planes, progress=progress), in_bytes=False)
            elif in_bytes or self.is_joined:
                made[name] = narrowed(widened(graph), in_bytes=in_bytes)
        return made


def graph_sides(model: DualEncoder) -> GraphSides:
    """Those of a model; a pretrained joint one has none. The network over an image tower joins its graph.

    Where a head of its own cannot be told from the network, as in an ensemble of both, it goes with it.
    """
    side = model.config.image
    names = () if model.joint else (files.IMAGE_TOWER, *_HEADS)
    graphs = {name: read_graph(model.folder, name) for name in names if files.has_graph(model.config, name)}
    tower = graphs.get(files.IMAGE_TOWER)
    if tower is None and isinstance(model.image_tower, PixelTower):
        tower = _flat_pixels()
    if tower is None or side.network is None or files.IMAGE_HEAD not in graphs:
        return GraphSides(graphs, side.head)
    below, above = parted(graphs[files.IMAGE_HEAD], "head") or (graphs[files.IMAGE_HEAD], None)
    del graphs[files.IMAGE_HEAD]
    graphs |= {files.IMAGE_TOWER: put_on(tower, below)} | ({files.IMAGE_HEAD: above} if above else {})
    return GraphSides(graphs, side.head if above else Part("identity"), is_joined=True)


def _compact(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for name, value in weights.items():
        found |= stored(name, value, compact=True)
    return found


def _flat_pixels() -> Graph:
    """Pixels (b, 3, h, w) to the rows that the tower of pixels gives."""
    from onnx import TensorProto, helper

    nodes: list[Any] = [
        helper.make_node("Transpose", [INPUT], ["rows"], perm=[0, 2, 3, 1]),
        helper.make_node("Flatten", ["rows"], [FEATURES]),
    ]
    given, made = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in ((INPUT, ["batch", 3, "h", "w"]), (FEATURES, ["batch", "numbers"]))
    )
    graph = helper.make_graph(nodes, "pixels", [given], [made])
    return Graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), {}, as_read=True)
