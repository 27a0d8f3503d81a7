"""A dual encoder whose towers run on PyTorch, as a folder that ONNX Runtime runs alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import hashes
from diptych.core.config import unknown
from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError, ModelError, first_line
from diptych.core.extras import need
from diptych.core.files import write_bytes
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float
from diptych.core.version import __version__
from diptych.encoders.graphs import Graph, read_graph, write
from diptych.encoders.pytorch import TorchImageTower, TorchTextTower
from diptych.encoders.text.features_and_tokens import FeaturesAndTokens, tokens_of
from diptych.encoders.text.joined import JoinedTextTower
from diptych.encoders.text.portable import portable_tokens
from diptych.models import folder as files
from diptych.models.dual import DualEncoder

PRECISIONS = {
    "fp32": "weights in 32 bits, computed in 32: the original within rounding",
    "fp16": "weights in 16 bits, computed in 32: half the size",
    "int8": "large matrices in 8 bits, computed in 8 with a scale for each column: a quarter of the size, and quicker",
}
_AGREE = 0.9999  # centred cosine to the original, of 32 bits
_SAMPLE_TEXTS = (
    "a photo of a dog", "two cats on a red sofa, one of them asleep", "ein Boot auf dem See", "", "12:30 & café",
    "a man in a blue shirt is standing on a ladder cleaning a window while a woman with a white hat looks at him",
    "海边的一只狗", "street",
)  # fmt: skip


def export_model(
    model: DualEncoder, folder: Path, *, precision: str = "fp32", progress: Progress = SILENT
) -> tuple[files.ModelConfig, dict[str, float]]:
    """Write a model folder that `diptych.load` runs without PyTorch; its config, and how near it is to the original.

    Each tower of PyTorch becomes a graph with its weights in a file of its own, the text tower's tokenizer goes
    beside it, heads and towers that are graphs already are copied. An older model at that place is replaced when all
    is written. The nearness is the smallest cosine of a made image's or text's features to the original's, the mean
    of the sample taken off, by side.

    Raises ConfigError for a model that has nothing to export, one that joins a text tower of PyTorch with others, or
    another precision; ModelError for a tokenizer
    that needs its library, a layer that has no ONNX form, or a graph in 32 bits that differs from the original.
    """
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    need("onnx", "exporting a model")
    if found := model.config.training.get(files.EXPORTED):
        raise ConfigError(f"{model.name} is exported already; export what it was made from: {found['address']}")
    towers: dict[str, Any] = {files.IMAGE_TOWER: model.image_tower, files.TEXT_TOWER: model.text_tower}
    on_torch = {name for name, tower in towers.items() if isinstance(tower, TorchImageTower | TorchTextTower)}
    if isinstance(model.text_tower, JoinedTextTower | FeaturesAndTokens) and _is_on_torch(model.text_tower):
        raise ConfigError(
            f"a text tower of {model.name} runs on PyTorch and is joined with others, and one that stands alone can be "
            "exported; use the model with PyTorch"
        )
    if not on_torch:
        raise ConfigError(f"{model.name} runs without PyTorch as it is, so there is nothing to export")
    with files.written_whole(folder) as temporary:
        nearness = {}
        for name in sorted(on_torch):
            progress.say(f"{name.replace('_', ' ')}: as a graph, {precision}")
            _write_one(temporary, name, _graph_of(towers[name], name, precision, model.name))
            if name == files.TEXT_TOWER:
                portable_tokens(towers[name]).save(temporary)
        for name in (files.IMAGE_TOWER, files.IMAGE_HEAD, files.TEXT_HEAD, files.QUERY_HEAD):
            if name not in on_torch and files.has_graph(model.config, name):
                _write_one(temporary, name, read_graph(model.folder, name))
        if tokens := tokens_of(towers[files.TEXT_TOWER]):
            tokens.save(temporary)
        config = _config(model, on_torch, precision)
        config = files.finish(temporary, config, "")
        nearness = _nearness(model, DualEncoder(temporary, config), on_torch)
        if precision == "fp32" and min(nearness.values()) < _AGREE:
            raise ModelError(
                f"the exported graphs of {model.name} differ from the original: found cosines "
                f"{', '.join(f'{name} {value:.5f}' for name, value in nearness.items())}, expected {_AGREE} or more; "
                "nothing was written. Please report this with the model's name"
            )
        write_card(temporary, config, nearness)
    for name in config.files:  # read a moment ago, so the first start need not read them again
        hashes.of_file(folder / name, just_written=True)
    return config, nearness


def _is_on_torch(tower: Any) -> bool:
    """Whether a text tower, or one that stands in it beside others, runs on PyTorch."""
    inside = tower.towers if isinstance(tower, JoinedTextTower) else getattr(tower, "parts", ())
    return isinstance(tower, TorchTextTower) or any(map(_is_on_torch, inside))


def _graph_of(tower: Any, name: str, precision: str, model: str) -> Graph:
    from diptych.encoders.tower_graphs import image_graph, text_graph

    try:
        return (image_graph if name == files.IMAGE_TOWER else text_graph)(tower, precision)
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:  # whatever the exporter meets
        raise ModelError(
            f"the {name.replace('_', ' ')} of {model} cannot be written as an ONNX graph: {first_line(error)}; "
            "use the model with PyTorch"
        ) from error


def _write_one(folder: Path, name: str, graph: Graph) -> None:
    write(folder, {name: graph}, f"{name}.safetensors")


def _config(model: DualEncoder, on_torch: set[str], precision: str) -> files.ModelConfig:
    config = model.config

    def side(found: files.SideConfig, tower: str, features: int) -> files.SideConfig:
        if tower not in on_torch:
            return found
        source = found.tower.partition(":")[0]  # the library alone: where the weights lay does not count
        return dataclasses.replace(
            found, tower=files.BUNDLED, source=source, options={}, fingerprint="", features=features
        )

    original = {
        "address": model.address, "fingerprint": model.fingerprint, "precision": precision, "diptych": __version__
    }  # fmt: skip
    return files.ModelConfig(
        name=f"{_short(model)}-{precision}",
        dim=config.dim,
        image=dataclasses.replace(
            side(config.image, files.IMAGE_TOWER, config.image.features),
            preprocess=model.preprocess if model.has_images else None,
        ),
        text=side(config.text, files.TEXT_TOWER, config.text.features),
        query=config.query and side(config.query, files.TEXT_TOWER, config.query.features),
        similarity=config.similarity,
        licence=config.licence,
        training={**config.training, files.EXPORTED: original},
        logit_scale=config.logit_scale,
        logit_bias=config.logit_bias,
    )


def _short(model: DualEncoder) -> str:
    """The last part of an address, or the model's name."""
    return model.name.partition("@")[0].rstrip("/").rpartition("/")[2].rpartition(":")[2] or model.name


def _nearness(model: DualEncoder, exported: DualEncoder, on_torch: set[str]) -> dict[str, float]:
    """The smallest centred cosine of the exported towers' features to the originals', by side."""
    from diptych.data.images import prepare

    random = np.random.default_rng(0)
    sizes = [(240, 320), (320, 240), (64, 64), (500, 90), (224, 224), (33, 47), (400, 400), (90, 300)]
    noise = [random.integers(0, 256, (5, 5, 3), dtype=np.uint8) for _ in sizes]
    images = [
        np.kron(small, np.ones((-(-height // 5), -(-width // 5), 1), dtype=np.uint8))[:height, :width]
        for small, (height, width) in zip(noise, sizes, strict=True)
    ]
    asked: dict[str, Callable[[DualEncoder], np.ndarray]] = {
        files.IMAGE_TOWER: lambda one: one.image_tower.embed(
            np.stack([prepare(image, model.preprocess) for image in images])
        ),
        files.TEXT_TOWER: lambda one: one.text_tower.embed(list(_SAMPLE_TEXTS)),
    }
    return {name: _least_cosine(asked[name](exported), asked[name](model)) for name in sorted(on_torch)}


def _least_cosine(found: Float[np.ndarray, "n d"], wanted: Float[np.ndarray, "n d"]) -> float:
    """The smallest cosine of two rows, each with the mean of its own array taken off."""
    one, other = (normalise(rows - rows.mean(axis=0)) for rows in (found, wanted))
    return float((one * other).sum(axis=1).min())


def write_card(folder: Path, config: files.ModelConfig, nearness: Mapping[str, float], measured: str = "") -> None:
    """The README.md of an exported model; `measured` is Markdown."""
    original = config.training[files.EXPORTED]
    made = [
        f"from `{original['address']}`, fingerprint `{original['fingerprint'][:16]}`",
        *(f"{key}: {value}" for key, value in config.training.items() if isinstance(value, str)),
        f"precision: {original['precision']}, {PRECISIONS[original['precision']]}",
        *(f"{name.replace('_', ' ')}: cosine to the original at least {value:.5f}" for name, value in nearness.items()),
        f"by diptych {original['diptych']}",
    ]
    parts = [
        f"# {config.name}",
        f"Images and texts in one space of {config.dim} dimensions, run by ONNX Runtime without PyTorch.",
        "## How it was made\n\n" + "\n".join(f"- {step}" for step in made),
        f"## Figures\n\n{measured}" if measured else "",
        f"## Licence\n\n{config.licence or 'Not stated by the original.'}",
    ]
    write_bytes(folder / files.CARD, ("\n\n".join(part for part in parts if part) + "\n").encode())
