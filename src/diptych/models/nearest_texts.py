"""An image answered through its nearest training images: what their texts say, as arrays and as an ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.registry import Part
from diptych.core.shapes import Float32
from diptych.encoders.graphs import Graph, require_finite, stored

from .linear_map import LinearMap

_TOGETHER = 256  # images compared with all training images at once


@dataclass(frozen=True)
class NearestTexts:
    """normalise(mean of the rows of `texts` at the `neighbours` rows of `images` nearest to map(x) by the cosine).

    Computes the same as the head `nearest_texts`.

    Args:
        map: an image's features to the space.
        images: training images in that space, of unit length.
        texts: for each of them the mean of its texts' vectors.
        neighbours: how many are averaged.
    """

    map: LinearMap
    images: Float32[np.ndarray, "n d"]
    texts: Float32[np.ndarray, "n d"]
    neighbours: int

    @property
    def part(self) -> Part:
        """How a saved model names the head."""
        return Part("nearest_texts", {"images": len(self.images), "neighbours": self.neighbours})

    def __call__(self, features: Float32[np.ndarray, "b f"]) -> Float32[np.ndarray, "b d"]:
        """Embeddings of unit length."""
        found = [np.zeros((0, self.texts.shape[1]), dtype=np.float32)]
        for start in range(0, len(features), _TOGETHER):
            scores = self.map(features[start : start + _TOGETHER]) @ self.images.T
            nearest = np.argpartition(-scores, self.neighbours - 1, axis=1)[:, : self.neighbours]
            found.append(normalise(self.texts[nearest].mean(1)).astype(np.float32))
        return np.concatenate(found)

    def graph(self) -> Graph:
        """The ONNX graph; large weights in half precision."""
        import onnx
        from onnx import helper

        below = self.map.graph()
        proto = onnx.ModelProto()
        proto.CopyFrom(below.proto)
        proto.graph.name = "nearest_texts"
        (last,) = (node for node in proto.graph.node if "embedding" in node.output)
        last.output[0] = "mapped_to_length_one"
        count = onnx.numpy_helper.from_array(np.array([self.neighbours], dtype=np.int64))
        proto.graph.node.extend(
            [
                helper.make_node("Transpose", ["images"], ["images_as_columns"], perm=[1, 0]),
                helper.make_node("MatMul", ["mapped_to_length_one", "images_as_columns"], ["cosines"]),
                helper.make_node("Constant", [], ["neighbours"], value=count),
                helper.make_node("TopK", ["cosines", "neighbours"], ["nearest_cosines", "nearest"], axis=1),
                helper.make_node("Gather", ["texts", "nearest"], ["nearest_texts"], axis=0),
                helper.make_node("ReduceMean", ["nearest_texts"], ["mean_text"], axes=[1], keepdims=0),
                helper.make_node("ReduceL2", ["mean_text"], ["mean_length"], axes=[1], keepdims=1),
                helper.make_node("Max", ["mean_length", "smallest"], ["mean_divisor"]),
                helper.make_node("Div", ["mean_text", "mean_divisor"], ["embedding"]),
            ]
        )
        own = {
            name: value
            for key, weight in (("images", self.images), ("texts", self.texts))
            for name, value in stored(key, weight, compact=False).items()
        }
        require_finite(own)
        return Graph(proto, {**below.weights, **own})
