"""A saved cross-encoder is a folder of the same family as a dual encoder's, with `kind` "cross".

config.json          sizes, tower, objective, scoring, training record, hashes of the files
model.safetensors    every weight of the network, in half precision, or the large matrices in 8 bits
*.onnx               the network's graphs, which read those weights (see `graphs`); older folders have none
tokenizer.json       word pieces
tower/               the image tower's graph, when it may travel with the model
README.md            the model card
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.core import fingerprint
from diptych.core.config import stated_without, to_dict
from diptych.core.protocols import Preprocess
from diptych.models.folder import SavedModel, has_graph, read_saved

from .graph_names import KEYS_VALUES
from .settings import NetworkSettings, ObjectiveSettings, ScoringSettings

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

    @property
    def is_captioner(self) -> bool:
        """Whether it was trained by captioning, so that it can describe images and explain its scores."""
        return self.objective.name == "captioning"

    @property
    def has_graphs(self) -> bool:
        """Whether the network runs on ONNX Runtime; older folders need PyTorch."""
        return has_graph(self, KEYS_VALUES)


def read_config(folder: Path) -> CrossConfig:
    """The config of a cross-encoder. Raises ModelError when the folder is not one."""
    made_by = "a cross-encoder: diptych train configs/cross_encoder.toml makes one"
    return read_saved(folder, CrossConfig, KIND, made_by)
