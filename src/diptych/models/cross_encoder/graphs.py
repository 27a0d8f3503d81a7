"""The network as ONNX graphs, one for each method of a `Backend`. Needs PyTorch and onnx.

regions.onnx       feature maps (b, f) -> region tokens (b, r, w)
keys_values.onnx   tokens -> keys and values of every layer, keys_0, values_0, keys_1, ...
likelihood.onnx    inputs and targets (b, s, t) with those -> log p of each word (b, s, t)
next_words.onnx    inputs (b, s, t) -> log p of the next word (b, s, v)
attention.onnx     inputs (b, s, t) -> attention to the regions (b, s, t, r)
matching.onnx      inputs (b, s, t) -> scores (b, s), in place of the last three for a network trained to match

They are traced from the network's own methods, so that nothing of it is written down twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from diptych.encoders.export import GraphSpec, trace
from diptych.encoders.graphs import Graph

from .decoder import KeysValues
from .graph_names import ATTENTION, KEYS_VALUES, LIKELIHOOD, MATCHING, NEXT_WORDS, REGIONS, keys_values_names
from .network import CrossNetwork
from .vocabulary import BACKWARD, END, FORWARD

_IDS = {0: "images", 1: "sequences", 2: "places"}


def graphs_of(network: CrossNetwork, *, captioner: bool) -> dict[str, Graph]:
    """All graphs of a network in evaluation mode; the names of their weights are those of its `state_dict`."""
    flat = torch.zeros(2, network.fusion.features)
    with torch.inference_mode():
        tokens = network.fusion(flat)
        pairs = network.keys_values(tokens)
    known = [part.clone() for pair in pairs for part in pair]  # inference tensors cannot be traced
    names = keys_values_names(len(pairs))
    open_axes = {name: {0: "images", 2: "regions"} for name in names}
    # a sequence in each direction and of different lengths, so that nothing is fixed that is free
    ids = torch.tensor([[[FORWARD, 5, 6], [BACKWARD, 5, 0]]] * 2)
    wanted = torch.tensor([[[5, 6, END], [5, END, 0]]] * 2)
    forward = ids[:, :1]

    def traced(method: Callable[..., Any], given: dict[str, Tensor], outputs: Sequence[str], axes: Any) -> Graph:
        with _as_forward(network, method):
            return trace(GraphSpec(network, tuple(given.values()), tuple(given), tuple(outputs), free=axes))

    def reading(name: str, method: Callable[..., Tensor], given: dict[str, Tensor]) -> Graph:
        def with_pairs(*arrays: Tensor) -> Tensor:
            return method(*arrays[: len(given)], _paired(arrays[len(given) :]))

        axes = {**dict.fromkeys(given, _IDS), **open_axes}
        return traced(with_pairs, {**given, **dict(zip(names, known, strict=True))}, [name], axes)

    found = {
        REGIONS: traced(network.fusion.forward, {"features": flat}, ["tokens"], {"features": {0: "images"}}),
        KEYS_VALUES: traced(
            lambda given: tuple(part for pair in network.keys_values(given) for part in pair),
            {"tokens": tokens.clone()},
            names,
            {"tokens": {0: "images", 1: "regions"}},
        ),
    }
    if not captioner:
        return found | {MATCHING: reading(MATCHING, network.matching, {"inputs": ids})}
    both = {"inputs": ids, "targets": wanted}
    return found | {
        LIKELIHOOD: reading(LIKELIHOOD, network.word_likelihoods, both),
        NEXT_WORDS: reading(NEXT_WORDS, network.next_words, {"inputs": forward}),
        ATTENTION: reading(ATTENTION, network.attention, {"inputs": ids}),
    }


def _paired(arrays: Sequence[Tensor]) -> KeysValues:
    return list(zip(arrays[::2], arrays[1::2], strict=True))


@contextlib.contextmanager
def _as_forward(network: CrossNetwork, method: Callable[..., Any]) -> Iterator[None]:
    """With `method` as what the module computes: the exporter traces `forward` and names weights from there."""
    network.forward = method
    try:
        yield
    finally:
        del network.forward
