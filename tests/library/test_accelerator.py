"""The FAISS index against the exact search, on clustered vectors and with the threshold lowered."""

import numpy as np
import pytest

from diptych.core.cosine import normalise
from diptych.library import accelerator, exact
from diptych.library.snapshot import Snapshot

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


def recall(view, queries, k, rows=None):
    shares = []
    for query in queries:
        found = accelerator.nearest(view, query, k, rows)
        assert found is not None
        expected = exact.nearest(view.vectors, query, k, rows)
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
        found = accelerator.nearest(view, data[1][0], 10, rows)
        assert (found[0] % share == 0).all()


def test_scores_are_exact(view, data):
    rows, scores = accelerator.nearest(view, data[1][0], 5)
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
    assert accelerator.nearest(view, data[1][0], 5, np.arange(50, dtype=np.int64)) is None


def test_without_an_index_or_with_a_damaged_one(view, data, tmp_path):
    other = Snapshot("1", tmp_path, view.ids, view.vectors, view.offsets, b"")
    assert accelerator.nearest(other, data[1][0], 5) is None
    (tmp_path / accelerator.FILE).write_bytes(b"garbage")
    assert accelerator.nearest(other, data[1][0], 5) is None


def test_a_library_over_the_threshold_uses_one(filled, pictures, painter, monkeypatch):
    monkeypatch.setattr(accelerator, "THRESHOLD", 6)
    expected = filled.search("red", 3)
    painter(pictures / "new.png", (127, 128, 127), mark=3)
    filled.index([pictures])
    assert (filled.snapshot().folder / accelerator.FILE).is_file()
    assert [hit.id for hit in filled.search("red", 2)] == [hit.id for hit in expected[:2]]
