"""The FAISS index against the exact search, on clustered vectors and with the threshold lowered."""

import numpy as np
import pytest

from diptych.core.cosine import normalise
from diptych.library.view import accelerator, exact
from diptych.library.view.journal import Change
from diptych.library.view.journalled import JournalledSnapshot
from diptych.library.view.snapshot import Snapshot

faiss = pytest.importorskip("faiss", reason="needs the [fast] extra")
COUNT, DIM = 24_000, 32


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    centres = random.normal(size=(300, DIM))
    vectors = normalise(centres[random.integers(300, size=COUNT)] + 0.5 * random.normal(size=(COUNT, DIM)))
    queries = normalise(centres[random.integers(300, size=50)] + 0.5 * random.normal(size=(50, DIM)))
    return vectors, queries


@pytest.fixture(scope="module")
def view(data, tmp_path_factory):
    vectors, _ = data
    ids = np.array([f"{number:016x}" for number in range(COUNT)], dtype="S16")
    folder = tmp_path_factory.mktemp("snapshot") / "1"
    folder.mkdir()
    made = Snapshot("1", folder, ids, vectors, np.zeros(COUNT + 1, np.int64), b"")
    assert not accelerator.prepare(made)  # too small to need one
    assert accelerator.prepare(made, threshold=1000)
    return made


def nearest(view, query, k, rows=None, hidden=exact.NONE):
    return accelerator.top_k(view, query[np.newaxis], [k], rows, hidden)[0]


def recall(view, queries, k, rows=None, hidden=exact.NONE):
    shares = []
    for query, found in zip(queries, accelerator.top_k(view, queries, [k] * len(queries), rows, hidden), strict=True):
        assert found is not None
        expected = exact.top_k(view.vectors, query[np.newaxis], [k], rows, hidden)[0]
        shares.append(np.isin(expected[0], found[0]).mean())
        assert (np.diff(found[1]) <= 0).all()
    return float(np.mean(shares))


def test_recall(view, data):
    assert recall(view, data[1], 10) >= 0.99


def test_recall_with_a_filter(view, data, monkeypatch):
    monkeypatch.setattr(accelerator, "_EXACT_BELOW", 100)
    for share in (2, 10, 100):
        rows = np.arange(0, COUNT, share, dtype=np.int64)
        assert recall(view, data[1], 10, rows) >= 0.97
        found = nearest(view, data[1][0], 10, rows)
        assert (found[0] % share == 0).all()


def test_hidden_rows_are_never_found_and_crowd_nobody_out(view, data, monkeypatch):
    monkeypatch.setattr(accelerator, "_EXACT_BELOW", 100)
    rows = np.arange(0, COUNT, 3, dtype=np.int64)
    nearest_of_all = [exact.top_k(view.vectors, query[np.newaxis], [40])[0][0] for query in data[1]]
    hidden = np.unique(np.concatenate(nearest_of_all))  # what the queries would find first
    assert len(hidden) > 1000
    for among in (None, rows):
        assert recall(view, data[1], 10, among, hidden) >= 0.97
        found = nearest(view, data[1][0], 300, among, hidden)
        assert not np.isin(found[0], hidden).any()
        assert len(found[0]) == 300


def test_many_are_as_each_alone(view, data, monkeypatch):
    monkeypatch.setattr(accelerator, "_EXACT_BELOW", 100)
    counts = [1, 10, 25] * 10
    index, asked = accelerator.opened_index(view)[0], []
    search = index.search
    monkeypatch.setattr(
        index, "search", lambda some, *rest, **how: asked.append(len(some)) or search(some, *rest, **how)
    )
    for among in (None, np.arange(0, COUNT, 2, dtype=np.int64)):
        asked.clear()
        many = accelerator.top_k(view, data[1][:30], counts, among, np.arange(50, dtype=np.int64))
        assert asked == [30]
        for query, k, (rows, scores) in zip(data[1], counts, many, strict=False):
            wide = accelerator.top_k(view, query[np.newaxis], [25], among, np.arange(50, dtype=np.int64))[0]
            assert np.array_equal(rows, wide[0][:k])
            assert np.array_equal(scores, wide[1][:k])


@pytest.mark.parametrize("only", [None, "half"])
def test_a_view_over_an_index_is_as_its_exact_twin(view, data, monkeypatch, only):
    """With 1,000 rows deleted, some replaced and some added: what the index gives is what a look at all rows gives."""
    monkeypatch.setattr(accelerator, "_EXACT_BELOW", 100)
    vectors, queries = data
    ids = [view.id(row) for row in range(0, COUNT, 20)]
    newer = {
        one: Change(one, b"{}\n", vectors[(7 * at) % COUNT])
        for at, one in enumerate([*ids[:100], *(f"{COUNT + extra:016x}" for extra in range(100))])
    }
    looked = JournalledSnapshot(view, "2", newer, frozenset(ids[100:1100]))
    chosen = None if only is None else [view.id(row) for row in range(0, COUNT, 2)] + list(newer)
    many = looked.top_k(queries, [10] * len(queries), chosen)
    monkeypatch.setattr(accelerator, "top_k", lambda snapshot, queries, *_: [None] * len(queries))
    twin = looked.top_k(queries, [10] * len(queries), chosen)
    found, expected = ([[one[:2] for one in hits] for hits in both] for both in (many, twin))
    assert np.mean([len(set(one) & set(other)) / 10 for one, other in zip(found, expected, strict=True)]) >= 0.97
    assert not {identifier for hits in found for _, identifier in hits} & set(ids[100:1100])
    alone = [looked.top_k(query[np.newaxis], [10], chosen)[0] for query in queries]
    assert [[one[:2] for one in hits] for hits in alone] == expected


def test_scores_are_exact(view, data):
    rows, scores = nearest(view, data[1][0], 5)
    assert scores == pytest.approx(view.vectors[rows].astype(float) @ data[1][0].astype(float))


def test_the_cells_are_learnt_once(view, data, monkeypatch, tmp_path):
    import shutil

    shutil.copy(view.folder.parent / "trained.faiss", tmp_path)
    (tmp_path / "2").mkdir()
    fewer = Snapshot("2", tmp_path / "2", view.ids[:20_000], view.vectors[:20_000], view.offsets[:20_001], b"")
    monkeypatch.setattr(faiss, "index_factory", None)  # nothing may be trained again
    assert accelerator.prepare(fewer, threshold=1000)
    assert recall(fewer, data[1], 10) >= 0.99


def test_few_rows_are_searched_exactly(view, data):
    assert nearest(view, data[1][0], 5, np.arange(50, dtype=np.int64)) is None


def test_without_an_index_or_with_a_damaged_one(view, data, tmp_path):
    other = Snapshot("1", tmp_path, view.ids, view.vectors, view.offsets, b"")
    assert nearest(other, data[1][0], 5) is None
    (tmp_path / accelerator.FILE).write_bytes(b"garbage")
    assert nearest(other, data[1][0], 5) is None


def test_a_library_over_the_threshold_uses_one(filled, pictures, painter, monkeypatch):
    monkeypatch.setattr(accelerator, "THRESHOLD", 6)
    expected = filled.search("red", 3)
    painter(pictures / "new.png", (127, 128, 127), mark=3)
    filled.index([pictures])
    assert (filled.snapshot().folder / accelerator.FILE).is_file()
    assert [hit.id for hit in filled.search("red", 2)] == [hit.id for hit in expected[:2]]
