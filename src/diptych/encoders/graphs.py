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

from diptych.core import fingerprint
from diptych.core.errors import ModelError

WEIGHTS = "model.safetensors"
HALF_ABOVE = 512  # weights with more numbers than this are stored in half precision
BYTE_ABOVE = 65_536  # matrices with more numbers than this are stored in 8 bits where that is asked for
INLINE_BELOW = 64  # bytes; smaller weights stand in the graph itself
HALF, BYTE, WIDE, SCALE = "/f16", "/i8", "/wide", "/scale"  # suffixes of the names of a stored weight's parts


@dataclass(frozen=True)
class Graph:
    """A graph without its weights, and the weights by name: what `write` writes and `read_graph` reads."""

    proto: Any  # onnx.ModelProto without weight data
    weights: Mapping[str, np.ndarray]
    as_read: bool = False  # the nodes read the weights as they are stored: nothing is widened on the way


def write(folder: Path, graphs: Mapping[str, Graph], weights: str = WEIGHTS) -> None:
    """Write `<name>.onnx` for each graph and one file with the weights of all into an existing folder."""
    tensors = {f"{name}.{key}": value for name, graph in graphs.items() for key, value in graph.weights.items()}
    places = write_tensors(folder / weights, tensors)
    for name, graph in graphs.items():
        own = {key: places[f"{name}.{key}"] for key in graph.weights}
        (folder / f"{name}.onnx").write_bytes(_bound(graph, weights, own))


def write_shared(folder: Path, graphs: Mapping[str, Graph], tensors: Mapping[str, np.ndarray]) -> None:
    """Write `<name>.onnx` for each graph and one file in which equal weights are stored once.

    The file begins with `tensors`, under their names; a weight of a graph that equals one of them is not stored again.
    """
    stored, names = dict(tensors), {_content(value): name for name, value in tensors.items()}
    for name, graph in graphs.items():
        for key, value in graph.weights.items():
            if value.nbytes >= INLINE_BELOW:
                stored.setdefault(names.setdefault(_content(value), f"{name}.{key}"), value)
    places = write_tensors(folder / WEIGHTS, stored)
    for name, graph in graphs.items():
        large = {key: value for key, value in graph.weights.items() if value.nbytes >= INLINE_BELOW}
        own = {key: places[names[_content(value)]] for key, value in large.items()}
        (folder / f"{name}.onnx").write_bytes(_bound(graph, WEIGHTS, own))


def _content(value: np.ndarray) -> tuple[str, tuple[int, ...], str]:
    """Equal for equal arrays."""
    return value.dtype.str, value.shape, fingerprint.of_bytes(np.ascontiguousarray(value).tobytes())


def weights_of(folder: Path, name: str) -> Path:
    """The file with the weights of the graph `name`: one of its own, or that of all."""
    own = folder / f"{name}.safetensors"
    return own if own.is_file() else folder / WEIGHTS


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> dict[str, tuple[int, int]]:
    """Write a safetensors file; (offset in the file, length in bytes) of every tensor.

    The bytes are those of the package's own `save_file`, which holds a copy of all tensors; here a view, as of weights
    that are transposed, is copied only while it is written.
    """
    order = sorted(tensors, key=lambda name: (-_KINDS.index(_kind(tensors[name])), name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        value = tensors[name]
        header[name] = {"dtype": _kind(value), "shape": list(value.shape), "data_offsets": [end, end + value.nbytes]}
        end += value.nbytes
    described = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    described += b" " * (-len(described) % 8)
    start = 8 + len(described)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(described)) + described)
        for name in order:
            stream.write(np.ascontiguousarray(tensors[name]).data)
    spans = {name: header[name]["data_offsets"] for name in order}
    return {name: (start + begin, stop - begin) for name, (begin, stop) in spans.items()}


_KINDS = ("BOOL", "U8", "I8", "I16", "U16", "F16", "I32", "U32", "F32", "F64", "I64", "U64")  # in the file, last first


def _kind(value: np.ndarray) -> str:
    """The name that safetensors gives a type of numbers."""
    letter = {"b": "BOOL", "u": "U", "i": "I", "f": "F"}[value.dtype.kind]
    return letter if letter == "BOOL" else f"{letter}{8 * value.dtype.itemsize}"


def read_graph(folder: Path, name: str) -> Graph:
    """The graph `<name>.onnx` of a model folder, ready to be written into another one."""
    import onnx
    from google.protobuf.message import DecodeError
    from safetensors import SafetensorError, safe_open

    try:
        proto = onnx.load(str(folder / f"{name}.onnx"), load_external_data=False)
        with safe_open(weights_of(folder, name), framework="numpy") as file:
            prefix = f"{name}."
            weights = {key.removeprefix(prefix): file.get_tensor(key) for key in file.keys() if key.startswith(prefix)}
    except (OSError, ValueError, SafetensorError, DecodeError) as error:
        raise ModelError(f"cannot read the graph {name} of {folder}: {error}; copy the whole folder again") from error
    as_read = not any(each.name.endswith((HALF, BYTE)) for each in proto.graph.initializer)
    kept = [node for node in proto.graph.node if not any(i.endswith((HALF, BYTE, WIDE)) for i in node.input)]
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    del proto.graph.initializer[:]
    return Graph(proto, weights, as_read)


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


def _bound(graph: Graph, location: str, places: Mapping[str, tuple[int, int]]) -> bytes:
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
        if (key if graph.as_read else key.removesuffix(SCALE)) not in needed:
            continue
        if value.nbytes < INLINE_BELOW or value.dtype == np.int64:  # sizes must be inline for shape inference
            wide = value.astype(np.float32) if value.dtype == np.float16 and not graph.as_read else value
            proto.graph.initializer.append(onnx.numpy_helper.from_array(wide, key))
            continue
        narrow = {} if graph.as_read else {np.dtype(np.float16): HALF, np.dtype(np.int8): BYTE}
        suffix = narrow.get(value.dtype, "")
        tensor = proto.graph.initializer.add()
        tensor.name = key + suffix
        tensor.data_type = helper.np_dtype_to_tensor_dtype(value.dtype)
        tensor.dims.extend(value.shape)
        tensor.data_location = TensorProto.EXTERNAL
        offset, length = places[key]
        for field, content in (("location", location), ("offset", str(offset)), ("length", str(length))):
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
