"""Weights of convolutions in 8 bits: near, and no two products exceed 16 bits."""

from __future__ import annotations

import numpy as np
import pytest

from diptych.encoders.image.byte_weights import byte_range, rounded

RANDOM = np.random.default_rng(0)


def whole(weight: np.ndarray) -> np.ndarray:
    """The bytes, from what they stand for."""
    ranges = byte_range(weight)
    scale = ranges.astype(np.float64).reshape(-1, *[1] * (weight.ndim - 1)) / 127
    found = rounded(weight, ranges) / scale
    assert found == pytest.approx(np.rint(found), abs=1e-3)
    assert np.abs(found).max() < 127.5
    return np.rint(found)


@pytest.mark.parametrize("channels", [32, 33])
def test_two_neighbouring_weights_of_one_sign_never_add_up_to_more_than_128(channels: int) -> None:
    weight = RANDOM.standard_normal((64, channels, 1, 1)).astype(np.float32)
    found = np.pad(whole(weight)[:, :, 0, 0], ((0, 0), (0, channels % 2))).reshape(64, -1, 2)
    assert np.maximum(found, 0).sum(axis=2).max() <= 128
    assert np.minimum(found, 0).sum(axis=2).min() >= -128
    seven_bits = np.abs(weight).max(axis=1, keepdims=True) / 63
    errors = [np.mean((made - weight) ** 2) for made in (
        rounded(weight, byte_range(weight)), np.rint(weight / seven_bits) * seven_bits
    )]  # fmt: skip
    assert errors[0] < 0.6 * errors[1]


def test_larger_kernels_are_safe_for_any_two_weights_and_depthwise_ones_use_all_bits() -> None:
    found = np.sort(whole(RANDOM.standard_normal((16, 3, 3, 3)).astype(np.float32)).reshape(16, -1), axis=1)
    assert found[:, -2:].sum(axis=1).max() <= 128
    assert found[:, :2].sum(axis=1).min() >= -128
    depthwise = np.array([[[[1.0, 1.0, -0.5]]], [[[0.0, 0.0, 0.0]]]], dtype=np.float32)
    assert whole(depthwise)[0, 0, 0].tolist() == [127, 127, -64]  # -63.5, to even
    assert rounded(depthwise, byte_range(depthwise))[1].tolist() == [[[0.0, 0.0, 0.0]]]


def test_a_channel_of_zeros_has_a_range_like_the_others_for_the_sake_of_its_bias() -> None:
    dead = np.array([2.0, 0.0], dtype=np.float32).reshape(2, 1, 1, 1)
    assert byte_range(dead).tolist() == pytest.approx([2, 2e-3])
    assert byte_range(np.zeros_like(dead)).tolist() == pytest.approx([1e-3, 1e-3])
