"""Writing a cross-encoder's folder, and reading the network back from it. Needs PyTorch."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file

from diptych.core.errors import ModelError
from diptych.core.protocols import MapTower
from diptych.data.seen import Seen
from diptych.encoders.graphs import SCALE, Graph, require_finite, stored, write_shared
from diptych.models.folder import BUNDLED, WEIGHTS, finish, written_whole
from diptych.models.save import Portable

from . import vocabulary
from .folder import TOWER, CrossConfig, TowerConfig
from .graphs import graphs_of
from .network import CrossNetwork
from .vocabulary import Vocabulary


def save(
    folder: Path,
    *,
    config: CrossConfig,
    network: CrossNetwork,
    words: Vocabulary,
    tower: MapTower,
    card: str,
    seen: Seen | None = None,
) -> CrossConfig:
    """Write a complete model folder; an older model there is replaced only when all is written.

    A portable tower is copied in and its name in `config` becomes "bundled". Raises ModelError when
    `folder` holds something that is no model.
    """
    with written_whole(folder) as temporary:
        write_network(temporary, network, captioner=config.is_captioner)
        words.write(temporary / vocabulary.FILE)
        image = copy_tower(tower, config.image, temporary)
        config = finish(temporary, dataclasses.replace(config, image=image), card)
        if seen is not None:
            seen.write(temporary)
    return config


def copy_tower(tower: Any, image: TowerConfig, folder: Path) -> TowerConfig:
    """Copy a portable tower into a model folder; how the config names it then. Others are named as they were."""
    if not isinstance(tower, Portable):
        return image
    (folder / TOWER).mkdir()
    for file in ("image_tower.onnx", WEIGHTS):
        shutil.copyfile(tower.folder / file, folder / TOWER / file)
    return dataclasses.replace(image, tower=BUNDLED, source=image.source or image.tower)


def write_network(folder: Path, network: CrossNetwork, *, captioner: bool, compact: bool = False) -> None:
    """Write the weights, in half precision or (`compact`) large matrices in 8 bits, and the graphs that read them."""
    tensors: dict[str, np.ndarray] = {}
    for key, value in network.state_dict().items():
        found = value.detach().cpu().contiguous().numpy()
        tensors |= stored(key, found, compact) if compact else {key: _half(found)}
    require_finite(tensors)
    graphs = graphs_of(network, captioner=captioner)
    write_shared(folder, {name: _reading(graph, tensors) for name, graph in graphs.items()}, tensors)


def read_network(folder: Path, config: CrossConfig) -> CrossNetwork:
    """The network with its weights, in evaluation mode. Raises ModelError when they do not fit."""
    network = CrossNetwork(config.image.maps, config.vocabulary, config.network, config.image.preprocess.frames)
    network.adds_matching = config.objective.matching > 0
    try:
        network.load_state_dict({_present(key): value for key, value in _read(folder / WEIGHTS).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        last = (str(error).strip().splitlines() or [""])[-1].strip()
        raise ModelError(f"cannot read {folder / WEIGHTS}: {last}; copy the whole folder again") from error
    return network.eval().requires_grad_(False)


def _read(path: Path) -> dict[str, Any]:
    """The tensors in single precision; those in 8 bits are multiplied by their scales."""
    found = load_file(path)
    scales = {key.removesuffix(SCALE): found.pop(key) for key in list(found) if key.endswith(SCALE)}
    floats = {key: value.astype(np.float32) * scales.get(key, np.float32(1)) for key, value in found.items()}
    return {key: torch.from_numpy(value) for key, value in floats.items()}


def _half(value: np.ndarray) -> np.ndarray:
    """In half precision where that holds it: statistics of the data may be larger."""
    fits = value.dtype == np.float32 and np.abs(value).max(initial=0) < np.finfo(np.float16).max
    return value.astype(np.float16) if fits else value


def _reading(graph: Graph, tensors: Mapping[str, np.ndarray]) -> Graph:
    """The graph with the weights as they are stored."""
    weights: dict[str, np.ndarray] = {}
    for key, value in graph.weights.items():
        weights |= {part: tensors[part] for part in (key, key + SCALE) if part in tensors} or {key: value}
    return Graph(graph.proto, weights)


def _present(key: str) -> str:
    """A weight's name today; models made before December 2026 have older ones."""
    return "empty_image_token" if key == "nothing" else key.replace(".wide_", ".mlp_")
