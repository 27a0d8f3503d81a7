"""A snapshot's files: vector by vector, in the order of the ids, whatever order the store gives them in."""

import os

import numpy as np
import pytest

from diptych.core.cosine import normalise
from diptych.library.view import snapshot
from diptych.library.view.snapshot import DamagedError

DIM = 3
IDS = [f"{number:016x}" for number in (7, 1, 9, 4, 2)]
VECTORS = np.array([[3, 4, 0], [0, 2, 0], [1, 1, 1], [0, 0, -5], [1, 0, 0]], np.float32)


class Blocks:
    """A store that gives two rows at a time; from the second scan on, without the last `lost` rows."""

    def __init__(self, ids=IDS, lost=0):
        self.ids, self.lost, self.scans = ids, lost, 0

    def scan(self, columns):
        self.scans += 1
        count = len(self.ids) - (self.lost if self.scans > 1 else 0)
        cells = {"content": "c", "name": "n", "width": 1, "height": 2}
        cells["meta"] = '{"meta": {"k": 1}, "texts": [], "split": null, "group": null}'
        for start in range(0, count, 2):
            rows = range(start, min(start + 2, count))
            block = {name: [cells.get(name) for _ in rows] for name in columns}
            block["id"] = [self.ids[at] for at in rows]
            block["path"] = [f"/{self.ids[at]}.jpg" for at in rows]
            block["vector"] = VECTORS[rows.start : rows.stop]
            yield {name: block[name] for name in columns}


def check(made):
    order = np.argsort(IDS)
    assert [made.id(at) for at in range(len(made))] == sorted(IDS)
    np.testing.assert_allclose(made.vectors, normalise(VECTORS)[order], atol=1e-7)
    assert [made.row(at)["path"] for at in range(len(made))] == [f"/{one}.jpg" for one in sorted(IDS)]


def test_on_disk_and_in_memory(tmp_path):
    check(snapshot.build(tmp_path, Blocks(), "lib", DIM, "1"))
    check(snapshot.load(tmp_path, "lib", DIM))
    check(snapshot.in_memory(Blocks(), DIM, "1"))


def test_without_rows(tmp_path):
    assert len(snapshot.build(tmp_path, Blocks([]), "lib", DIM, "1")) == 0
    assert snapshot.load(tmp_path, "lib", DIM).vectors.shape == (0, DIM)


def test_what_the_disk_takes_in_part_is_written_on(tmp_path, monkeypatch):
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, position: whole(file, data[:5], position))
    check(snapshot.build(tmp_path, Blocks(), "lib", DIM, "1"))


def test_a_full_disk_leaves_the_old_snapshot(tmp_path, monkeypatch):
    snapshot.build(tmp_path, Blocks(), "lib", DIM, "1")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        snapshot.build(tmp_path, Blocks(), "lib", DIM, "2")
    check(snapshot.load(tmp_path, "lib", DIM))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_store_that_does_not_stand_still_is_refused(tmp_path):
    with pytest.raises(DamagedError, match="verify"):
        snapshot.build(tmp_path, Blocks(lost=1), "lib", DIM, "1")
    with pytest.raises(DamagedError):
        snapshot.in_memory(Blocks(lost=1), DIM, "1")
