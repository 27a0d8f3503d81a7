"""The composition root: from a config to towers, networks, heads, loss, trainer and a saved model.

The only place that knows all the tables.
"""

from diptych.compose.config import DataConfig, SideSettings, TrainConfig
from diptych.compose.train import TrainReport, forget, read_splits, train

__all__ = ["DataConfig", "SideSettings", "TrainConfig", "TrainReport", "forget", "read_splits", "train"]
