"""Many queries at once give what each gives alone."""

from __future__ import annotations

import numpy as np
import pytest

from diptych.core.cosine import normalise
from diptych.library import NewItem
from diptych.library.view import exact


@pytest.mark.parametrize("rows", [1, 7, 300])
def test_many_are_as_each_alone(rows) -> None:
    rng = np.random.default_rng(rows)
    vectors = normalise(np.round(rng.normal(size=(rows, 8)), 1))  # rounded, so that there are ties
    queries = normalise(rng.normal(size=(5, 8)))
    counts = [1, 3, rows, rows + 5, 2]
    some = np.flatnonzero(rng.random(rows) < 0.6)
    for among in (None, some):
        for hidden in (exact.NONE, np.flatnonzero(rng.random(rows) < 0.3)):
            many = exact.top_k(vectors, queries, counts, among, hidden)
            shown = np.setdiff1d(np.arange(rows) if among is None else among, hidden)
            for found, query, k in zip(many, queries, counts, strict=True):
                alone = exact.top_k(vectors, query[np.newaxis], [k], among, hidden)[0]
                assert np.array_equal(found[0], alone[0])
                assert np.array_equal(found[1], alone[1])
                scores = vectors[shown].astype(float) @ query.astype(float)
                assert found[1] == pytest.approx(np.sort(scores)[::-1][:k])
                assert set(found[0]) <= set(shown)


def test_over_what_was_written_since_the_snapshot_too(filled, painter, tmp_path, encoder) -> None:
    first = next(iter(filled.items().items))
    filled.delete([first.id])
    filled.add([NewItem(painter(tmp_path / "new.png", "red", mark=3).read_bytes())])
    view = filled.opened.snapshots.newest()
    assert view.changed == 2
    queries = encoder.encode_texts(["red", "blue", "black white"])
    found = view.top_k(queries, [2, 6, 9])
    for many, query, k in zip(found, queries, [2, 6, 9], strict=True):
        assert [one[:2] for one in many] == [one[:2] for one in view.top_k(query[np.newaxis], [k])[0]]
