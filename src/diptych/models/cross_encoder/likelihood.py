"""Likelihood of words over a whole vocabulary without ever holding all logits.

Rows are computed in chunks that fit the processor's cache. Where gradients are needed, those of a chunk are computed
together with its probabilities. The numbers are those of `cross_entropy` on the full
logits, which the tests check.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from diptych.core.shapes import Float, Int

_ROWS = 512


class _WordLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        count, size = len(states), len(weight)
        low = states.dtype
        narrow = weight.to(low)
        grad_states = torch.empty_like(states)
        grad_weight = torch.zeros_like(weight)
        grad_bias = torch.zeros_like(bias)
        total = states.new_zeros((), dtype=torch.float32)
        for start in range(0, count, _ROWS):
            part = states[start : start + _ROWS]
            wanted = targets[start : start + _ROWS, None]
            logits = (part @ narrow.T).float() + bias
            right, mean = logits.gather(1, wanted), logits.mean(1)
            top = logits.amax(1, keepdim=True)
            odds = logits.sub_(top).exp_()
            sums = odds.sum(1, keepdim=True)
            total += ((sums.log() + top).squeeze(1) - (1 - smoothing) * right.squeeze(1) - smoothing * mean).sum()
            slope = odds.div_(sums)
            if smoothing:
                slope.sub_(smoothing / size)
            slope.scatter_add_(1, wanted, slope.new_full(wanted.shape, smoothing - 1))
            grad_bias += slope.sum(0)
            slope = slope.to(low)
            grad_states[start : start + _ROWS] = slope @ narrow
            grad_weight += (slope.T @ part).to(grad_weight.dtype)
        ctx.save_for_backward(grad_states, grad_weight, grad_bias)
        ctx.count = count
        return total / count

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> Any:
        states, weight, bias = ctx.saved_tensors
        scale = slopes[0] / ctx.count
        return states * scale.to(states.dtype), weight * scale, bias * scale, None, None


def word_loss(
    states: Float[Tensor, "n w"],
    weight: Float[Tensor, "v w"],
    bias: Float[Tensor, " v"],
    targets: Int[Tensor, " n"],
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean of -log p(target), smoothed as `torch.nn.functional.cross_entropy` does."""
    loss: Tensor = _WordLoss.apply(states, weight, bias, targets, label_smoothing)  # type: ignore[no-untyped-call]
    return loss


def log_probabilities(
    states: Float[Tensor, "n w"],
    weight: Float[Tensor, "v w"],
    bias: Float[Tensor, " v"],
    targets: Int[Tensor, " n"],
) -> Float[Tensor, " n"]:
    """log p(target) of each row, in single precision. For gradients all logits are kept: give it few rows then."""
    if torch.onnx.is_in_onnx_export():  # the number of rows is open there, so they cannot be cut into chunks
        logits = functional.linear(states, weight, bias)
        return functional.log_softmax(logits, dim=-1).gather(1, targets[:, None]).squeeze(1)
    found = []
    narrow = weight.to(states.dtype)
    for part, wanted in zip(torch.split(states, _ROWS), torch.split(targets, _ROWS), strict=True):
        logits = (part @ narrow.T).float() + bias
        # The right word's own logit in single precision: its rounding would otherwise add up over the text.
        right = (part.float() * weight[wanted]).sum(1) + bias[wanted]
        found.append(right - logits.logsumexp(1))
    return torch.cat(found)
