"""ONNX graphs whose weights are in one safetensors file that ONNX Runtime and PyTorch both read.

The `.onnx` files hold the graph only; each weight in them points, by offset, into
`model.safetensors` beside them (ONNX external data). So the weights are stored once, without pickle,
and PyTorch can load the same tensors by name. Large weights are stored in half precision, or (where
`compact` asks for it) in 8 bits with a scale a row, and computed in single precision: the nodes
that widen them are folded away when ONNX Runtime loads the graph.

Needs the `onnx` package, which the [fit] extra brings, and with it [train] and [demo]; reading such a folder does not.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import ModelError

WEIGHTS = "model.safetensors"
HALF_ABOVE = 512  # weights with more numbers than this are stored in half precision
BYTE_ABOVE = 65_536  # matrices with more numbers than this are stored in 8 bits where that is asked for
HALF, BYTE, WIDE, SCALE = "/f16", "/i8", "/wide", "/scale"  # suffixes of the names of a stored weight's parts


@dataclass(frozen=True)
class Graph:
    """A graph without its weights, and the weights by name: what `write` writes and `read_graph` reads."""

    proto: Any  # onnx.ModelProto without weight data
    weights: Mapping[str, np.ndarray]


def write(folder: Path, graphs: Mapping[str, Graph]) -> None:
    """Write `<name>.onnx` for each graph and one `model.safetensors` for all into an existing folder."""
    from safetensors.numpy import save_file

    tensors = {
        f"{name}.{key}": np.ascontiguousarray(value)
        for name, graph in graphs.items()
        for key, value in graph.weights.items()
    }
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # the library makes it private
    places = _places(folder / WEIGHTS)
    for name, graph in graphs.items():
        (folder / f"{name}.onnx").write_bytes(_bound(graph, name, places))


def read_graph(folder: Path, name: str) -> Graph:
    """The graph `<name>.onnx` of a model folder, ready to be written into another one."""
    import onnx
    from google.protobuf.message import DecodeError
    from safetensors import SafetensorError, safe_open

    try:
        proto = onnx.load(str(folder / f"{name}.onnx"), load_external_data=False)
        with safe_open(folder / WEIGHTS, framework="numpy") as file:
            prefix = f"{name}."
            weights = {key.removeprefix(prefix): file.get_tensor(key) for key in file.keys() if key.startswith(prefix)}
    except (OSError, ValueError, SafetensorError, DecodeError) as error:
        raise ModelError(f"cannot read the graph {name} of {folder}: {error}; copy the whole folder again") from error
    kept = [node for node in proto.graph.node if not any(i.endswith((HALF, BYTE, WIDE)) for i in node.input)]
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    del proto.graph.initializer[:]
    return Graph(proto, weights)


def stored(name: str, value: np.ndarray, compact: bool) -> dict[str, np.ndarray]:
    """A weight as it is stored: in 8 bits with a scale a row, in half precision, or as it is."""
    if value.dtype != np.float32 or value.size <= HALF_ABOVE:
        return {name: value}
    if compact and value.ndim == 2 and value.size > BYTE_ABOVE:
        scale = np.maximum(np.abs(value).max(axis=1, keepdims=True) / 127, np.finfo(np.float32).tiny)
        return {name: np.rint(value / scale).astype(np.int8), name + SCALE: scale}
    return {name: value.astype(np.float16)}


def require_finite(weights: Mapping[str, np.ndarray]) -> None:
    """Raise ModelError for a weight that half precision cannot hold."""
    for key, value in weights.items():
        if not np.isfinite(value).all():
            raise ModelError(f"the weight {key} is not finite in half precision; training has diverged")


def _places(weights: Path) -> dict[str, tuple[int, int]]:
    """(offset in the file, length in bytes) of every tensor in a safetensors file."""
    with weights.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    spans = {key: entry["data_offsets"] for key, entry in header.items()}
    return {key: (8 + length + begin, end - begin) for key, (begin, end) in spans.items()}


def _bound(graph: Graph, name: str, places: Mapping[str, tuple[int, int]]) -> bytes:
    """The graph with every weight pointing at its bytes in the safetensors file."""
    import onnx
    from onnx import TensorProto, helper

    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    widen = []
    # a duplicate of another weight is stored, but the graph uses that one
    needed = {name for node in proto.graph.node for name in node.input}
    needed -= {name for node in proto.graph.node for name in node.output}
    for key, value in graph.weights.items():
        if key.removesuffix(SCALE) not in needed:
            continue
        if value.nbytes < 64:  # shape constants must be inline for shape inference
            proto.graph.initializer.append(onnx.numpy_helper.from_array(value, key))
            continue
        suffix = {np.dtype(np.float16): HALF, np.dtype(np.int8): BYTE}.get(value.dtype, "")
        tensor = proto.graph.initializer.add()
        tensor.name = key + suffix
        tensor.data_type = helper.np_dtype_to_tensor_dtype(value.dtype)
        tensor.dims.extend(value.shape)
        tensor.data_location = TensorProto.EXTERNAL
        offset, length = places[f"{name}.{key}"]
        for field, content in (("location", WEIGHTS), ("offset", str(offset)), ("length", str(length))):
            entry = tensor.external_data.add()
            entry.key, entry.value = field, content
        if suffix == HALF:
            widen.append(helper.make_node("Cast", [tensor.name], [key], to=TensorProto.FLOAT))
        elif suffix == BYTE:
            widen.append(helper.make_node("Cast", [tensor.name], [key + WIDE], to=TensorProto.FLOAT))
            widen.append(helper.make_node("Mul", [key + WIDE, key + SCALE], [key]))
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*widen, *nodes])
    return bytes(proto.SerializeToString())
