"""PyTorch towers as ONNX graphs for any precision: what `diptych models export` writes. Needs PyTorch and onnx.

The exporter gives the graph alone; the weights are those of the module, not copied until they are written, so that a
model needs hardly more memory than it takes itself. Every weight is stored as the graph reads it: a matrix that the
graph would transpose is stored transposed, so that ONNX Runtime maps it from the file.
"""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.config import unknown
from diptych.encoders.graphs import BYTE_ABOVE, HALF_ABOVE, Graph
from diptych.encoders.inputs import grey_pixels, normalise_pixels

PRECISIONS = ("fp32", "fp16", "int8")
_ZERO = 128  # the byte that stands for 0: unsigned bytes, whose products no processor saturates
_EXAMPLE_TEXTS = 2


def image_graph(tower: Any, precision: str) -> Graph:
    """Normalised pixels (b, 3, h, w) to `features` (b, d), from a PyTorch image tower."""
    example = torch.from_numpy(normalise_pixels(grey_pixels(tower.preprocess), tower.preprocess))
    return _graph(tower.torch_module(copied=False), example, "pixels", precision, {0: "batch"})


def text_graph(tower: Any, precision: str) -> Graph:
    """Token ids (b, l), int64 and -1 where masked, to `features` (b, d), from a PyTorch text tower.

    l is free where the tower reads rows of any length, else it is `max_tokens`.
    """
    length = min(tower.max_tokens, 8) if tower.any_length else tower.max_tokens
    example = torch.full((_EXAMPLE_TEXTS, length), 1, dtype=torch.int64)
    example[0, -1] = -1 if tower.any_length else 1
    free = {0: "batch", 1: "length"} if tower.any_length else {0: "batch"}
    return _graph(tower.torch_module(copied=False), example, "ids", precision, free)


def _graph(module: nn.Module, example: Tensor, name: str, precision: str, free: Mapping[int, str]) -> Graph:
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    found = _traced(module, example, name, free)
    return found if precision == "fp32" else narrowed(found, in_bytes=precision == "int8")


def _traced(module: nn.Module, example: Tensor, name: str, free: Mapping[int, str]) -> Graph:
    """The graph of a module in evaluation mode on the CPU, and the weights that it reads, as views of the module's."""
    import onnx

    device = next(module.parameters()).device
    module = module.eval().cpu()
    stream = io.BytesIO()
    with torch.no_grad(), _plain_attention(module), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a newer exporter exists; sizes become constants, which they are
        torch.onnx.export(
            module,
            (example,),
            stream,  # type: ignore[arg-type]  # accepted, though not in the stubs
            input_names=[name],
            output_names=["features"],
            dynamic_axes={name: dict(free), "features": {0: "batch"}},
            opset_version=17,
            dynamo=False,
            export_params=False,
            do_constant_folding=False,
        )
    proto = onnx.load_model_from_string(stream.getvalue())
    tensors = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    weights = {each.name: tensors[each.name].detach().numpy() for each in proto.graph.input if each.name != name}
    module.to(device)  # it is the tower's own, which is used on; the arrays stay on the CPU
    kept = [each for each in proto.graph.input if each.name == name]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    for node in proto.graph.node:
        node.ClearField("doc_string")
    return _transposed(Graph(proto, weights, as_read=True))


@contextlib.contextmanager
def _plain_attention(module: nn.Module) -> Iterator[None]:
    """`nn.MultiheadAttention` written out where it attends within one sequence.

    As PyTorch has it, the exported graph would take sequences of the example's length alone.
    """
    changed = [part for part in module.modules() if isinstance(part, nn.MultiheadAttention) and _is_plain(part)]
    for part in changed:
        part.forward = functools.partial(_attend, part, part.forward)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for part in changed:
            del part.forward


def _is_plain(part: nn.MultiheadAttention) -> bool:
    return part.in_proj_weight is not None and part.bias_k is None and not part.add_zero_attn


def _attend(
    part: nn.MultiheadAttention,
    otherwise: Callable[..., Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *more: Any,
    attn_mask: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """What `part` gives, by `scaled_dot_product_attention`; `otherwise` is its own way, for what is not plain."""
    plain = query is key and key is value and not more and options == {"need_weights": False}
    if not plain or (attn_mask is not None and attn_mask.ndim != 2):
        found: tuple[Tensor, Tensor | None] = otherwise(query, key, value, *more, attn_mask=attn_mask, **options)
        return found
    states = query if part.batch_first else query.transpose(0, 1)
    rows, length = states.shape[:2]
    packed = functional.linear(states, part.in_proj_weight, part.in_proj_bias)
    q, k, v = (each.reshape(rows, length, part.num_heads, -1).transpose(1, 2) for each in packed.chunk(3, dim=-1))
    attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
    output = part.out_proj(attended.transpose(1, 2).reshape(rows, length, -1))
    return (output if part.batch_first else output.transpose(0, 1)), None


def _transposed(graph: Graph) -> Graph:
    """With the transposes of weights done."""
    weights, nodes = dict(graph.weights), []
    for node in graph.proto.graph.node:
        if node.op_type == "Transpose" and node.input[0] in graph.weights:
            order = next((list(each.ints) for each in node.attribute if each.name == "perm"), None)
            weights[node.output[0]] = graph.weights[node.input[0]].transpose(order)
        else:
            nodes.append(node)
    return _with(graph, nodes, weights)


def narrowed(graph: Graph, *, in_bytes: bool) -> Graph:
    """With large weights in 16 bits and, where asked for, the matrices of products and of lookups in 8.

    What is stored in 16 bits becomes 32 bits again when the graph is loaded, except rows that are looked up, which
    become it when they are read. A product of bytes is computed in bytes, by a scale for each column of the matrix and
    for each row of its input. That is ONNX Runtime's dynamic quantisation, which has one scale for the whole input,
    after each row was divided by its largest number: about half the error for 6% of the time.
    """
    made = _Narrow(graph)
    for node in graph.proto.graph.node:
        weight = graph.weights.get(_matrix_of(node))
        if weight is None or weight.dtype != np.float32 or weight.size <= HALF_ABOVE:
            made.keep(node)
        elif node.op_type == "Gather" and _axis(node) == 0:
            made.look_up(node, weight, in_bytes=in_bytes and weight.ndim == 2 and weight.size > BYTE_ABOVE)
        elif in_bytes and node.op_type == "MatMul" and weight.ndim == 2 and weight.size > BYTE_ABOVE:
            made.multiply(node, weight)
        else:
            made.keep(node)
    return _with(graph, made.nodes, made.weights())


def _matrix_of(node: Any) -> str:
    """The input of a lookup or a product that may be a weight."""
    place = {"Gather": 0, "MatMul": 1}.get(node.op_type)
    return "" if place is None else str(node.input[place])


def _axis(node: Any) -> int:
    return next((each.i for each in node.attribute if each.name == "axis"), 0)


class _Narrow:
    """Collects the nodes and weights of a narrowed graph."""

    def __init__(self, graph: Graph) -> None:
        from onnx import helper

        self._graph, self._make = graph, helper.make_node
        self.nodes: list[Any] = []
        self._weights: dict[str, Callable[[], np.ndarray]] = {}
        self._widened: set[str] = set()
        self._quantised: set[str] = set()

    def weights(self) -> dict[str, np.ndarray]:
        """What the nodes read."""
        return {name: value() for name, value in self._weights.items()}

    def keep(self, node: Any) -> None:
        """A node as it is; its large weights come from 16 bits."""
        for name in node.input:
            value = self._graph.weights.get(name)
            if value is None or name in self._weights:
                continue
            if value.dtype != np.float32 or value.size <= HALF_ABOVE or value.ndim < 2 or not _fits(value):
                self._weights[name] = functools.partial(np.asarray, value)
            elif name not in self._widened:
                self._half(name, value)
                self._widened.add(name)
                self.nodes.append(self._make("Cast", [f"{name}/half"], [name], to=1))
        self.nodes.append(node)

    def look_up(self, node: Any, weight: np.ndarray, *, in_bytes: bool) -> None:
        """Rows of a narrow table, widened after they were read."""
        table, numbers, rows = node.input[0], node.input[1], node.output[0]
        if not in_bytes:
            if not _fits(weight):
                return self.keep(node)
            self._half(table, weight)
            self.nodes.append(self._make("Gather", [f"{table}/half", numbers], [f"{rows}/half"], axis=0))
            self.nodes.append(self._make("Cast", [f"{rows}/half"], [rows], to=1))
            return None
        self._bytes(table, weight, axis=1)
        for part in ("bytes", "scale"):
            self.nodes.append(self._make("Gather", [f"{table}/{part}", numbers], [f"{rows}/{part}"], axis=0))
        zero = f"{table}/zero"
        one = f"{rows}/one"
        self._weights[one] = lambda: np.ones((), dtype=np.float32)
        self.nodes.append(self._make("DequantizeLinear", [f"{rows}/bytes", one, zero], [f"{rows}/whole"]))
        self.nodes.append(self._make("Mul", [f"{rows}/whole", f"{rows}/scale"], [rows]))
        return None

    def multiply(self, node: Any, weight: np.ndarray) -> None:
        """A product of bytes; inputs that several products read are put into bytes once."""
        given, matrix = node.input
        product = node.output[0]
        self._bytes(matrix, weight, axis=0)
        if given not in self._quantised:
            self._quantise(given)
        small, scale, zero = (f"{given}/quantised{part}" for part in ("", "/scale", "/zero"))
        terms = [small, f"{matrix}/bytes", zero, f"{matrix}/zero"]
        self.nodes += [
            self._make("MatMulInteger", terms, [f"{product}/sum"]),
            self._make("Cast", [f"{product}/sum"], [f"{product}/whole"], to=1),
            self._make("Mul", [scale, f"{matrix}/scale"], [f"{product}/scale"]),
            self._make("Mul", [f"{product}/whole", f"{product}/scale"], [f"{product}/level"]),
            self._make("Mul", [f"{product}/level", f"{given}/largest"], [product]),
        ]

    def _quantise(self, given: str) -> None:
        """A product's input in bytes, after each of its rows was divided by its largest number."""
        self._quantised.add(given)
        least = "/least"
        self._weights[least] = lambda: np.full((), np.finfo(np.float32).tiny, dtype=np.float32)
        outputs = [f"{given}/quantised{part}" for part in ("", "/scale", "/zero")]
        self.nodes += [
            self._make("Abs", [given], [f"{given}/sizes"]),
            self._make("ReduceMax", [f"{given}/sizes"], [f"{given}/most"], axes=[-1], keepdims=1),
            self._make("Max", [f"{given}/most", least], [f"{given}/largest"]),
            self._make("Div", [given, f"{given}/largest"], [f"{given}/level"]),
            self._make("DynamicQuantizeLinear", [f"{given}/level"], outputs),
        ]

    def _half(self, name: str, value: np.ndarray) -> None:
        self._weights[f"{name}/half"] = lambda: value.astype(np.float16)

    def _bytes(self, name: str, value: np.ndarray, axis: int) -> None:
        """Bytes around `_ZERO`, with a scale for each row (axis 1) or column (axis 0)."""
        if f"{name}/bytes" in self._weights:
            return
        largest = np.maximum(value.max(axis=axis), -value.min(axis=axis))
        scale = np.maximum(largest / 127, np.finfo(np.float32).tiny).astype(np.float32)
        spread = np.expand_dims(scale, axis)
        self._weights[f"{name}/scale"] = lambda: spread if axis == 1 else scale
        self._weights[f"{name}/zero"] = lambda: np.full((), _ZERO, dtype=np.uint8)
        self._weights[f"{name}/bytes"] = lambda: (np.rint(value / spread) + _ZERO).astype(np.uint8)


def _fits(value: np.ndarray) -> bool:
    """Whether 16 bits hold the largest number; statistics of data may be larger."""
    return bool(max(value.max(), -value.min()) < np.finfo(np.float16).max)


def _with(graph: Graph, nodes: Sequence[Any], weights: Mapping[str, np.ndarray]) -> Graph:
    """The graph with other nodes, and those of the weights that they read."""
    import onnx

    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    return Graph(proto, {name: value for name, value in weights.items() if name in read}, as_read=True)
