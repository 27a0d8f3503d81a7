"""Batch norms whose statistics are those of the whole batch, over all processes.

PyTorch's own SyncBatchNorm runs on GPUs only; this one runs wherever an all-reduce does.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm

from diptych.core.errors import ConfigError

_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SyncedBatchNorm(_BatchNorm):
    """The batch norm `norm` with its own weights; in training its statistics are those of all processes' rows.

    Mean and variance are sums over the processes, through which the gradient flows back to all of them, so that it
    is that of one process with the whole batch.

    Args:
        norm: of one of PyTorch's three kinds.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        nn.Module.__init__(self)
        self.num_features, self.eps, self.momentum = norm.num_features, norm.eps, norm.momentum
        self.affine, self.track_running_stats = norm.affine, norm.track_running_stats
        self.weight, self.bias = norm.weight, norm.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))
        self.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions will do: features are the second."""

    def forward(self, input: Tensor) -> Tensor:
        """As the norm's own."""
        if not self.training:
            return super().forward(input)
        rows = input.float()
        others = [dim for dim in range(rows.ndim) if dim != 1]
        shape = [1, -1, *[1] * (rows.ndim - 2)]
        own = torch.cat([rows.sum(others), rows.new_tensor([rows.numel() // rows.shape[1]])])
        sums = all_reduce(own)  # type: ignore[no-untyped-call]
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = rows - mean.view(shape)
        variance = all_reduce(centred.square().sum(others)) / count  # type: ignore[no-untyped-call]
        self._update_running(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        found = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            found = found * self.weight.view(shape) + self.bias.view(shape)
        return cast(Tensor, found.to(input.dtype))

    @torch.no_grad()
    def _update_running(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def sync_batch_norms(module: nn.Module) -> nn.Module:
    """Put `SyncedBatchNorm` in the place of each batch norm within `module`, and return it.

    Call it before the optimiser is made, and in every process. A norm of another kind stays; `check_norms` refuses it
    when it learns.
    """
    if type(module) in _KINDS:
        return SyncedBatchNorm(cast(_BatchNorm, module))
    for name, child in module.named_children():
        setattr(module, name, sync_batch_norms(child))
    return module


def check_norms(module: nn.Module, processes: int) -> None:
    """Raise ConfigError for a batch norm that learns from its own process's rows alone, where there are several."""
    for name, part in module.named_modules():
        if processes > 1 and isinstance(part, _BatchNorm) and part.training and not isinstance(part, SyncedBatchNorm):
            raise ConfigError(
                f"the batch norm {name} ({type(part).__name__}) would see the rows of its own process only, so that "
                f"{processes} processes would give another result than one; train in one process, or keep its "
                "statistics (frozen_norms = true)"
            )
