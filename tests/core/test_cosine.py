"""Cosines by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diptych.core.cosine import normalise
from diptych.core.similarity import cosine

rows = arrays(np.float32, (3, 4), elements=st.floats(-1e3, 1e3, width=32))


def test_by_hand() -> None:
    found = cosine(normalise(np.array([[3.0, 4.0], [0.0, 2.0]])), normalise(np.array([[4.0, 3.0]])))
    assert found == pytest.approx(np.array([[24 / 25], [3 / 5]]), abs=1e-6)
    assert found.dtype == np.float32


def test_a_zero_row_stays_zero() -> None:
    assert normalise(np.zeros((1, 3))).tolist() == [[0.0, 0.0, 0.0]]


@given(rows, rows)
def test_bounds_and_a_slow_twin(left: np.ndarray, right: np.ndarray) -> None:
    found = cosine(normalise(left), normalise(right))
    assert (np.abs(found) <= 1 + 1e-5).all()
    for i, a in enumerate(left.astype(float)):
        for j, b in enumerate(right.astype(float)):
            norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
            if norms > 1e-6:
                assert found[i, j] == pytest.approx(sum(x * y for x, y in zip(a, b, strict=True)) / norms, abs=1e-4)
