"""Graphs that are cut apart and put on one another, with the weights beside them. Needs onnx."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from diptych.encoders.graphs import SCALE, Graph

FEATURES = "features"
_PREFIX = "above/"  # of all names in a graph that was put on another one


def parted(graph: Graph, module: str) -> tuple[Graph, Graph] | None:
    """The graph below a `module` of it, and the graph of that module alone, which reads `features`.

    None where not one value leads from the one to the other. The module's weights get the names that they have in the
    module itself.
    """
    over = [node for node in graph.proto.graph.node if node.name.startswith(f"/{module}/")]
    read = {name for node in over for name in node.input}
    computed: set[str] = set()  # from the input, and not from weights alone
    for node in graph.proto.graph.node:
        if FEATURES in node.input or computed.intersection(node.input):
            computed.update(node.output)
    between = read & computed - {name for node in over for name in node.output}
    if len(between) != 1 or FEATURES in read:
        return None
    (cut,) = between
    below = _part(graph, [cut])
    del below.proto.graph.output[:]
    below.proto.graph.output.append(_floats(cut))
    above = _part(graph, [each.name for each in graph.proto.graph.output], given=[cut])
    _rename(above.proto.graph.node, {cut: FEATURES})
    del above.proto.graph.input[:]
    above.proto.graph.input.append(_floats(FEATURES))
    own = f"{module}."
    names = {key: key.removeprefix(own) for key in graph.weights if key.startswith(own)}
    _rename(above.proto.graph.node, names)
    weights = {**above.weights, **{key: graph.weights[key] for key in names}}
    return below, Graph(above.proto, {names.get(key, key): value for key, value in weights.items()}, graph.as_read)


def put_on(below: Graph, above: Graph) -> Graph:
    """One graph of two: `above` reads what `below` gives as `features`, and what it gives itself is called that now.

    Further outputs of `below` stay. The weights of both are widened.
    """
    import onnx

    below, above = widened(below), widened(above)
    proto, added = onnx.ModelProto(), onnx.ModelProto()
    proto.CopyFrom(below.proto)
    added.CopyFrom(above.proto)
    names = {name: _PREFIX + name for node in added.graph.node for name in (*node.input, *node.output) if name}
    names[added.graph.output[0].name] = FEATURES
    _rename(added.graph.node, names)
    _rename(proto.graph.node, {FEATURES: _PREFIX + FEATURES})
    for node in added.graph.node:
        node.name = _PREFIX + node.name
    proto.graph.node.extend(added.graph.node)
    outputs = [_floats(FEATURES), *(each for each in below.proto.graph.output if each.name != FEATURES)]
    del proto.graph.output[:], proto.graph.value_info[:]
    proto.graph.output.extend(outputs)
    return Graph(proto, {**below.weights, **{_PREFIX + key: value for key, value in above.weights.items()}}, True)


def widened(graph: Graph) -> Graph:
    """The graph with all weights in 32 bits, as its nodes read them."""
    if graph.as_read:
        return graph
    weights: dict[str, np.ndarray] = {}
    for key, value in graph.weights.items():
        if key.removesuffix(SCALE) in graph.weights and key.endswith(SCALE):
            continue
        scale = graph.weights.get(key + SCALE)
        wide = value if scale is None else value.astype(np.float32) * scale
        weights[key] = wide.astype(np.float32) if wide.dtype == np.float16 else wide
    return Graph(graph.proto, weights, as_read=True)


def whole(graph: Graph) -> Any:
    """A model of onnx with the weights of a widened graph inside."""
    import onnx

    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    made = {name for node in proto.graph.node for name in node.output}  # equal weights may be stored, and copies read
    for key, value in graph.weights.items():
        if key not in made:
            proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(value), key))
    return proto


def taken_apart(proto: Any) -> Graph:
    """The graph and the weights of a model of onnx, without nodes that no output needs."""
    import onnx

    weights = {each.name: onnx.numpy_helper.to_array(each) for each in proto.graph.initializer}
    del proto.graph.initializer[:]
    return _part(Graph(proto, weights, as_read=True), [each.name for each in proto.graph.output])


def _part(graph: Graph, outputs: Iterable[str], given: Collection[str] = ()) -> Graph:
    """The nodes that the outputs need above what is given, and their weights."""
    import onnx

    needed, kept = set(outputs), []
    for node in reversed(graph.proto.graph.node):
        if needed.intersection(node.output) and not set(node.output) & set(given):
            kept.append(node)
            needed.update(node.input)
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    del proto.graph.node[:], proto.graph.value_info[:]
    proto.graph.node.extend(reversed(kept))
    weights = {key: value for key, value in graph.weights.items() if {key, key.removesuffix(SCALE)} & needed}
    return Graph(proto, weights, graph.as_read)


def _rename(nodes: Iterable[Any], names: dict[str, str]) -> None:
    for node in nodes:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]


def _floats(name: str) -> Any:
    """A row of numbers for each of the batch."""
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", f"{name}_width"])
