"""From a config to everything with weights to learn: both sides and the loss, and the weights they start from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from diptych.core import registry
from diptych.core.config import Part
from diptych.core.errors import ConfigError, ModelError
from diptych.core.protocols import ImageTower, TextTower
from diptych.core.shapes import Shaped
from diptych.data.features import FeaturePairs, ImageRows
from diptych.encoders.export import read_weights
from diptych.encoders.joint import is_joint
from diptych.encoders.none import NONE
from diptych.models import DualEncoder, load
from diptych.models import folder as files
from diptych.models.heads import share_layers
from diptych.models.networks import Network, build_network
from diptych.models.side import Side, build_side
from diptych.training.two_sides import TwoSides

from .config import DualEncoderConfig, SideSettings

_STATISTICS_NUMBERS = 1 << 26  # features that the input statistics are taken from
_STATISTICS_ROWS = 20_000
_STATISTICS_ROWS_OF_NETWORKS = 2_000  # each goes through the network once

Towers = tuple[ImageTower, TextTower]


def build(config: DualEncoderConfig, towers: Towers, seed: int, classes: int) -> TwoSides:
    """Sides and loss with the weights they start from.

    Raises ConfigError for parts that do not fit each other, ModelError for an `init` that does not fit them.
    """
    torch.manual_seed(seed)
    image = _side(config.image, towers[0], config.dim)
    text = _side(config.text, towers[1], config.dim)
    query = _side(config.query, towers[1], config.dim) if config.query else None
    share_layers(image.head, text.head)
    loss = registry.build("loss", config.loss, dim=config.dim, classes=classes) if config.loss else None
    module = TwoSides(image, text, loss, query)
    if config.init and not is_joint(config.init):
        _start_from(module, config)
    for side in filter(None, (image, text, query)):
        side.start()
    return module


def frozen_network(config: DualEncoderConfig, side: str, tower: ImageTower | TextTower) -> Network:
    """The network of a frozen side, with the weights of `init`."""
    settings: SideSettings = getattr(config, side)
    if settings.network is None:
        raise ConfigError(f"{side}.frozen has no network to keep")
    network = build_network(settings.network, tower)
    if not is_joint(config.init):
        model = _trainable(config.init)
        name = files.IMAGE_HEAD if side == "image" else files.TEXT_HEAD
        try:
            network.load_state_dict(_below(read_weights(model.folder, name), "network."))
        except RuntimeError as error:
            raise ModelError(_misfit(config, model.config)) from error
    return network.requires_grad_(False).eval()


def fit_statistics(module: TwoSides, training: FeaturePairs, seed: int, config: DualEncoderConfig) -> None:
    """Take the input statistics of the heads that begin from scratch from a sample of the training rows."""

    def begins(side: SideSettings) -> bool:
        return not config.init or is_joint(config.init) or side.fresh

    every: list[tuple[Side, ImageRows]] = [(module.image, rows) for rows in training.images[:1] if begins(config.image)]
    if len(training.texts) and begins(config.text):
        every += [(side, training.texts) for side in (module.text, module.query) if side]
    for side, rows in every:
        most = _STATISTICS_ROWS if side.network is None else _STATISTICS_ROWS_OF_NETWORKS
        enough = min(most, _STATISTICS_NUMBERS // rows.dim)
        side.fit_statistics(torch.from_numpy(_sample(rows, enough, seed)))


def _side(settings: SideSettings, tower: ImageTower | TextTower, dim: int) -> Side:
    if settings.head is None:
        raise ConfigError("the config has no head; call resolved() first")
    return build_side(None if settings.frozen else settings.network, settings.head, tower, dim)


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _sample(rows: ImageRows, count: int, seed: int) -> Shaped[np.ndarray, "n f"]:
    return rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])]


def _start_from(module: TwoSides, config: DualEncoderConfig) -> None:
    model = _trainable(config.init)
    folder = model.folder
    sides = (
        (module.image, files.IMAGE_HEAD, model.config.image),
        (module.text, files.TEXT_HEAD, model.config.text),
    )
    for side, name, started in sides:
        settings: SideSettings = config.image if name == files.IMAGE_HEAD else config.text
        if settings.fresh or NONE in (started.tower, settings.named_tower.name):
            continue
        # A network that the older model does not have is new: only the head above it goes on.
        target = side if side.network is not None and started.network is not None else side.head
        state = read_weights(folder, name)
        if side.network is None and started.network is not None:
            state = _below(state, "head.")
        try:
            target.load_state_dict(state)
        except RuntimeError as error:
            raise ModelError(_misfit(config, model.config)) from error


def _trainable(init: str) -> DualEncoder:
    """The model that training starts from, whole."""
    model = load(init)
    files.verify(model.folder, model.config)
    return model


def _misfit(config: DualEncoderConfig, started: files.ModelConfig) -> str:
    """One sentence: what `init` has, and what the config asks for in its place."""
    apart = [f"dim {started.dim}, not {config.dim}"] if started.dim != config.dim else []
    for name in ("image", "text"):
        for what in ("head", "network"):
            has, wanted = (getattr(getattr(each, name), what) for each in (started, config))
            if has != wanted and (what == "head" or (has and wanted)):
                apart.append(f"the {name} {what} {_kind(has)}, not {_kind(wanted)}")
    said = "; it has " + ", ".join(apart) if apart else ""
    return (
        f"the weights of init = {config.init!r} do not fit this config{said}; leave out dim, head and network, which "
        "are then those of init, or leave out init"
    )


def _kind(part: Part) -> str:
    """A part in few words: `mlp (hidden 32)`, `ensemble of 3 mlp`."""
    members = part.options.get("members")
    if members:
        return f"{part.name} of {len(members)} {members[0]['name']}"
    options = ", ".join(f"{key} {value}" for key, value in part.options.items())
    return f"{part.name} ({options})" if options else part.name
