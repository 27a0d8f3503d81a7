"""What every network is, and what those over token ids share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from diptych.core.checks import at_least
from diptych.core.errors import ConfigError
from diptych.core.registry import KINDS, Part, build, check_options, get
from diptych.core.shapes import Bool, Float, Int, Shaped
from diptych.encoders.text.features_and_tokens import FeaturesAndTokens


class Network(nn.Module):
    """Turns each of a tower's rows into `dim` features, which the head maps into the shared space.

    `pretrained` says whether its features are useful before training; only then are the head's input
    statistics fitted on them. The trainer reads `learning_rate_scale` and `frozen_epochs`: a
    backbone learns more slowly than the head above it, and starts some epochs later. `any_length` says whether its
    exported form takes rows of token ids of any length, so that a batch ends with its longest text.
    """

    dim: int
    pretrained = False
    learning_rate_scale = 1.0
    frozen_epochs = 0
    any_length = False

    def forward(self, rows: Shaped[Tensor, "b n"]) -> Float[Tensor, "b f"]:
        """Features of a batch of rows."""
        raise NotImplementedError

    def fit_statistics(self, sample: Shaped[Tensor, "n m"]) -> None:
        """Fit what standardises the rows, where anything does, on training rows."""

    def start(self) -> None:
        """Called once the weights that training starts from are in place: what only training needs is added here."""

    def for_export(self) -> Network:
        """The same function in a form that can be exported: itself, unless something must be merged first."""
        return self

    def begin(self, tower: Any) -> None:
        """Take the weights to begin with from where an option names another model; `tower` gives the rows."""

    @classmethod
    def resolved(cls, part: Part) -> Part:
        """The part with what it leaves out and takes from elsewhere written out."""
        return part

    @classmethod
    def saved(cls, part: Part) -> Part:
        """How a saved model names what `for_export` gives, where `part` is how the config names it."""
        return part


def build_network(part: Part, tower: Any) -> Network:
    """The network that a config names, on the rows of `tower`.

    It may take `features` or `length` (the width of a row), or `vocabulary` (the number of token ids). Where features
    stand before the ids, it reads the ids, beside the features: see `BesideFeatures`, whose option `drop` the part may
    have. Raises ConfigError for an unknown name or option, and for a tower whose rows it cannot read.
    """
    takes = inspect.signature(get("network", part.name)).parameters
    if isinstance(tower, FeaturesAndTokens):
        from diptych.models.networks.beside_features import OPTION, BesideFeatures

        check_options(part.options, {*takes, OPTION} - {*KINDS["network"].known}, f"network {part.name!r}")
        below = Part(part.name, {key: value for key, value in part.options.items() if key != OPTION})
        network = build_network(below, tower.tokens)
        return BesideFeatures(network, tower.features.dim, part.options.get(OPTION, 0.0))
    where, vocabulary = f"network {part.name!r}", getattr(tower, "vocabulary", None)
    if "vocabulary" in takes and vocabulary is None:
        raise ConfigError(f'{where} reads token ids; set tower = {{name = "words"}}, "wordpiece" or "tokens:FOLDER"')
    if "features" in takes and vocabulary is not None:
        raise ConfigError(f"{where} reads features or pixels, found a tower of token ids")
    made: Network = build("network", part, features=tower.dim, length=tower.dim, vocabulary=vocabulary)
    made.begin(tower)
    return made


def trim_padding(ids: Int[Tensor, "b l"]) -> Int[Tensor, "b k"]:
    """The ids without the last columns that are padding (-1) in every row; all of them while being exported."""
    if is_tracing():
        return ids
    kept = (ids >= 0).any(0).nonzero()
    return ids[:, : int(kept[-1]) + 1 if len(kept) else 1]


def by_length(
    ids: Int[Tensor, "b l"], network: Callable[[Int[Tensor, "n k"]], Float[Tensor, "n f"]], at_once: int
) -> Float[Tensor, "b f"]:
    """What `network` makes of rows of ids, `at_once` rows of about equal length at a time: little padding is computed.

    All at once while being exported.
    """
    if is_tracing() or len(ids) <= at_once:
        return network(ids)
    order = (ids >= 0).sum(1).argsort(stable=True)
    made = torch.cat([network(trim_padding(ids[part])) for part in torch.split(order, at_once)])
    return made[order.argsort()]


def is_tracing() -> bool:
    """Whether the network is being exported, where sizes must not depend on the data."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined,no-untyped-call]


def mask_of(ids: Int[Tensor, "b l"]) -> Bool[Tensor, "b l"]:
    """True where there is a token."""
    return ids >= 0


def set_pace(network: Network, rate: float, frozen_epochs: int) -> None:
    """Set what the trainer reads about a pretrained network: its share of the rate, and its frozen epochs.

    Raises ConfigError for impossible values.
    """
    if not 0 < rate <= 1:
        raise ConfigError(f"rate is a share of the head's learning rate, above 0 and at most 1; found {rate}")
    at_least("frozen_epochs", frozen_epochs, 0)
    network.learning_rate_scale = float(rate)
    network.frozen_epochs = frozen_epochs
