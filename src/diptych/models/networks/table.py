"""The table of networks, and how one is built from a config."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from diptych.core.config import Part, check_options, unknown
from diptych.core.errors import ConfigError
from diptych.models.networks.base import Network

NETWORKS: Mapping[str, str] = {
    "backbone": "diptych.models.networks.backbone:Backbone",
    "bag": "diptych.models.networks.bag:BagOfWords",
    "efficientnet_tail": "diptych.models.networks.efficientnet_tail:EfficientNetTail",
    "gru": "diptych.models.networks.recurrent:GRUText",
    "transformer": "diptych.models.networks.transformer:TransformerText",
    "transformers": "diptych.models.networks.pretrained_text:PretrainedText",
}
_FROM_TOWER = ("features", "length", "vocabulary")  # what a network may ask about the rows below it


def build_network(part: Part, tower: Any) -> Network:
    """The network that a config names, on the rows of `tower`.

    Raises ConfigError for an unknown name or option, and for a tower whose rows it cannot read.
    """
    if part.name not in NETWORKS:
        raise unknown("network", part.name, NETWORKS)
    module, _, attribute = NETWORKS[part.name].partition(":")
    make: Any = getattr(importlib.import_module(module), attribute)
    parameters = inspect.signature(make).parameters
    known = {"features": tower.dim, "length": tower.dim, "vocabulary": getattr(tower, "vocabulary", None)}
    given = {name: known[name] for name in _FROM_TOWER if name in parameters}
    where = f"network {part.name!r}"
    if "vocabulary" in given and given["vocabulary"] is None:
        raise ConfigError(f'{where} reads token ids; set tower = {{name = "words"}}, "wordpiece" or "tokens:FOLDER"')
    if "features" in given and getattr(tower, "vocabulary", None) is not None:
        raise ConfigError(f"{where} reads features or pixels, found a tower of token ids")
    options = [name for name in parameters if name not in given]
    check_options(part.options, options, where)
    missing = [
        name for name in options if parameters[name].default is inspect.Parameter.empty and name not in part.options
    ]
    if missing:
        raise ConfigError(f"{where} needs {', '.join(missing)}; it takes {', '.join(sorted(options))}")
    try:
        network: Network = make(**given, **part.options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{where} cannot take {dict(part.options)}: {error}") from error
    return network
