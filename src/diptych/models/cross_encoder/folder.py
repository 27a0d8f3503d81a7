"""A saved cross-encoder is a folder of the same family as a dual encoder's, with `kind` "cross".

config.json          sizes, tower, objective, scoring, training record, hashes of the files
model.safetensors    every weight of the network, in half precision
tokenizer.json       word pieces
tower/               the image tower's graph, when it may travel with the model
README.md            the model card
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from diptych.core import fingerprint
from diptych.core.config import stated_without, to_dict
from diptych.core.errors import ModelError
from diptych.core.protocols import MapTower, Preprocess
from diptych.data.seen import Seen
from diptych.models.folder import BUNDLED, WEIGHTS, SavedModel, finish, read_saved, written_whole
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
    options: Mapping[str, Any] = field(default_factory=dict)  # of the tower

    def stated(self) -> dict[str, Any]:
        """The fields without those that came later and have their default, so that models keep their fingerprints."""
        return stated_without(self, "options")


@dataclass(frozen=True, kw_only=True)
class CrossConfig(SavedModel):
    """What config.json of a cross-encoder holds."""

    image: TowerConfig
    vocabulary: int  # word pieces
    network: NetworkSettings
    objective: ObjectiveSettings
    scoring: ScoringSettings = field(default_factory=ScoringSettings)
    kind: str = KIND

    @property
    def fingerprint(self) -> str:
        """Changes when weights, tower, tokenizer or the way of scoring do."""
        parts = [to_dict(part) for part in (self.image, self.network, self.objective, self.scoring)]
        return fingerprint.of_json([self.kind, self.format, parts, dict(sorted(self.files.items()))])


def read_config(folder: Path) -> CrossConfig:
    """The config of a cross-encoder. Raises ModelError when the folder is not one."""
    made_by = "a cross-encoder: diptych train configs/cross_encoder.toml makes one"
    return read_saved(folder, CrossConfig, KIND, made_by)


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
        config = finish(temporary, dataclasses.replace(config, image=image), card)
        if seen is not None:
            seen.write(temporary)
    return config


def read_network(folder: Path, config: CrossConfig) -> CrossNetwork:
    """The network with its weights, in evaluation mode. Raises ModelError when they do not fit."""
    network = CrossNetwork(config.image.maps, config.vocabulary, config.network, config.image.preprocess.frames)
    network.adds_matching = config.objective.matching > 0
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
