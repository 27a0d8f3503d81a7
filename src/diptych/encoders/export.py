"""From PyTorch to ONNX, with the weights in one safetensors file that both runtimes read.

The `.onnx` files hold the graph only; each weight in them points, by offset, into
`model.safetensors` beside them (ONNX external data). So there is one copy of the truth, no pickle,
and PyTorch can load the same tensors by name. Large weights are stored in half precision, or (where
a `GraphSpec` says `compact`) in 8 bits with a scale a row, and computed in single precision: the nodes
that widen them are folded away when ONNX Runtime loads the graph.

Needs the [train] extra. Reading such a folder needs none of this.
"""

from __future__ import annotations

import io
import json
import shutil
import struct
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core.errors import ModelError

WEIGHTS = "model.safetensors"
HALF_ABOVE = 512  # weights with more numbers than this are stored in half precision
BYTE_ABOVE = 65_536  # matrices with more numbers than this are stored in 8 bits where that is asked for
_HALF, _BYTE, _WIDE, _SCALE = "/f16", "/i8", "/wide", "/scale"  # names of what a weight is made of


@dataclass(frozen=True)
class GraphSpec:
    """One module to export: its example input (or inputs, as named) fixes all sizes but the batch."""

    module: nn.Module
    example: Tensor | tuple[Tensor, ...]
    input: str | tuple[str, ...] = "features"
    outputs: tuple[str, ...] = ("embedding",)
    compact: bool = False  # large matrices in 8 bits: half the size, cosine to the original above 0.999


@dataclass(frozen=True)
class Graph:
    """A graph whose weights stand aside, by name: what `export_graphs` writes and `read_graph` reads."""

    proto: Any  # onnx.ModelProto without weight data
    weights: Mapping[str, np.ndarray]


def export_graphs(folder: Path, graphs: Mapping[str, GraphSpec | Graph]) -> None:
    """Write `<name>.onnx` for each graph and one `model.safetensors` for all, as a whole folder.

    The folder appears in one step; an existing one is left untouched and the new one dropped.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        write_graphs(temporary, graphs)
        try:
            temporary.rename(folder)
        except OSError:  # another process was quicker
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_graphs(folder: Path, graphs: Mapping[str, GraphSpec | Graph]) -> None:
    """Write the graphs and their common weights into an existing folder."""
    from safetensors.numpy import save_file

    traced = {name: trace(spec) if isinstance(spec, GraphSpec) else spec for name, spec in graphs.items()}
    tensors = {
        f"{name}.{key}": np.ascontiguousarray(value)
        for name, graph in traced.items()
        for key, value in graph.weights.items()
    }
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # the library makes it private
    places = _places(folder / WEIGHTS)
    for name, graph in traced.items():
        (folder / f"{name}.onnx").write_bytes(_bound(graph, name, places))


def trace(spec: GraphSpec) -> Graph:
    """Export a module in evaluation mode; weights keep the names of its `state_dict`."""
    import onnx

    module = spec.module.eval().cpu()
    stream = io.BytesIO()
    inputs = [spec.input] if isinstance(spec.input, str) else list(spec.input)
    names = [*inputs, *spec.outputs]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter announces its successor
        torch.onnx.export(
            module,
            (spec.example,) if isinstance(spec.example, Tensor) else spec.example,
            stream,  # type: ignore[arg-type]  # accepted, though not in the stubs
            input_names=inputs,
            output_names=list(spec.outputs),
            dynamic_axes={name: {0: "batch"} for name in names},
            opset_version=17,
            dynamo=False,
            # keep BatchNorm apart and names as they are; ONNX Runtime fuses when it loads
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )
    proto = onnx.load_model_from_string(stream.getvalue())
    weights = {}
    for initializer in proto.graph.initializer:
        value = onnx.numpy_helper.to_array(initializer)
        weights.update(_stored(initializer.name, value, spec.compact))
    # the exporter keeps one of several equal tensors; a state_dict has to have them all
    for key, tensor in module.state_dict().items():
        if key not in weights and tensor.is_floating_point():
            weights.update(_stored(key, tensor.numpy(), spec.compact))
    for key, buffer in module.named_buffers():  # statistics of the data may be larger than 16 bits hold
        if key in weights and not np.isfinite(weights[key]).all():
            weights[key] = buffer.numpy()
    for key, value in weights.items():
        if not np.isfinite(value).all():
            raise ModelError(f"the weight {key} is not finite in half precision; training has diverged")
    del proto.graph.initializer[:]
    for node in proto.graph.node:
        node.ClearField("doc_string")
    return Graph(proto, weights)


def read_graph(folder: Path, name: str) -> Graph:
    """The graph `<name>.onnx` of a model folder, ready to be written into another one."""
    import onnx
    from google.protobuf.message import DecodeError
    from safetensors import SafetensorError, safe_open

    try:
        proto = onnx.load(str(folder / f"{name}.onnx"), load_external_data=False)
        with safe_open(folder / WEIGHTS, framework="numpy") as stored:
            prefix = f"{name}."
            weights = {
                key.removeprefix(prefix): stored.get_tensor(key) for key in stored.keys() if key.startswith(prefix)
            }
    except (OSError, ValueError, SafetensorError, DecodeError) as error:
        raise ModelError(f"cannot read the graph {name} of {folder}: {error}; copy the whole folder again") from error
    kept = [node for node in proto.graph.node if not any(i.endswith((_HALF, _BYTE, _WIDE)) for i in node.input)]
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    del proto.graph.initializer[:]
    return Graph(proto, weights)


def read_weights(folder: Path, name: str) -> dict[str, Tensor]:
    """The weights of one graph as a float32 `state_dict` for its module. Raises ModelError when damaged."""
    from safetensors import SafetensorError, safe_open

    prefix = f"{name}."
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as stored:
            keys = [key for key in stored.keys() if key.startswith(prefix)]
            found = {key.removeprefix(prefix): stored.get_tensor(key) for key in keys}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read {folder / WEIGHTS}: {error}; copy the whole folder again") from error
    scales = {key.removesuffix(_SCALE): found.pop(key) for key in list(found) if key.endswith(_SCALE)}
    found.update({key: found[key].float() * scale for key, scale in scales.items()})
    return {key: value.float() if value.is_floating_point() else value for key, value in found.items()}


def _stored(name: str, value: np.ndarray, compact: bool) -> dict[str, np.ndarray]:
    """A weight as it is stored: in 8 bits with a scale a row, in half precision, or as it is."""
    if value.dtype != np.float32 or value.size <= HALF_ABOVE:
        return {name: value}
    if compact and value.ndim == 2 and value.size > BYTE_ABOVE:
        scale = np.maximum(np.abs(value).max(axis=1, keepdims=True) / 127, np.finfo(np.float32).tiny)
        return {name: np.rint(value / scale).astype(np.int8), name + _SCALE: scale}
    return {name: value.astype(np.float16)}


def _places(weights: Path) -> dict[str, tuple[str, int, int]]:
    """(dtype, offset in the file, length in bytes) of every tensor in a safetensors file."""
    with weights.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    return {
        key: (
            entry["dtype"],
            8 + length + entry["data_offsets"][0],
            entry["data_offsets"][1] - entry["data_offsets"][0],
        )
        for key, entry in header.items()
    }


def _bound(graph: Graph, name: str, places: Mapping[str, tuple[str, int, int]]) -> bytes:
    """The graph with every weight pointing at its bytes in the safetensors file."""
    import onnx
    from onnx import TensorProto, helper

    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    widen = []
    # an equal twin of another weight is stored, but the graph computes it from that one
    needed = {name for node in proto.graph.node for name in node.input}
    needed -= {name for node in proto.graph.node for name in node.output}
    for key, value in graph.weights.items():
        if key.removesuffix(_SCALE) not in needed:
            continue
        if value.nbytes < 64:  # shape constants must be inline for shape inference
            proto.graph.initializer.append(onnx.numpy_helper.from_array(value, key))
            continue
        suffix = {np.dtype(np.float16): _HALF, np.dtype(np.int8): _BYTE}.get(value.dtype, "")
        tensor = proto.graph.initializer.add()
        tensor.name = key + suffix
        tensor.data_type = helper.np_dtype_to_tensor_dtype(value.dtype)
        tensor.dims.extend(value.shape)
        tensor.data_location = TensorProto.EXTERNAL
        _, offset, length = places[f"{name}.{key}"]
        for field, content in (("location", WEIGHTS), ("offset", str(offset)), ("length", str(length))):
            entry = tensor.external_data.add()
            entry.key, entry.value = field, content
        if suffix == _HALF:
            widen.append(helper.make_node("Cast", [tensor.name], [key], to=TensorProto.FLOAT))
        elif suffix == _BYTE:
            widen.append(helper.make_node("Cast", [tensor.name], [key + _WIDE], to=TensorProto.FLOAT))
            widen.append(helper.make_node("Mul", [key + _WIDE, key + _SCALE], [key]))
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*widen, *nodes])
    return bytes(proto.SerializeToString())
