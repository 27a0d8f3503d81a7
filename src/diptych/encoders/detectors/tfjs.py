"""TF.js graph models (model.json and its .bin files) as ONNX graphs. Needs `onnx`, no TensorFlow.

The operations are those of convolutional detectors. Tensors keep TensorFlow's order (n, h, w, c): what ONNX computes on
(n, c, h, w) is turned there and back, which ONNX Runtime optimises away. Whole numbers become 64-bit ones.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import ModelError, first_line
from diptych.core.extras import need

_OPSET = 18
_ALIKE = {
    "Add": "Add", "AddV2": "Add", "Sub": "Sub", "Mul": "Mul", "RealDiv": "Div", "FloorDiv": "Div", "FloorMod": "Mod",
    "Maximum": "Max", "Minimum": "Min", "Equal": "Equal", "Greater": "Greater", "Relu": "Relu", "Sigmoid": "Sigmoid",
    "Exp": "Exp", "Sqrt": "Sqrt", "Identity": "Identity", "Reshape": "Reshape",
}  # fmt: skip
_TYPES = {"float32": np.float32, "int32": np.int32, "bool": np.bool_}
_STORED = {"float16": np.float16, "uint8": np.uint8, "uint16": np.uint16}


def convert(model: Path) -> Any:
    """The ONNX model (`onnx.ModelProto`) of a TF.js graph model's JSON file, whose .bin files lie beside it.

    Inputs and outputs are those of its signature, by the same names. Raises ModelError for other files, and for
    operations that are not known here; MissingExtraError without `onnx`.
    """
    onnx = need("onnx", "converting a TF.js model")
    graph = _read(model)
    nodes = {node["name"]: node for node in graph["modelTopology"]["node"]}
    written = _Writer(onnx, nodes, _weights(model, graph), str(model))
    outputs = [_bare(one["name"]) for one in graph["signature"]["outputs"].values()]
    for name in _order(nodes, outputs, str(model)):
        written.add(nodes[name])
    made = onnx.helper.make_graph(
        written.nodes,
        "tfjs",
        written.inputs,
        [onnx.helper.make_empty_tensor_value_info(name) for name in outputs],
        written.read_constants(),
    )
    opsets = [onnx.helper.make_opsetid("", _OPSET)]
    proto = onnx.helper.make_model(made, producer_name="diptych", opset_imports=opsets, ir_version=9)
    try:
        proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # the checker's and the inference's errors share no base class
        raise ModelError(f"{model} cannot be written as ONNX: {first_line(error)}") from error
    return proto


class _Writer:
    """The ONNX nodes, inputs and constants so far.

    Each TensorFlow node's output keeps its name; what comes between has a colon in its name, which no node has.
    """

    def __init__(self, onnx: Any, nodes: Mapping[str, Any], weights: Mapping[str, np.ndarray], where: str) -> None:
        self._onnx, self._all, self._weights, self._where = onnx, nodes, weights, where
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self._constants: list[Any] = []

    def add(self, node: Mapping[str, Any]) -> None:
        """Write one node whose inputs are written."""
        name, kind = node["name"], node["op"]
        inputs = [_tensor(each) for each in node.get("input", []) if not each.startswith("^")]
        if kind == "Const":
            self._constant(name, self._weight(name))
        elif kind == "Placeholder":
            shape = [int(side["size"]) for side in node["attr"]["shape"]["shape"].get("dim", [])]
            sides = [side if side > 0 else f"side{place}" for place, side in enumerate(shape)]
            self.inputs.append(self._onnx.helper.make_tensor_value_info(name, self._onnx.TensorProto.FLOAT, sides))
        elif kind in _ALIKE:
            self._node(_ALIKE[kind], inputs, name)
        elif method := getattr(self, f"_write_{kind.strip('_').lower()}", None):
            method(name, inputs, node.get("attr", {}))
        else:
            raise ModelError(
                f"{self._where} has the operation {kind!r} at {name!r}, which is not known here; expected a "
                "convolutional detector"
            )

    def read_constants(self) -> list[Any]:
        """The constants that a node reads."""
        used = {name for node in self.nodes for name in node.input}
        return [each for each in self._constants if each.name in used]

    def _node(self, kind: str, inputs: list[str], *outputs: str, **attributes: Any) -> None:
        self.nodes.append(self._onnx.helper.make_node(kind, inputs, list(outputs), **attributes))

    def _constant(self, name: str, value: Any) -> str:
        array = np.asarray(value)
        kept = array.astype(np.int64) if array.dtype.kind in "iu" else array
        self._constants.append(self._onnx.numpy_helper.from_array(kept, name))
        return name

    def _weight(self, name: str) -> np.ndarray:
        if name not in self._weights:
            raise ModelError(f"{self._where}: the constant {name!r} has no weights; copy the model and its .bin again")
        return self._weights[name]

    def _turned(self, source: str, name: str) -> str:
        """As (n, c, h, w)."""
        self._node("Transpose", [source], name, perm=[0, 3, 1, 2])
        return name

    def _back(self, source: str, name: str) -> None:
        self._node("Transpose", [source], name, perm=[0, 2, 3, 1])

    def _convolution(
        self, name: str, inputs: list[str], attributes: Mapping[str, Any], weight: np.ndarray, groups: int
    ) -> None:
        """A convolution with (out, in, h, w) weights, then the bias and the activation that are fused with it."""
        fused = [_text(one) for one in attributes.get("fused_ops", {}).get("list", {}).get("s", [])]
        activation = fused[1] if len(fused) > 1 else ""
        if fused[:1] not in ([], ["BiasAdd"]) or activation not in ("", "Relu", "Relu6"):
            raise ModelError(f"{self._where}: the convolution {name!r} is fused with {fused}; expected BiasAdd, Relu")
        given = [self._turned(inputs[0], f"{name}:turned"), self._constant(f"{name}:weight", weight)]
        given += [inputs[2]] if fused else []
        done = f"{name}:activated" if activation else f"{name}:convolved"
        self._node(
            "Conv",
            given,
            f"{name}:convolved",
            strides=_sides(attributes["strides"]),
            dilations=_sides(attributes["dilations"]) if "dilations" in attributes else [1, 1],
            auto_pad=self._padding(attributes, name),
            group=groups,
        )
        if activation:
            self._clipped(f"{name}:convolved", done, 6.0 if activation == "Relu6" else None)
        self._back(done, name)

    def _padding(self, attributes: Mapping[str, Any], name: str) -> str:
        padding = _text(attributes["padding"]["s"])
        if padding not in ("SAME", "VALID"):
            raise ModelError(f"{self._where}: {name!r} has the padding {padding!r}; expected SAME or VALID")
        return "SAME_UPPER" if padding == "SAME" else "VALID"

    def _clipped(self, source: str, name: str, high: float | None) -> None:
        if high is None:
            self._node("Relu", [source], name)
            return
        low = self._constant(f"{name}:low", np.float32(0))
        self._node("Clip", [source, low, self._constant(f"{name}:high", np.float32(high))], name)

    def _write_conv2d(self, name: str, inputs: list[str], attributes: Mapping[str, Any]) -> None:
        self._convolution(name, inputs, attributes, self._weight(inputs[1]).transpose(3, 2, 0, 1), 1)

    _write_fusedconv2d = _write_conv2d

    def _write_depthwiseconv2dnative(self, name: str, inputs: list[str], attributes: Mapping[str, Any]) -> None:
        weight = self._weight(inputs[1])  # (h, w, channels, multiplier)
        rows, columns, channels, multiplier = weight.shape
        turned = weight.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, rows, columns)
        self._convolution(name, inputs, attributes, turned, channels)

    _write_fuseddepthwiseconv2dnative = _write_depthwiseconv2dnative

    def _write_relu6(self, name: str, inputs: list[str], attributes: Mapping[str, Any]) -> None:
        self._clipped(inputs[0], name, 6.0)

    def _write_maxpool(self, name: str, inputs: list[str], attributes: Mapping[str, Any]) -> None:
        self._node(
            "MaxPool",
            [self._turned(inputs[0], f"{name}:turned")],
            f"{name}:pooled",
            kernel_shape=_sides(attributes["ksize"]),
            strides=_sides(attributes["strides"]),
            auto_pad=self._padding(attributes, name),
        )
        self._back(f"{name}:pooled", name)

    def _write_resizebilinear(self, name: str, inputs: list[str], attributes: Mapping[str, Any]) -> None:
        mode = "half_pixel" if _flag(attributes, "half_pixel_centers") else "asymmetric"
        if _flag(attributes, "align_corners"):
            mode = "align_corners"
        # sizes (n, c, h, w): the first two are those of what comes in
        turned = self._turned(inputs[0], f"{name}:turned")
        self._node("Shape", [turned], f"{name}:outer", start=0, end=2)
        self._node("Concat", [f"{name}:outer", inputs[1]], f"{name}:sizes", axis=0)
        self._node(
            "Resize",
            [turned, "", "", f"{name}:sizes"],
            f"{name}:resized",
            mode="linear",
            coordinate_transformation_mode=mode,
        )
        self._back(f"{name}:resized", name)

    def _write_mean(self, name: str, inputs: list[str], attributes: Mapping[str, Any]) -> None:
        axes = self._constant(f"{name}:axes", np.atleast_1d(self._weight(inputs[1])))
        self._node("ReduceMean", [inputs[0], axes], name, keepdims=int(_flag(attributes, "keep_dims")))

    def _write_concatv2(self, name: str, inputs: list[str], attributes: Mapping[str, Any]) -> None:
        self._node("Concat", inputs[:-1], name, axis=int(self._weight(inputs[-1])))

    def _write_cast(self, name: str, inputs: list[str], attributes: Mapping[str, Any]) -> None:
        types = {"DT_FLOAT": "FLOAT", "DT_INT32": "INT64", "DT_INT64": "INT64", "DT_BOOL": "BOOL"}
        wanted = types.get(attributes["DstT"]["type"])
        if wanted is None:
            raise ModelError(f"{self._where}: {name!r} casts to {attributes['DstT']['type']}; not known here")
        self._node("Cast", inputs, name, to=getattr(self._onnx.TensorProto, wanted))

    def _write_expanddims(self, name: str, inputs: list[str], attributes: Mapping[str, Any]) -> None:
        axes = self._constant(f"{name}:axes", np.atleast_1d(self._weight(inputs[1])))
        self._node("Unsqueeze", [inputs[0], axes], name)

    def _write_stridedslice(self, name: str, inputs: list[str], attributes: Mapping[str, Any]) -> None:
        if any(_number(attributes, mask) for mask in ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")):
            raise ModelError(f"{self._where}: the slice {name!r} adds or drops an axis, which is not known here")
        starts, ends, steps = (self._weight(each).astype(np.int64) for each in inputs[1:])
        open_start, open_end = _number(attributes, "begin_mask"), _number(attributes, "end_mask")
        for axis, step in enumerate(steps):
            if open_start >> axis & 1:
                starts[axis] = 0 if step > 0 else np.iinfo(np.int64).max
            if open_end >> axis & 1:
                ends[axis] = np.iinfo(np.int64).max if step > 0 else np.iinfo(np.int64).min
        parts = {"starts": starts, "ends": ends, "axes": np.arange(len(starts)), "steps": steps}
        given = [self._constant(f"{name}:{key}", value) for key, value in parts.items()]
        self._node("Slice", [inputs[0], *given], name)

    def _write_topkv2(self, name: str, inputs: list[str], attributes: Mapping[str, Any]) -> None:
        count = self._constant(f"{name}:count", np.atleast_1d(self._weight(inputs[1])))
        self._node("TopK", [inputs[0], count], name, f"{name}:1", axis=-1)

    def _write_gatherv2(self, name: str, inputs: list[str], attributes: Mapping[str, Any]) -> None:
        if _number(attributes, "batch_dims"):
            raise ModelError(f"{self._where}: {name!r} gathers by batch, which is not known here")
        self._node("Gather", inputs[:2], name, axis=int(self._weight(inputs[2])))


def _read(model: Path) -> dict[str, Any]:
    try:
        graph = json.loads(model.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"cannot open {model}: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(f"{model} is no JSON; expected a TF.js graph model's model.json") from error
    needed = ("modelTopology", "weightsManifest", "signature")
    if not isinstance(graph, dict) or graph.get("format") != "graph-model" or any(not graph.get(key) for key in needed):
        raise ModelError(f"{model} is no TF.js graph model: expected format 'graph-model' with {', '.join(needed)}")
    return graph


def _weights(model: Path, graph: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Every constant by name, in the type that the graph computes with."""
    found: dict[str, np.ndarray] = {}
    for group in graph["weightsManifest"]:
        files = [model.parent / Path(name).name for name in group["paths"]]
        if missing := [file for file in files if not file.is_file()]:
            raise ModelError(f"{model} needs its weights {missing[0].name} beside it; copy that file too")
        data, start = b"".join(file.read_bytes() for file in files), 0
        for weight in group["weights"]:
            packed = weight.get("quantization", {})
            stored = _STORED.get(packed.get("dtype"), _TYPES.get(weight["dtype"]))
            if stored is None:
                raise ModelError(f"{model}: the weight {weight['name']!r} is of type {weight['dtype']}; not known here")
            count = int(np.prod(weight["shape"], dtype=np.int64))
            stop = start + count * np.dtype(stored).itemsize
            if stop > len(data):
                raise ModelError(f"the weights of {model} are cut short: {len(data)} bytes; copy the .bin again")
            value = np.frombuffer(data[start:stop], dtype=stored).reshape(weight["shape"])
            if "scale" in packed:
                value = value.astype(np.float32) * np.float32(packed["scale"]) + np.float32(packed["min"])
            found[weight["name"]] = value.astype(_TYPES[weight["dtype"]])
            start = stop
    return found


def _order(nodes: Mapping[str, Any], outputs: list[str], where: str) -> list[str]:
    """The nodes that the outputs need, each after its inputs."""
    needed: dict[str, list[str]] = {}
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name not in nodes:
            raise ModelError(f"{where} has no node {name!r}, which others read; copy the file again")
        if name not in needed:
            needed[name] = [_bare(each) for each in nodes[name].get("input", [])]
            waiting += needed[name]
    try:
        return list(TopologicalSorter(needed).static_order())
    except CycleError as error:
        raise ModelError(f"{where} has a loop; only graphs without loops can be converted") from error


def _bare(name: str) -> str:
    """A node's name without its output's number and the mark of a control input."""
    return name.removeprefix("^").partition(":")[0]


def _tensor(name: str) -> str:
    return name.removesuffix(":0")


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()


def _sides(attribute: Mapping[str, Any]) -> list[int]:
    """Rows and columns of a list (n, h, w, c)."""
    return [int(number) for number in attribute["list"]["i"][1:3]]


def _flag(attributes: Mapping[str, Any], name: str) -> bool:
    return bool(attributes.get(name, {}).get("b", False))


def _number(attributes: Mapping[str, Any], name: str) -> int:
    return int(attributes.get(name, {}).get("i", 0))
