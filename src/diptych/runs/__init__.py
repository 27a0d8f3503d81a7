"""The composition root: from a config to towers, networks, heads, loss, trainer and a saved model.

The only place that knows all the tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .config import DataConfig, SideSettings, TrainConfig

if TYPE_CHECKING:
    from .dual_encoder import TrainReport, forget, read_splits, train


def __getattr__(name: str) -> Any:
    """What trains is imported when it is first used: measuring and drawing need no PyTorch."""
    if name in __all__:
        from . import dual_encoder as dual

        return getattr(dual, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["DataConfig", "SideSettings", "TrainConfig", "TrainReport", "forget", "read_splits", "train"]
