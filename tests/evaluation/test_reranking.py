from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.errors import DataError
from diptych.evaluation.reranking import Rescoring, reranked_scores, top


def test_by_hand():
    fast = np.array([[0.9, 0.1, 0.8, 0.5]])
    candidates = top(fast, 3)
    assert candidates.tolist() == [[0, 2, 3]]
    combined = reranked_scores(fast, candidates, np.array([[-5.0, -2.0, -3.0]]), beta=1.0, k=2)
    # item 2: -2 + 0.8, item 0: -5 + 0.9, then by fast: 3, 1
    assert np.argsort(-combined[0]).tolist() == [2, 0, 3, 1]
    assert np.argsort(-reranked_scores(fast, candidates, np.array([[-5.0, -2.0, -3.0]]), 100.0, 2)[0]).tolist() == [
        0,
        2,
        3,
        1,
    ]


def test_too_few_candidates():
    with pytest.raises(DataError, match="found 2 candidates"):
        reranked_scores(np.zeros((1, 4)), np.zeros((1, 2), dtype=np.int64), np.zeros((1, 2)), 1.0, 3)


@given(st.integers(0, 10_000), st.integers(1, 12), st.floats(0, 50))
def test_it_is_the_obvious_sort(seed, k, beta):
    draw = np.random.default_rng(seed)
    fast, slow_all = draw.normal(size=(3, 9)), draw.normal(size=(3, 9)) * 20
    candidates = top(fast, k)
    combined = reranked_scores(fast, candidates, np.take_along_axis(slow_all, candidates, 1), beta, k)
    for row in range(3):
        by_fast = sorted(range(9), key=lambda item: -fast[row, item])
        first = sorted(by_fast[:k], key=lambda item: -(slow_all[row, item] + beta * fast[row, item]))
        assert np.argsort(-combined[row]).tolist() == first + by_fast[k:]


@given(st.integers(0, 10_000), st.integers(1, 9), st.floats(0, 50))
def test_rescoring_is_the_obvious_sort_without_the_query_itself(seed, k, beta):
    draw = np.random.default_rng(seed)
    cosines = draw.normal(size=(3, 6)).astype(np.float32)
    itself = np.array([0, 4, 5])
    cosines[np.arange(3), itself] = -np.inf
    table = draw.normal(size=(10, 20)).astype(np.float32) * 10
    queries, items = np.array([7, 2, 9]), np.array([3, 19, 0, 8, 5, 6])  # places of other things between them
    rescoring = Rescoring(lambda asking, found: table[asking, found], beta, k)
    for rescored in (
        rescoring.rescored(cosines, queries, items),
        np.concatenate([rescoring.of(queries, items)(start, cosines[start : start + 1]) for start in range(3)]),
        Rescoring(lambda asking, found: table[found, asking], beta, k).turned().rescored(cosines, queries, items),
    ):
        for row in range(3):
            others = sorted({*range(6)} - {int(itself[row])}, key=lambda item: -cosines[row, item])
            best = sorted(others[:k], key=lambda item: -(table[queries[row], items[item]] + beta * cosines[row, item]))
            assert np.argsort(-rescored[row], kind="stable").tolist() == [*best, *others[k:], itself[row]]
