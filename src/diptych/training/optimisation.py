"""Which parameters learn, at which share of the learning rate, from which epoch, by which optimiser.

Two attributes of a submodule are read: `learning_rate_scale` (its parameters learn at that share of the rate, as a
pretrained backbone should) and `frozen_epochs` (in so many first epochs it is frozen: no gradient, and evaluation mode,
so that its dropout is off and the statistics of its batch norms stay).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from diptych.training.settings import TrainingSettings


def build_optimiser(module: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """The optimiser over all parameters that learn. Its groups know their `scale` of the learning rate."""
    groups = parameter_groups(module, settings.weight_decay)
    # One fused pass over the weights. A gradient scaler must see the gradients before the optimiser does.
    common: dict[str, Any] = {"lr": settings.learning_rate, "fused": settings.precision != "16-mixed"}
    match settings.optimiser:
        case "sgd":
            return torch.optim.SGD(groups, momentum=settings.momentum, **common)
        case "adam":
            return torch.optim.Adam(groups, betas=(settings.momentum, 0.999), **common)
    return torch.optim.AdamW(groups, betas=(settings.momentum, 0.999), **common)


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and temperatures do not. Where two scales meet, the inner part's counts."""
    scale_of: dict[nn.Parameter, float] = {}
    for part in module.modules():
        scale = getattr(part, "learning_rate_scale", None)
        if scale is not None:
            scale_of.update(dict.fromkeys(part.parameters(), float(scale)))
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            decay = weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((scale_of.get(parameter, 1.0), decay), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "scale": scale} for (scale, decay), parameters in groups.items()
    ]


class WarmUpFreeze:
    """Freezes submodules with `frozen_epochs` in their first epochs.

    Args:
        module: the whole. Parameters that do not learn when this is made never will.
    """

    def __init__(self, module: nn.Module) -> None:
        self._learning = {each for each in module.parameters() if each.requires_grad}
        self._parts = [part for part in module.modules() if getattr(part, "frozen_epochs", 0)]

    def start_epoch(self, epoch: int) -> None:
        """Freeze what is frozen in `epoch` (from 0), and unfreeze the rest; call it after `module.train()`."""
        frozen = [part for part in self._parts if epoch < int(part.frozen_epochs)]  # type: ignore[arg-type]
        fixed = {parameter for part in frozen for parameter in part.parameters()}
        for parameter in self._learning:
            parameter.requires_grad_(parameter not in fixed)
        for part in frozen:
            part.eval()
