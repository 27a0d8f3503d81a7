"""A cross-encoder that runs on PyTorch as a folder that ONNX Runtime runs alone. Needs PyTorch and onnx."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.errors import ConfigError, ModelError
from diptych.core.files import write_bytes
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float16, Float32
from diptych.core.version import __version__
from diptych.data.seen import FILE as RECORDS
from diptych.encoders.graphs import write
from diptych.encoders.pytorch import TorchImageTower
from diptych.encoders.tower_graphs import image_graph
from diptych.models.folder import BUNDLED, CARD, EXPORTED, IMAGE_TOWER, finish, written_whole

from . import vocabulary
from .encoder import TrainedCrossEncoder, load_trained_cross_encoder
from .folder import TOWER, CrossConfig, TowerConfig
from .pair import read_pairs, write_pair
from .saving import copy_tower, write_network
from .scorer import Scorer
from .torch_backend import TorchBackend

INT8 = "int8"
_IMAGES, _TEXTS, _WORDS = 12, 8, 9
_DIFFER = 0.05  # nats: more than that is no rounding


def export_cross_encoder(
    model: TrainedCrossEncoder, folder: Path, *, precision: str = "fp16", progress: Progress = SILENT
) -> tuple[CrossConfig, dict[str, float]]:
    """Write the folder; its config, and how near its scores are to the original's.

    The weights are stored in 16 bits, as they are saved, or (int8) the large matrices in 8 with a scale a row; computed
    is in 32. What `diptych rerank fit` found for the original is kept for it. The nearness is of random texts with the
    tokens of random images: the largest difference of h, in nats, and the least correlation over the images of a text.

    Raises ConfigError where there is nothing to export; ModelError where the graphs differ from the network.
    """
    config, compact = model.config, precision == INT8
    if found := config.training.get(EXPORTED):
        raise ConfigError(f"{model.name} is exported already; export what it was made from: {found['address']}")
    if config.has_graphs and not compact:
        raise ConfigError(
            f"{model.name} runs without PyTorch as it is; --precision {INT8} makes a smaller folder of it"
        )
    with written_whole(folder) as temporary:
        progress.say(f"network: as graphs, {precision}")
        write_network(temporary, model.network.cpu(), captioner=config.is_captioner, compact=compact)
        shutil.copyfile(model.folder / vocabulary.FILE, temporary / vocabulary.FILE)
        original = {
            "address": model.address, "fingerprint": model.fingerprint, "precision": precision, "diptych": __version__
        }  # fmt: skip
        made = dataclasses.replace(
            config,
            name=f"{model.name}-{precision}",
            image=_tower(model, temporary),
            training={**config.training, EXPORTED: original},
        )
        made = finish(temporary, made, "")
        nearness = _nearness(model, load_trained_cross_encoder(temporary))
        if not compact and not nearness["largest difference of h"] <= _DIFFER:  # nan is none
            raise ModelError(
                f"the graphs of {model.name} differ from its network by {nearness['largest difference of h']:.3f} "
                f"nats, expected at most {_DIFFER}; nothing was written. Please report this with the model's settings"
            )
        _write_card(temporary, model, nearness, precision)
        if (model.folder / RECORDS).is_file():
            shutil.copyfile(model.folder / RECORDS, temporary / RECORDS)
        for pair in read_pairs(model.folder):
            if pair.cross_encoder == model.fingerprint:
                write_pair(temporary, dataclasses.replace(pair, cross_encoder=made.fingerprint))
    return made, nearness


def _tower(model: TrainedCrossEncoder, folder: Path) -> TowerConfig:
    """The image tower, in the folder where it can be; else as the original names it."""
    image, tower = model.config.image, model.image_tower
    if image.tower == BUNDLED:
        shutil.copytree(model.folder / TOWER, folder / TOWER)
        return image
    if not isinstance(tower, TorchImageTower):
        return copy_tower(tower, image, folder)
    (folder / TOWER).mkdir()
    write(folder / TOWER, {IMAGE_TOWER: image_graph(tower, "fp16")})
    return dataclasses.replace(image, tower=BUNDLED, source=image.source or image.tower, options={})


def _nearness(model: TrainedCrossEncoder, exported: TrainedCrossEncoder) -> dict[str, float]:
    """Differences of h between the two, and the least correlation over the images of a text."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (_IMAGES, *exported.preprocess.shape), dtype=np.uint8)
    pieces = random.integers(vocabulary.END + 1, len(model.words), (_TEXTS, _WORDS))
    texts = [model.words.decode(row.tolist()) for row in pieces]
    features = exported.image_tower.embed(pixels)
    found: list[Float32[np.ndarray, "m n"]] = []
    for backend in (TorchBackend(model.network), exported.backend):
        tokens: Float16[np.ndarray, "n r w"] = backend.fuse(features).astype(np.float16)
        scorer = Scorer(backend, model.words, model.config.scoring, captioner=model.config.is_captioner)
        found.append(scorer.matrix(tokens, texts))
    one, other = found
    least = min(np.corrcoef(*rows)[0, 1] for rows in zip(one, other, strict=True))
    return {"largest difference of h": float(np.abs(one - other).max()), "least correlation": float(least)}


def _write_card(folder: Path, model: TrainedCrossEncoder, nearness: Mapping[str, Any], precision: str) -> None:
    card = model.folder / CARD
    known = card.read_text(encoding="utf-8") if card.is_file() else f"# {model.name}\n"
    figures = ", ".join(f"{name} {value:.4f}" for name, value in nearness.items())
    section = (
        f"## Exported\n\nRuns on ONNX Runtime without PyTorch. From `{model.address}`, fingerprint "
        f"`{model.fingerprint[:16]}`, precision {precision}. Random texts with random images, against the original: "
        f"{figures}.\n"
    )
    write_bytes(folder / CARD, f"{known.rstrip()}\n\n{section}".encode())
