from __future__ import annotations

import numpy as np

from diptych.library.token_codec import pack, packed_size, unpack


def test_a_row_by_hand():
    tokens = np.array([[[127, -3, 0.4], [0, 0, 0]]], dtype=np.float32)
    rows = pack(tokens)
    assert rows.shape == (1, packed_size(2, 3)) == (1, 10)
    assert rows[0, :6].view(np.int8).tolist() == [127, -3, 0, 0, 0, 0]  # the scale of the first token is 1
    assert unpack(rows, 2, 3).tolist() == [[[127, -3, 0], [0, 0, 0]]]


def test_a_number_is_off_by_half_a_scale_at_most():
    tokens = np.random.default_rng(0).normal(size=(5, 49, 64)).astype(np.float16)
    found = unpack(pack(tokens), 49, 64)
    scales = np.abs(tokens).max(axis=2, keepdims=True).astype(np.float32) / 127
    assert (np.abs(found.astype(np.float32) - tokens) <= 0.51 * scales + 1e-3).all()
    assert packed_size(49, 256) <= 15_000
