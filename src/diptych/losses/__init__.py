"""Losses, one a file. A loss takes an `Embedded` batch of embeddings and says how wrong the space is.

`LOSSES` names them for configs; each is imported only when asked for.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from diptych.core.config import Part, check_options, unknown
from diptych.core.errors import ConfigError
from diptych.losses.base import Embedded, Loss

LOSSES = {
    "info_nce": "diptych.losses.info_nce:InfoNCE",
}


def build(part: Part) -> Loss:
    """The loss that a config names, with its options checked against the loss's own signature.

    Raises ConfigError for an unknown name or option.
    """
    if part.name not in LOSSES:
        raise unknown("loss", part.name, LOSSES)
    module, _, attribute = LOSSES[part.name].partition(":")
    cls: Any = getattr(importlib.import_module(module), attribute)
    check_options(part.options, list(inspect.signature(cls).parameters), f"loss {part.name!r}")
    try:
        loss: Loss = cls(**part.options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"loss {part.name!r} cannot take {dict(part.options)}: {error}") from error
    return loss


__all__ = ["LOSSES", "Embedded", "Loss", "build"]
