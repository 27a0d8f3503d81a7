"""Losses, one a file: each takes an `Embedded` batch of embeddings and says how wrong the space is.

A loss is registered by its name for configs (`@register.loss("info_nce")`); see `diptych.core.registry`.
"""

from diptych.losses.base import Embedded, Loss

__all__ = ["Embedded", "Loss"]
