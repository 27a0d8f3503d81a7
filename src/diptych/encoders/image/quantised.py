"""A convolutional graph that computes in 8 bits: ONNX Runtime's static quantisation. Needs onnx.

The ranges of all values in between are measured on images, so that nothing is measured while it runs. Weights have a
scale for each channel (`byte_weights`), and what their rounding adds to a channel on average is taken off its bias, as
in Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019 (arXiv 1906.04721),
section 4.2. See https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32
from diptych.encoders.graphs import Graph
from diptych.encoders.image.byte_weights import byte_range, rounded
from diptych.encoders.joined_graphs import taken_apart, whole, widened
from diptych.encoders.onnx_session import quantisation, start_session

_BATCH = 4
_ACTIVATIONS = ("Clip", "Relu")


def is_convolutional(graph: Graph) -> bool:
    """Whether most of the weights are those of convolutions, which can compute in 8 bits by fixed ranges.

    Attention and its large outliers cannot: there each row needs a range of its own.
    """
    sizes = {key: value.size for key, value in graph.weights.items()}
    read = {node.input[1] for node in graph.proto.graph.node if node.op_type == "Conv"}
    return 2 * sum(sizes.get(key, 0) for key in read) > sum(sizes.values())


def quantised(graph: Graph, planes: Float32[np.ndarray, "n 3 h w"], *, progress: Progress = SILENT) -> Graph:
    """The graph with convolutions, and what stands between them, in 8 bits.

    Args:
        graph: normalised images, the only input, to outputs of floats.
        planes: normalised images of the kind that it will see, for the ranges.
        progress: told about the images.
    """
    import onnx

    tools = quantisation()
    made = whole(widened(graph))
    name = made.graph.input[0].name
    with tempfile.TemporaryDirectory(prefix="diptych-int8-") as folder:
        paths = [Path(folder) / f"{step}.onnx" for step in ("whole", "prepared", "quantised")]
        _fix_padding(made, paths[0], name, planes[:2])
        paths[0].write_bytes(made.SerializeToString())
        tools.shape_inference.quant_pre_process(str(paths[0]), str(paths[1]), skip_symbolic_shape=True)
        prepared = onnx.load(str(paths[1]))
        first = _of_colours(prepared)
        ranges = _round_weights(prepared, paths[1], name, planes, first)
        paths[1].write_bytes(prepared.SerializeToString())
        batches = [planes[start : start + _BATCH] for start in range(0, len(planes), _BATCH)]
        tools.quantize_static(
            str(paths[1]),
            str(paths[2]),
            _Images(name, progress.track(batches, "batches of images for the ranges", len(batches))),
            nodes_to_exclude=[*first, *_behind_convolutions(prepared.graph.node)],
            per_channel=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            extra_options={"TensorQuantOverrides": _overrides(ranges, tools.QuantType.QInt8)},
        )
        return _plain(paths[2], graph)


class _Images:
    """What the calibration reads, one batch after another."""

    def __init__(self, name: str, batches: Iterator[np.ndarray]) -> None:
        self._name, self._batches = name, batches

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch; None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}


def _fix_padding(proto: Any, path: Path, name: str, planes: Float32[np.ndarray, "2 3 h w"]) -> None:
    """Put constants in the place of the padding's widths, which follow from the size of the images.

    PyTorch's exporter leaves their arithmetic in the graph, so that no padding could become part of its convolution.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    given = {each.name for each in proto.graph.initializer}
    pads = [node for node in proto.graph.node if node.op_type == "Pad" and node.input[1] not in given]
    asked = list(dict.fromkeys(node.input[1] for node in pads))
    if not asked:
        return
    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    probe.graph.output.extend(helper.make_tensor_value_info(each, TensorProto.INT64, None) for each in asked)
    path.write_bytes(probe.SerializeToString())
    session = start_session(path, spinning=False, device="cpu")
    found = [session.run(asked, {name: planes[:count]}) for count in (1, len(planes))]
    fixed = {each: one for each, one, other in zip(asked, *found, strict=True) if np.array_equal(one, other)}
    proto.graph.initializer.extend(numpy_helper.from_array(value, f"{each}/fixed") for each, value in fixed.items())
    for node in pads:
        if node.input[1] in fixed:
            node.input[1] = f"{node.input[1]}/fixed"
            if list(node.input[2:]) == [""]:  # zeros, said in a way that keeps a padding from its convolution
                del node.input[2:]


def _of_colours(proto: Any) -> list[str]:
    """The names of convolutions over fewer than 4 channels, as of the pixels.

    They are as quick in 32 bits, and what their rounding changes would go through all the others.
    """
    shapes = {each.name: each.dims for each in proto.graph.initializer}
    groups = {
        node.name: next((each.i for each in node.attribute if each.name == "group"), 1) for node in proto.graph.node
    }
    return [
        node.name
        for node in proto.graph.node
        if node.op_type == "Conv" and groups[node.name] == 1 and shapes.get(node.input[1], [0, 4])[1] < 4
    ]


def _round_weights(
    proto: Any, path: Path, name: str, planes: Float32[np.ndarray, "n 3 h w"], first: Sequence[str]
) -> dict[str, Float32[np.ndarray, " o"]]:
    """Put what bytes can stand for in the place of the convolutions' weights, and correct their biases; the ranges."""
    from onnx import numpy_helper

    weights = {each.name: each for each in proto.graph.initializer}
    convolutions = [
        node
        for node in proto.graph.node
        if node.op_type == "Conv" and node.input[1] in weights and node.name not in first
    ]
    means = _input_means(proto, path, name, planes, [node.input[0] for node in convolutions])
    ranges: dict[str, Float32[np.ndarray, " o"]] = {}
    changes: dict[str, np.ndarray] = {}
    for node in convolutions:
        key = node.input[1]
        if key not in ranges:
            weight = numpy_helper.to_array(weights[key])
            ranges[key] = byte_range(weight)
            made = rounded(weight, ranges[key])
            changes[key] = (made.astype(np.float64) - weight).reshape(*weight.shape[:2], -1).sum(axis=2)
            weights[key].CopyFrom(numpy_helper.from_array(made, key))
        change, mean = changes[key], means[node.input[0]]
        groups = mean.reshape(-1, change.shape[1]).repeat(len(change) * change.shape[1] // len(mean), axis=0)
        bias = numpy_helper.to_array(weights[node.input[2]]) if len(node.input) > 2 else np.float64(0)
        own = f"{node.output[0]}/bias"
        value = (bias - (change * groups).sum(axis=1)).astype(np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(value, own))
        del node.input[2:]
        node.input.append(own)
    read = {each for node in proto.graph.node for each in node.input}
    kept = [each for each in proto.graph.initializer if each.name in read]  # ONNX Runtime warns of others
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    return ranges


def _input_means(
    proto: Any, path: Path, name: str, planes: Float32[np.ndarray, "n 3 h w"], inputs: Sequence[str]
) -> dict[str, np.ndarray]:
    """The mean of each channel of these maps, over images and positions."""
    import onnx
    from onnx import TensorProto, helper

    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    asked = [f"{each}/mean" for each in dict.fromkeys(inputs)]
    for each in dict.fromkeys(inputs):
        node = helper.make_node("ReduceMean", [each], [f"{each}/mean"], axes=[2, 3], keepdims=0)
        probe.graph.node.append(node)
        probe.graph.output.append(helper.make_tensor_value_info(f"{each}/mean", TensorProto.FLOAT, None))
    path.write_bytes(probe.SerializeToString())
    session = start_session(path, spinning=False, device="cpu")
    sums: list[Any] = [0.0] * len(asked)
    for start in range(0, len(planes), _BATCH):
        found = session.run(asked, {name: planes[start : start + _BATCH]})
        sums = [before + rows.sum(axis=0, dtype=np.float64) for before, rows in zip(sums, found, strict=True)]
    return {each: total / len(planes) for each, total in zip(dict.fromkeys(inputs), sums, strict=True)}


def _overrides(ranges: Mapping[str, Float32[np.ndarray, " o"]], kind: Any) -> dict[str, list[dict[str, Any]]]:
    """The ranges of weights, as ONNX Runtime takes them."""
    return {
        key: [{"quant_type": kind, "axis": 0, "symmetric": True, "rmin": -each, "rmax": each} for each in values]
        for key, values in ranges.items()
    }


def _behind_convolutions(nodes: Sequence[Any]) -> list[str]:
    """The names of the nodes that no convolution needs: pooled features keep all their digits.

    What cuts off a convolution's values stays with it.
    """
    needed: set[str] = set()
    found = []
    for node in reversed(nodes):
        if node.op_type == "Conv" or needed.intersection(node.output):
            needed.update(node.input)
        elif node.op_type not in _ACTIVATIONS:
            found.append(node.name)
    return found


def _plain(path: Path, original: Graph) -> Graph:
    """What was written, with the outputs and the versions of the original, of the operators' sets that it uses."""
    import onnx

    proto = onnx.load(str(path))
    used = {node.domain for node in proto.graph.node}
    kept = [each for each in proto.opset_import if each.domain in used]
    del proto.opset_import[:], proto.metadata_props[:]
    proto.opset_import.extend(kept)
    proto.ir_version = original.proto.ir_version
    del proto.graph.output[:]
    proto.graph.output.extend(original.proto.graph.output)
    return taken_apart(proto)
