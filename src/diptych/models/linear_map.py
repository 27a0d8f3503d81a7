"""A linear head as arrays: computed, used and written without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.shapes import Float32
from diptych.encoders.graphs import Graph, require_finite, stored

_SMALLEST_NORM = 1e-12


@dataclass(frozen=True)
class LinearMap:
    """normalise(weight · (x - mean) / std + bias): what `LinearHead` computes after training."""

    mean: Float32[np.ndarray, " f"]
    std: Float32[np.ndarray, " f"]
    weight: Float32[np.ndarray, "d f"]
    bias: Float32[np.ndarray, " d"]

    def __call__(self, features: Float32[np.ndarray, "b f"]) -> Float32[np.ndarray, "b d"]:
        """Embeddings of unit length."""
        return normalise((features - self.mean) / self.std @ self.weight.T + self.bias).astype(np.float32)

    def weights(self) -> dict[str, np.ndarray]:
        """By the names that `LinearHead` gives them."""
        return {
            "standardise.mean": self.mean,
            "standardise.std": self.std,
            "linear.weight": self.weight,
            "linear.bias": self.bias,
        }

    def graph(self) -> Graph:
        """The ONNX graph; large weights in half precision."""
        import onnx
        from onnx import TensorProto, helper

        (d, f), small = self.weight.shape, np.array(_SMALLEST_NORM, dtype=np.float32)
        features, embedding = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
            for name, width in (("features", f), ("embedding", d))
        )
        nodes = [
            helper.make_node("Sub", ["features", "standardise.mean"], ["centred"]),
            helper.make_node("Div", ["centred", "standardise.std"], ["standardised"]),
            helper.make_node("Gemm", ["standardised", "linear.weight", "linear.bias"], ["mapped"], transB=1),
            helper.make_node("ReduceL2", ["mapped"], ["length"], axes=[1], keepdims=1),
            helper.make_node("Constant", [], ["smallest"], value=onnx.numpy_helper.from_array(small)),
            helper.make_node("Max", ["length", "smallest"], ["divisor"]),
            helper.make_node("Div", ["mapped", "divisor"], ["embedding"]),
        ]
        weights = {
            name: value
            for key, weight in self.weights().items()
            for name, value in stored(key, weight, compact=False).items()
        }
        require_finite(weights)
        proto = helper.make_model(
            helper.make_graph(nodes, "linear_head", [features], [embedding]),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=8,
        )
        return Graph(proto, weights)
