"""Weights to begin with: those of the network in the text side of a model of ours, such as a distilled student."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from diptych.core.errors import ConfigError
from diptych.core.registry import Part
from diptych.encoders.export import read_weights
from diptych.encoders.text.features_and_tokens import tokens_of

if TYPE_CHECKING:
    from diptych.models.dual import DualEncoder

OPTION = "begins_as"
_NOT_TAKEN = (OPTION, "drop", "rate", "frozen_epochs")


def with_options_of_beginning(part: Part, sizes: Mapping[str, Any]) -> Part:
    """The part with the options that it leaves out as those of the network that it begins as; else itself.

    `sizes` are the options that must be equal, with their defaults. Raises ConfigError where one differs, or for a
    model without such a network.
    """
    named = part.options.get(OPTION)
    if not named:
        return part
    started = _model(named).config.text.network
    if started is None or started.name != part.name:
        found = f"has {started.name if started else 'none'}"
        raise ConfigError(
            f"network.{OPTION} = {named!r}: expected a model with a text network {part.name!r}; it {found}"
        )
    for key, default in sizes.items():
        has = started.options.get(key, default)
        if part.options.get(key, has) != has:
            raise ConfigError(
                f"network.{key} is {part.options[key]}, and {has} in network.{OPTION} = {named!r}; leave {key} out"
            )
    taken = {key: value for key, value in started.options.items() if key not in _NOT_TAKEN}
    return Part(part.name, {**taken, **part.options})


def take_weights(network: nn.Module, named: str, tower: Any) -> None:
    """Give a network over the ids of `tower` the weights of that in the text side of the model `named`.

    Raises ConfigError for a model with another tokenizer or a network of other sizes.
    """
    from diptych.models import folder as files

    model = _model(named)
    theirs, own = tokens_of(model.text_tower), tokens_of(tower)
    if theirs is None or own is None or theirs.fingerprint != own.fingerprint:
        raise ConfigError(
            f"network.{OPTION} = {named!r} has another tokenizer than this config, so its weights are of other words; "
            f'name its own: "model:{named}" as text.tower, or as the last of the towers that are joined'
        )
    state = _below(read_weights(model.folder, files.TEXT_HEAD))
    if any(key.startswith("network.") for key in state):  # it stands beside features there
        state = _below(state)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(
            f"the weights of network.{OPTION} = {named!r} do not fit this network; leave out its sizes, and name a "
            "model of one member"
        ) from error


def _model(named: str) -> DualEncoder:
    from diptych.models import folder as files
    from diptych.models import load

    model = load(named)
    if model.joint:
        raise ConfigError(f"network.{OPTION} = {named!r}: expected the folder of a model that was trained here")
    files.verify(model.folder, model.config)
    return model


def _below(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = "network."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
