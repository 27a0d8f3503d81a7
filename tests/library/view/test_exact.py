import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core.cosine import normalise
from diptych.library.view import exact


def slow(vectors, query, k, rows=None):
    """The obvious way: every score in float64, one at a time."""
    rows = range(len(vectors)) if rows is None else rows
    scores = {int(row): sum(float(a) * float(b) for a, b in zip(vectors[row], query, strict=True)) for row in rows}
    return sorted(scores, key=lambda row: (-round(scores[row], 12), row))[:k], scores


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 70), st.booleans())
def test_as_the_obvious_way(seed, count, k, filtered):
    random = np.random.default_rng(seed)
    vectors = normalise(random.normal(size=(count, 7)))
    vectors[random.integers(count, size=count // 3)] = vectors[0]  # ties
    query = normalise(random.normal(size=7))
    rows = np.sort(random.permutation(count)[: count // 2]).astype(np.int64) if filtered else None
    found, scores = exact.top_k(vectors, query[np.newaxis], [k], rows)[0]
    expected, by_row = slow(vectors, query, k, rows)
    assert found.tolist() == expected
    assert scores == pytest.approx([by_row[row] for row in expected])


def test_blocks_do_not_change_the_order(monkeypatch):
    random = np.random.default_rng(1)
    base = normalise(random.normal(size=(40, 33)))
    vectors = base[random.integers(40, size=1000)]  # each vector about 25 times, at all kinds of places
    query = normalise(random.normal(size=33))
    whole = exact.top_k(vectors, query[np.newaxis], [100])[0]
    for block in (1, 7, 64, 999):
        monkeypatch.setattr(exact, "BLOCK", block)
        cut = exact.top_k(vectors, query[np.newaxis], [100])[0]
        assert cut[0].tolist() == whole[0].tolist()
        assert cut[1].tolist() == whole[1].tolist()


@pytest.mark.parametrize("block", [1, 64, 999, 65_536])
def test_several_queries_as_one_by_one(monkeypatch, block):
    monkeypatch.setattr(exact, "_CACHED_ROWS", block)  # more than one block: the library is larger than that
    random = np.random.default_rng(2)
    vectors, queries = normalise(random.normal(size=(1000, 33))), normalise(random.normal(size=(5, 33)))
    counts = [1, 20, 999, 1000, 2000]
    together = exact.top_k(vectors, queries, counts)
    for query, k, (rows, scores) in zip(queries, counts, together, strict=True):
        alone = exact.top_k(vectors, query[np.newaxis], [k])[0]
        assert rows.tolist() == alone[0].tolist()
        assert scores.tolist() == alone[1].tolist()


def test_nothing_to_search():
    rows, scores = exact.top_k(np.empty((0, 4), np.float32), np.ones((1, 4), np.float32) / 2, [5])[0]
    assert (len(rows), len(scores)) == (0, 0)
    rows, _ = exact.top_k(np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32)[:1], [5], np.empty(0, np.int64))[0]
    assert len(rows) == 0
