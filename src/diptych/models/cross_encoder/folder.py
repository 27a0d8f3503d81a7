"""A saved cross-encoder is a folder of the same family as a dual encoder's, with `kind` "cross".

config.json          sizes, tower, objective, scoring, training record, hashes of the files
model.safetensors    every weight of the network, in half precision
tokenizer.json       word pieces
tower/               the image tower's graph, when it may travel with the model
README.md            the model card
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from diptych.core import fingerprint
from diptych.core.config import from_dict, to_dict
from diptych.core.errors import ConfigError, ModelError
from diptych.core.files import fsync_file, write_bytes, write_json
from diptych.core.protocols import MapTower, Preprocess
from diptych.core.version import __version__
from diptych.data.seen import Seen
from diptych.models.folder import BUNDLED, CARD, CONFIG, FORMAT, WEIGHTS, written_whole
from diptych.models.save import Portable

from . import vocabulary
from .network import CrossNetwork
from .settings import NetworkSettings, ObjectiveSettings, ScoringSettings
from .vocabulary import Vocabulary

KIND = "cross"
TOWER = "tower"
GRAPH = f"{TOWER}/image_tower.onnx"


@dataclass(frozen=True)
class TowerConfig:
    """The image tower below the network."""

    tower: str  # the name of a registered tower, or "bundled"
    maps: tuple[tuple[int, int, int], ...]  # (channels, rows, columns), finest first
    preprocess: Preprocess
    fingerprint: str
    source: str = ""  # where a bundled tower came from


@dataclass(frozen=True)
class CrossConfig:
    """What config.json of a cross-encoder holds."""

    name: str
    image: TowerConfig
    vocabulary: int  # word pieces
    network: NetworkSettings
    objective: ObjectiveSettings
    scoring: ScoringSettings = field(default_factory=ScoringSettings)
    kind: str = KIND
    diptych: str = ""
    format: int = FORMAT
    licence: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Changes when weights, tower, tokenizer or the way of scoring do."""
        parts = [to_dict(part) for part in (self.image, self.network, self.objective, self.scoring)]
        return fingerprint.of_json([self.kind, self.format, parts, dict(sorted(self.files.items()))])


def kind_of(folder: Path) -> str:
    """ "cross", "dual", ... : what config.json says, "dual" where it says nothing. "" when there is no config."""
    try:
        return str(json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("kind", "dual"))
    except (OSError, ValueError, AttributeError):
        return ""


def read_config(folder: Path) -> CrossConfig:
    """The config of a cross-encoder. Raises ModelError when the folder is not one."""
    kind = kind_of(folder)
    if kind != KIND:
        found = f"a model of kind {kind!r}" if kind else "no model"
        raise ModelError(
            f"{folder} holds {found}; expected a cross-encoder: diptych train configs/cross_encoder.toml makes one"
        )
    values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if values.get("format", FORMAT) != FORMAT:
        raise ModelError(f"{folder}: model format {values['format']}, this Diptych reads {FORMAT}; update Diptych")
    try:
        return from_dict(CrossConfig, values, str(folder / CONFIG))
    except ConfigError as error:
        raise ModelError(str(error)) from error


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
        half = {key: _stored(value) for key, value in network.state_dict().items()}
        save_file(half, temporary / WEIGHTS, metadata={"format": "pt"})
        words.write(temporary / vocabulary.FILE)
        image = config.image
        if isinstance(tower, Portable):
            (temporary / TOWER).mkdir()
            for file in ("image_tower.onnx", WEIGHTS):
                shutil.copyfile(tower.folder / file, temporary / TOWER / file)
            image = dataclasses.replace(image, tower=BUNDLED, source=image.source or image.tower)
        written = sorted(path for path in temporary.rglob("*") if path.is_file())
        for path in written:
            path.chmod(0o644)
            fsync_file(path)
        files = {str(path.relative_to(temporary)): fingerprint.of_file(path) for path in written}
        config = dataclasses.replace(config, image=image, files=files, diptych=__version__)
        write_json(temporary / CONFIG, to_dict(config))
        write_bytes(temporary / CARD, card.encode())
        if seen is not None:
            seen.write(temporary)
    return config


def read_network(folder: Path, config: CrossConfig) -> CrossNetwork:
    """The network with its weights, in evaluation mode. Raises ModelError when they do not fit."""
    network = CrossNetwork(config.image.maps, config.vocabulary, config.network)
    try:
        network.load_state_dict({_present(key): value.float() for key, value in load_file(folder / WEIGHTS).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        last = (str(error).strip().splitlines() or [""])[-1].strip()
        raise ModelError(f"cannot read {folder / WEIGHTS}: {last}; copy the whole folder again") from error
    return network.eval().requires_grad_(False)


def _present(key: str) -> str:
    """A weight's name today; models made before December 2026 have older ones."""
    return "empty_image_token" if key == "nothing" else key.replace(".wide_", ".mlp_")


def _stored(value: torch.Tensor) -> torch.Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if value.is_floating_point() else value
