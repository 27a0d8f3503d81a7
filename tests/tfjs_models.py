"""TF.js graph models, written node by node: what @tensorflow/tfjs-converter leaves."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

TYPES = {"float32": "DT_FLOAT", "int32": "DT_INT32"}


def text(value: str) -> dict[str, str]:
    return {"s": base64.b64encode(value.encode()).decode()}


def numbers(*values: int) -> dict[str, Any]:
    return {"list": {"i": [str(value) for value in values]}}


def convolution(stride: int = 1, padding: str = "SAME", fused: Sequence[str] = ("BiasAdd",)) -> dict[str, Any]:
    """The attributes of a convolution."""
    return {
        "strides": numbers(1, stride, stride, 1),
        "dilations": numbers(1, 1, 1, 1),
        "padding": text(padding),
        "fused_ops": {"list": {"s": [text(one)["s"] for one in fused]}},
    }


def write(
    folder: Path,
    nodes: Sequence[tuple[str, str, Sequence[str], Mapping[str, Any]]],
    constants: Mapping[str, Any],
    *,
    image: Sequence[int],
    outputs: Sequence[str],
    packed: Mapping[str, dict[str, Any]] = {},
) -> Path:
    """model.json and weights.bin of (name, operation, inputs, attributes) from the input `images`.

    `packed` says how a constant is stored: {"dtype": "float16"}, or {"dtype": "uint8", "scale", "min"}.
    """
    listed = [
        {
            "name": "images",
            "op": "Placeholder",
            "attr": {"shape": {"shape": {"dim": [{"size": str(side)} for side in image]}}},
        }
    ]
    weights, data = [], b""
    for name, value in constants.items():
        array = np.asarray(value)
        array = array.astype(np.int32 if array.dtype.kind == "i" else np.float32)
        listed.append({"name": name, "op": "Const", "attr": {}})
        entry = {"name": name, "shape": list(array.shape), "dtype": str(array.dtype)}
        if how := packed.get(name):
            entry["quantization"] = how
            scaled = (array - how.get("min", 0)) / how.get("scale", 1)
            array = (np.rint(scaled) if "scale" in how else scaled).astype(how["dtype"])
        weights.append(entry)
        data += array.tobytes()
    listed += [{"name": name, "op": op, "input": list(inputs), "attr": dict(attr)} for name, op, inputs, attr in nodes]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.bin").write_bytes(data)
    graph = {
        "format": "graph-model",
        "modelTopology": {"node": listed},
        "signature": {"inputs": {}, "outputs": {name: {"name": f"{name}:0"} for name in outputs}},
        "weightsManifest": [{"paths": ["weights.bin"], "weights": weights}],
    }
    file = folder / "model.json"
    file.write_text(json.dumps(graph), encoding="utf-8")
    return file


def colour_detector(folder: Path, side: int = 16) -> Path:
    """Finds "red" (class 0) and "blue" (class 1), with a score of the reddest and the bluest pixel, in rows of six."""
    nodes, constants = [], {"rows": np.array([1, side * side, 6]), "axis": np.array(1)}
    for number, colour in enumerate(("red", "blue")):
        weight = np.zeros((1, 1, 3, 6))
        weight[0, 0, :, 4] = [1 / 255, -1 / 255, -1 / 255] if colour == "red" else [-1 / 255, -1 / 255, 1 / 255]
        constants |= {f"{colour}/weight": weight, f"{colour}/bias": np.array([0.0, 0, 9, 9, 0, number])}
        inputs = ["images", f"{colour}/weight", f"{colour}/bias"]
        nodes.append((colour, "_FusedConv2D", inputs, convolution(fused=("BiasAdd", "Relu6"))))
        nodes.append((f"{colour}/rows", "Reshape", [colour, "rows"], {}))
    nodes.append(("detections", "ConcatV2", ["red/rows", "blue/rows", "axis"], {}))
    return write(folder, nodes, constants, image=(1, side, side, 3), outputs=("detections",))
