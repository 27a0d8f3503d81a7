"""Weights of convolutions rounded to 8 bits, so that every x86 computes the same.

A processor without an instruction for products of bytes (x86 before VNNI) multiplies two neighbouring input channels,
of 0 to 255, by their weights, adds the two products in 16 bits, and silently cuts off what is larger. It cannot be
larger where two weights of one sign add up to 128 at most. Where a channel's largest weight became 127 this would
fail for about one pair in a hundred; so each channel gets the scale at which rounding, and making such pairs smaller,
change its weights least. Depthwise convolutions multiply in 32 bits, and need none of this.
"""

from __future__ import annotations

import numpy as np

from diptych.core.shapes import Float, Float32

_MOST = 127
_PAIR = 128  # 255 x 128 < 2^15
_LEAST = 1e-3  # of the largest range: a bias has the scale of its weights, which those of a dead channel do not set
_FACTORS = np.linspace(0.7, 2, 40)  # of the largest weight, tried as the range


def byte_range(weight: Float[np.ndarray, "o c *k"]) -> Float32[np.ndarray, " o"]:
    """What 127 stands for, for each output channel."""
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    peak = np.abs(flat).max(axis=1)
    peak = np.maximum(peak, _LEAST * (peak.max() or 1))
    if weight.shape[1] == 1:
        return np.asarray(peak, dtype=np.float32)
    if flat.shape[1] > weight.shape[1]:  # which weights meet depends on the processor: any two of one channel may
        ordered = np.sort(flat, axis=1)
        sums = np.maximum(np.maximum(ordered[:, -2:], 0).sum(axis=1), -np.minimum(ordered[:, :2], 0).sum(axis=1))
        return np.asarray(np.maximum(peak, sums), dtype=np.float32)  # 127 for both, and 128 once they are rounded up
    ranges: Float32[np.ndarray, " o"] = peak.astype(np.float32)
    least = np.full(len(flat), np.inf)
    for factor in _FACTORS:
        tried = (peak * factor).astype(np.float32)
        error = ((_rounded(flat, tried) - flat) ** 2).sum(axis=1)
        ranges = np.where(error < least, tried, ranges)
        least = np.minimum(error, least)
    return ranges


def rounded(weight: Float[np.ndarray, "o c *k"], ranges: Float32[np.ndarray, " o"]) -> Float32[np.ndarray, "o c *k"]:
    """The weights that bytes of these ranges stand for."""
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    found = _rounded(flat, ranges, pairs=flat.shape[1] == weight.shape[1] > 1)
    return np.asarray(found.reshape(weight.shape), dtype=np.float32)


def _rounded(
    flat: Float[np.ndarray, "o n"], ranges: Float32[np.ndarray, " o"], *, pairs: bool = True
) -> Float[np.ndarray, "o n"]:
    scale = ranges.astype(np.float64)[:, None] / _MOST
    whole = np.clip(np.rint(flat / scale), -_MOST, _MOST)
    if pairs:
        paired = np.pad(whole, ((0, 0), (0, whole.shape[1] % 2))).reshape(len(whole), -1, 2)
        for sign in (1, -1):
            sizes = np.maximum(sign * paired, 0)
            excess = np.maximum(sizes.sum(axis=2, keepdims=True) - _PAIR, 0)
            # both are larger than the half of it, since neither is above 127
            paired -= sign * np.concatenate([np.ceil(excess / 2), np.floor(excess / 2)], axis=2)
        whole = paired.reshape(len(whole), -1)[:, : whole.shape[1]]
    return np.asarray(whole * scale)
