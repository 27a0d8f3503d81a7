"""Everything with weights to learn: both sides and the loss, built from a config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import nn

from diptych import losses
from diptych.core import registry
from diptych.core.config import Part
from diptych.core.errors import ConfigError, ModelError
from diptych.core.protocols import ImageTower, TextTower
from diptych.core.shapes import Int, Shaped
from diptych.data.features import FeaturePairs, ImageRows
from diptych.encoders.export import read_weights
from diptych.models import folder as files
from diptych.models import load
from diptych.models.heads import share_layers
from diptych.models.networks import build_network
from diptych.models.side import Side
from diptych.training.batch_order import TEXTS, BatchRows

from .config import SideSettings, TrainConfig
from .one_step import fit_linear, fit_of

_STATISTICS_NUMBERS = 1 << 26  # features that the input statistics are taken from
_STATISTICS_ROWS = 20_000
_STATISTICS_ROWS_OF_NETWORKS = 2_000  # each goes through the network once

Towers = tuple[ImageTower, TextTower]


class Pairing(nn.Module):
    """Both sides and the loss; a batch of rows in, the loss out.

    Args:
        image, text: rows of a tower to embeddings.
        loss: None where the heads are computed in one step.
    """

    def __init__(self, image: Side, text: Side, loss: losses.Loss | None) -> None:
        super().__init__()
        self.image = image
        self.text = text
        self.loss = loss

    def embed(self, pairs: FeaturePairs, rows: BatchRows, groups: Int[np.ndarray, " n"] | None) -> losses.Embedded:
        """Embeddings of a batch, with the record and the class of each row.

        The first of each pair is in the place of the image, the second in the place of the text, also in a batch
        within a modality, where both go through the same side.
        """
        device = next(self.parameters()).device

        def rows_of(row: np.ndarray, view: np.ndarray) -> torch.Tensor:
            if rows.loaded is not None:
                return cast(torch.Tensor, rows.loaded.take(row, view))
            return torch.from_numpy(image_rows(pairs, row, view)).to(device)

        def images(row: np.ndarray, view: np.ndarray) -> torch.Tensor:
            # images with several of their texts in a batch are embedded once; for a few repeats sorting costs more
            views, first, place = np.unique(row * len(pairs.images) + view, return_index=True, return_inverse=True)
            # a batch norm's statistics are those of the batch as it was drawn, however it is shared out
            if 2 * len(views) > len(row) or _learns_norms(self.image):
                return cast(torch.Tensor, self.image(rows_of(row, view)))
            embedded: torch.Tensor = self.image(rows_of(row[first], view[first]))
            return embedded[torch.from_numpy(place).to(device)]

        def texts(row: np.ndarray) -> torch.Tensor:
            return cast(torch.Tensor, self.text(torch.from_numpy(pairs.texts[row]).to(device)))

        if rows.second is None:
            both = images(rows.image, rows.view), texts(rows.text)
        elif rows.kind == TEXTS:
            both = texts(rows.text), texts(rows.second.row)
        else:
            both = images(rows.image, rows.view), images(rows.second.row, rows.second.view)
        return losses.Embedded(
            *both,
            torch.from_numpy(rows.owner).to(device),
            None if groups is None else torch.from_numpy(groups[rows.owner]).to(device),
        )


def build(config: TrainConfig, towers: Towers, seed: int, classes: int) -> Pairing:
    """Sides and loss with the weights they start from.

    Raises ConfigError for parts that do not fit each other, ModelError for an `init` that does not fit them.
    """
    torch.manual_seed(seed)
    image = _side(config.image, towers[0], config.dim)
    text = _side(config.text, towers[1], config.dim)
    share_layers(image.head, text.head)
    loss = registry.build("loss", config.loss, dim=config.dim, classes=classes) if config.loss else None
    module = Pairing(image, text, loss)
    if config.fit:
        fit_of(config)
    if config.init:
        _start_from(module, config)
    return module


def fit_statistics(module: Pairing, training: FeaturePairs, seed: int) -> None:
    """Take the input statistics of both heads from a sample of the training rows."""
    for side, rows in ((module.image, training.images[0]), (module.text, training.texts)):
        most = _STATISTICS_ROWS if side.network is None else _STATISTICS_ROWS_OF_NETWORKS
        enough = min(most, _STATISTICS_NUMBERS // rows.dim)
        side.fit_statistics(torch.from_numpy(_sample(rows, enough, seed)))


def fit_in_one_step(module: Pairing, config: TrainConfig, training: FeaturePairs) -> None:
    """Compute linear heads from plain images and their texts, as `config.fit` says."""
    for side, fitted in zip((module.image, module.text), fit_linear(config, training), strict=True):
        side.head.load_state_dict({key: torch.from_numpy(value) for key, value in fitted.weights().items()})


def _learns_norms(side: nn.Module) -> bool:
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training for part in side.modules())


def number_groups(groups: Sequence[str | None]) -> Int[np.ndarray, " n"] | None:
    """Classes as numbers in order of their names, -1 for a record without one; None when no record has one."""
    names = sorted({group for group in groups if group is not None})
    if not names:
        return None
    number = {name: place for place, name in enumerate(names)}
    return np.array([-1 if group is None else number[group] for group in groups], dtype=np.int64)


def image_rows(
    training: FeaturePairs, image: Int[np.ndarray, " b"], view: Int[np.ndarray, " b"]
) -> Shaped[np.ndarray, "b f"]:
    """The cached rows of images, each under its view."""
    found = training.images[0][image]
    for number, stored in enumerate(training.images[1:], 1):
        here = view == number
        if here.any():
            found[here] = stored[image[here]]
    return found


def _side(settings: SideSettings, tower: ImageTower | TextTower, dim: int) -> Side:
    if settings.head is None:
        raise ConfigError("the config has no head; call resolved() first")
    network = build_network(settings.network, tower) if settings.network else None
    features = network.dim if network else tower.dim
    return Side(network, registry.build("head", settings.head, features=features, dim=dim))


def _sample(rows: ImageRows, count: int, seed: int) -> Shaped[np.ndarray, "n f"]:
    return rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])]


def _start_from(module: Pairing, config: TrainConfig) -> None:
    model = load(config.init)
    folder = model.folder
    files.verify(folder, model.config)
    sides = (
        (module.image, files.IMAGE_HEAD, model.config.image),
        (module.text, files.TEXT_HEAD, model.config.text),
    )
    for side, name, started in sides:
        # A network that the older model does not have is new: only the head above it goes on.
        target = side if side.network is not None and started.network is not None else side.head
        try:
            target.load_state_dict(read_weights(folder, name))
        except RuntimeError as error:
            raise ModelError(_misfit(config, model.config)) from error


def _misfit(config: TrainConfig, started: files.ModelConfig) -> str:
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
