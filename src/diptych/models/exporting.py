"""A dual encoder as a folder that ONNX Runtime runs alone, from towers of PyTorch or in smaller numbers."""

from __future__ import annotations

import dataclasses
import shutil
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
from diptych.core.shapes import Float, Float32, UInt8
from diptych.core.version import __version__
from diptych.data.seen import FILE as RECORDS
from diptych.encoders.graphs import Graph, weights_of, write
from diptych.encoders.image.onnx import OnnxImageTower
from diptych.encoders.inputs import normalise_pixels
from diptych.encoders.pytorch import TorchImageTower, TorchTextTower
from diptych.encoders.text.features_and_tokens import FeaturesAndTokens, tokens_of
from diptych.encoders.text.joined import JoinedTextTower
from diptych.encoders.text.portable import portable_tokens
from diptych.models import folder as files
from diptych.models.dual import DualEncoder
from diptych.models.familiarity import FILE as FAMILIAR
from diptych.models.graph_sides import GraphSides, graph_sides

PRECISIONS = {
    "fp32": "weights in 32 bits, computed in 32: the original within rounding",
    "fp16": "weights in 16 bits, computed in 32: half the size",
    "int8": "large matrices in 8 bits with a scale for each row or column: a quarter of the size, and quicker",
}
MEASURED = 64  # images, at most, that measure the nearness; as many again, four times over, calibrate
LEAST_IMAGES = 10
_AGREE = 0.9999  # centred cosine to the original, of 32 bits
_SAMPLE_TEXTS = (
    "a photo of a dog", "two cats on a red sofa, one of them asleep", "ein Boot auf dem See", "", "12:30 & café",
    "a man in a blue shirt is standing on a ladder cleaning a window while a woman with a white hat looks at him",
    "海边的一只狗", "street",
)  # fmt: skip


def export_model(
    model: DualEncoder,
    folder: Path,
    *,
    precision: str = "fp32",
    images: UInt8[np.ndarray, "n h w 3"] | None = None,
    progress: Progress = SILENT,
) -> tuple[files.ModelConfig, dict[str, float]]:
    """Write a model folder that `diptych.load` runs without PyTorch; its config, and how near it is to the original.

    Each tower of PyTorch becomes a graph with its weights in a file of its own, and the text tower's tokenizer goes
    beside it. An image tower that is a graph already becomes one with the network over it. In int8 its convolutions
    compute in 8 bits, and the large matrices of heads, and of networks over texts, are stored in 8 bits. All else is
    copied. An older model at that place is replaced when all is written. The nearness is the smallest cosine of an
    image's or text's features to the original's, the mean of the sample taken off, by tower; for the sides of a model
    that ran without PyTorch before, that of their embeddings.

    Args:
        model: the original.
        folder: where to write.
        precision: one of PRECISIONS; fp32 is fp16 for a model without PyTorch, whose weights are saved so.
        images: images prepared for the model, in random order. One in five, at most 64, serves to measure the
            nearness; without any, made ones do. On the others int8 measures the ranges of convolutions.
        progress: told what is being done.

    Raises ConfigError for a model that has nothing to export, one that joins a text tower of PyTorch with others,
    another precision, or too few images where int8 needs some; ModelError for a tokenizer
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
    if precision == "fp32" and not on_torch:
        precision = "fp16"  # as the weights were saved
    sides, in_bytes = graph_sides(model), precision == "int8"
    changed = sides.changed(in_bytes=in_bytes)
    if not on_torch and not changed:
        raise ConfigError(
            f"{model.name} runs without PyTorch as it is, so there is nothing to export; --precision int8 makes it "
            "smaller and quicker"
        )
    calibrating, measuring = _divided(model, images, required=in_bytes and sides.calibrates)
    with files.written_whole(folder) as temporary:
        for name in sorted(on_torch):
            progress.say(f"{name.replace('_', ' ')}: as a graph, {precision}")
            _write_one(temporary, name, _graph_of(towers[name], name, precision, model.name))
            if name == files.TEXT_TOWER:
                portable_tokens(towers[name]).save(temporary)
        for name, graph in sides.stored(in_bytes=in_bytes, planes=calibrating, progress=progress).items():
            _write_one(temporary, name, graph)
        if tokens := tokens_of(towers[files.TEXT_TOWER]):
            tokens.save(temporary)
        config = files.finish(temporary, _config(model, temporary, on_torch, sides, calibrating, precision), "")
        nearness = _nearness(model, DualEncoder(temporary, config), on_torch, changed, measuring)
        exact = precision == "fp32" or not (on_torch or in_bytes)
        if exact and min(nearness.values()) < _AGREE:
            raise ModelError(
                f"the exported graphs of {model.name} differ from the original: found cosines "
                f"{', '.join(f'{name} {value:.5f}' for name, value in nearness.items())}, expected {_AGREE} or more; "
                "nothing was written. Please report this with the model's name"
            )
        for name in () if model.joint else (RECORDS, FAMILIAR):
            if (model.folder / name).is_file():
                shutil.copyfile(model.folder / name, temporary / name)
        write_card(temporary, model, config, nearness)
    for name in config.files:  # read a moment ago, so the first start need not read them again
        hashes.of_file(folder / name, just_written=True)
    return config, nearness


def _divided(
    model: DualEncoder, images: UInt8[np.ndarray, "n h w 3"] | None, *, required: bool
) -> tuple[Float32[np.ndarray, "c 3 h w"] | None, UInt8[np.ndarray, "m h w 3"]]:
    """Normalised images to calibrate by, where that is required, and others to measure the nearness with."""
    if not model.has_images:
        return None, np.zeros((0, 1, 1, 3), dtype=np.uint8)
    if not required:
        return None, _made_images(model) if images is None else images[:MEASURED]
    if images is None or len(images) < LEAST_IMAGES:
        found = "" if images is None else f" found {len(images)}, expected {LEAST_IMAGES} or more;"
        raise ConfigError(
            f"int8 of {model.name} measures on images how large the values between its convolutions get;{found} "
            "name a folder or a source of a few hundred of the kind that it will see: --images SOURCE"
        )
    measured = min(len(images) // 5, MEASURED)
    return normalise_pixels(images[measured:], model.preprocess), images[:measured]


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


def _config(
    model: DualEncoder,
    folder: Path,
    on_torch: set[str],
    sides: GraphSides,
    calibrating: np.ndarray | None,
    precision: str,
) -> files.ModelConfig:
    config = model.config

    def side(found: files.SideConfig, tower: str) -> files.SideConfig:
        if tower not in on_torch:
            return found
        source = found.tower.partition(":")[0]  # the library alone: where the weights lay does not count
        return dataclasses.replace(found, tower=files.BUNDLED, source=source, options={}, fingerprint="")

    original: dict[str, Any] = {
        "address": model.address, "fingerprint": model.fingerprint, "precision": precision, "diptych": __version__
    }  # fmt: skip
    if calibrating is not None:
        original["images"] = len(calibrating)
    image = dataclasses.replace(
        side(config.image, files.IMAGE_TOWER), preprocess=model.preprocess if model.has_images else None
    )
    if sides.is_joined or (precision == "int8" and files.IMAGE_TOWER in sides.graphs):
        image = _of_graph(image, folder, sides, precision)
    return files.ModelConfig(
        name=f"{_short(model)}-{precision}",
        dim=config.dim,
        image=image,
        text=side(config.text, files.TEXT_TOWER),
        query=config.query and side(config.query, files.TEXT_TOWER),
        similarity=config.similarity,
        licence=config.licence,
        training={**config.training, files.EXPORTED: original},
        logit_scale=config.logit_scale,
        logit_bias=config.logit_bias,
    )


def _of_graph(found: files.SideConfig, folder: Path, sides: GraphSides, precision: str) -> files.SideConfig:
    """An image side whose tower is another graph than its source has, so that no module can take its weights."""
    parts = [found.source or found.tower, *([found.network.name] if found.network else []), precision]
    graph = folder / f"{files.IMAGE_TOWER}.onnx"
    tower = OnnxImageTower(graph, found.preprocess, weights=weights_of(folder, files.IMAGE_TOWER), device="cpu")
    return dataclasses.replace(
        found,
        tower=files.BUNDLED,
        source=" + ".join(parts),
        features=tower.dim,
        network=None,
        head=sides.head,
        options={},
        fingerprint="",
    )


def _short(model: DualEncoder) -> str:
    """The last part of an address, or the model's name."""
    return model.name.partition("@")[0].rstrip("/").rpartition("/")[2].rpartition(":")[2] or model.name


def _nearness(
    model: DualEncoder, exported: DualEncoder, on_torch: set[str], changed: set[str], pixels: np.ndarray
) -> dict[str, float]:
    """The smallest centred cosine to the original: of the exported towers' features, of other sides' embeddings."""
    asked: dict[str, Callable[[DualEncoder], np.ndarray]] = {}
    if files.IMAGE_TOWER in on_torch:
        asked[files.IMAGE_TOWER] = lambda one: one.image_tower.embed(pixels)
    elif "image" in changed:
        asked["image_side"] = lambda one: one.encode_pixels(pixels)
    if files.TEXT_TOWER in on_torch:
        asked[files.TEXT_TOWER] = lambda one: one.text_tower.embed(list(_SAMPLE_TEXTS))
    elif "text" in changed:
        asked["text_side"] = lambda one: one.encode_texts(_SAMPLE_TEXTS)
    return {name: _least_cosine(embed(exported), embed(model)) for name, embed in asked.items()}


def _made_images(model: DualEncoder) -> UInt8[np.ndarray, "n h w 3"]:
    """Images of random blocks, prepared for the model."""
    from diptych.data.images import prepare

    random = np.random.default_rng(0)
    sizes = [(240, 320), (320, 240), (64, 64), (500, 90), (224, 224), (33, 47), (400, 400), (90, 300)]
    noise = [random.integers(0, 256, (5, 5, 3), dtype=np.uint8) for _ in sizes]
    images = [
        np.kron(small, np.ones((-(-height // 5), -(-width // 5), 1), dtype=np.uint8))[:height, :width]
        for small, (height, width) in zip(noise, sizes, strict=True)
    ]
    return np.stack([prepare(image, model.preprocess) for image in images])


def _least_cosine(found: Float[np.ndarray, "n d"], wanted: Float[np.ndarray, "n d"]) -> float:
    """The smallest cosine of two rows, each with the mean of its own array taken off."""
    one, other = (normalise(rows - rows.mean(axis=0)) for rows in (found, wanted))
    return float((one * other).sum(axis=1).min())


def write_card(
    folder: Path, model: DualEncoder, config: files.ModelConfig, nearness: Mapping[str, float], measured: str = ""
) -> None:
    """The README.md of an exported `model`, above its own card if it has one; `measured` is Markdown."""
    original = config.training[files.EXPORTED]
    said = {key: value for key, value in config.training.items() if isinstance(value, str) and key != "precision"}
    made = [
        f"from `{original['address']}`, fingerprint `{original['fingerprint'][:16]}`",
        *(f"{key}: {value}" for key, value in said.items()),
        f"precision: {original['precision']}, {PRECISIONS[original['precision']]}",
        *(
            f"convolutions in 8 bits, by ranges measured on {count} images"
            for count in [original.get("images")]
            if count
        ),
        *(f"{name.replace('_', ' ')}: cosine to the original at least {value:.5f}" for name, value in nearness.items()),
        f"by diptych {original['diptych']}",
    ]
    card = model.folder / files.CARD
    own = "" if model.joint or not card.is_file() else card.read_text(encoding="utf-8").strip()
    parts = [
        f"# {config.name}",
        f"Images and texts in one space of {config.dim} dimensions, run by ONNX Runtime without PyTorch.",
        "## How it was made\n\n" + "\n".join(f"- {step}" for step in made),
        f"## Figures\n\n{measured}" if measured else "",
        f"## Licence\n\n{config.licence or 'Not stated by the original.'}",
        f"## The card of the original\n\nIts figures are not those of the export.\n\n{own}" if own else "",
    ]
    write_bytes(folder / files.CARD, ("\n\n".join(part for part in parts if part) + "\n").encode())
