"""The table of losses, and how one is built from a config."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from diptych.core.config import Part, check_options, unknown
from diptych.core.errors import ConfigError
from diptych.losses.base import Loss

LOSSES = {
    "adversarial": "diptych.losses.adversarial:Adversarial",
    "class_aware_triplet": "diptych.losses.class_aware_triplet:ClassAwareTriplet",
    "combined": "diptych.losses.combined:combined",
    "info_nce": "diptych.losses.info_nce:InfoNCE",
    "instance_discrimination": "diptych.losses.instance_discrimination:InstanceDiscrimination",
    "matryoshka": "diptych.losses.matryoshka:matryoshka",
    "max_hinge": "diptych.losses.max_hinge:MaxHinge",
    "sigmoid": "diptych.losses.sigmoid:Sigmoid",
    "sum_hinge": "diptych.losses.sum_hinge:SumHinge",
    "supervised_contrast": "diptych.losses.supervised_contrast:SupervisedContrast",
}


def build(part: Part, dim: int | None = None, classes: int | None = None) -> Loss:
    """The loss that a config names, with its options checked against the loss's own signature.

    Args:
        part: name and options.
        dim: width of the embeddings, for losses whose parameters depend on it.
        classes: how many classes the training data has, for losses that classify them.

    Raises ConfigError for an unknown name or option, and where `dim` is needed and missing.
    """
    if part.name not in LOSSES:
        raise unknown("loss", part.name, LOSSES)
    module, _, attribute = LOSSES[part.name].partition(":")
    make: Any = getattr(importlib.import_module(module), attribute)
    parameters = inspect.signature(make).parameters
    known = {key: value for key, value in (("dim", dim), ("classes", classes)) if key in parameters}
    options = [key for key in parameters if key not in known]
    where = f"loss {part.name!r}"
    check_options(part.options, options, where)
    required = {key for key, parameter in parameters.items() if parameter.default is inspect.Parameter.empty}
    if "dim" in required and dim is None:
        raise ConfigError(f"{where} needs the width of the embeddings, found none; pass dim when building it")
    if missing := sorted(required - set(part.options) - set(known)):
        raise ConfigError(f"{where} needs {', '.join(missing)}; it takes {', '.join(sorted(options))}")
    try:
        loss: Loss = make(**part.options, **known)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where} cannot take {dict(part.options)}: {error}") from error
    return loss


def part_of(value: Any, where: str) -> Part:
    """A part within a part: a name, or a table with a name and options. Raises ConfigError for anything else."""
    if isinstance(value, str):
        return Part(value)
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise ConfigError(f'{where} takes losses, each a name or a table with name = "...", found {value!r}')
    return Part(value["name"], {key: item for key, item in value.items() if key != "name"})
