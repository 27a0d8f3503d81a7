"""Losses, one a file. A loss takes an `Embedded` batch of embeddings and says how wrong the space is.

`LOSSES` names them for configs; each is imported only when asked for.
"""

from diptych.losses.base import Embedded, Loss
from diptych.losses.table import LOSSES, build

__all__ = ["LOSSES", "Embedded", "Loss", "build"]
