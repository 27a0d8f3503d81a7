"""Maintenance reads a library block by block: memory does not grow with the rows."""

import weakref

import pytest

from diptych.library.maintenance import transfer
from diptych.library.store import lance


@pytest.fixture
def alive(monkeypatch):
    """How many blocks of vectors were in memory at once, at each block that the store gave; a block is a row."""
    counts, blocks = [], []
    scan = lance.LanceStore.scan

    def watched(self, columns, *args, **kwargs):
        for block in scan(self, columns, *args, **kwargs):
            if "vector" in columns:
                vectors = block["vector"] = block["vector"].copy()
                blocks.append(weakref.ref(vectors))
                del vectors
                counts.append(sum(one() is not None for one in blocks))
            yield block

    monkeypatch.setattr(lance, "_SCAN_ROWS", 1)
    monkeypatch.setattr(lance.LanceStore, "scan", watched)
    return counts


def test_verify_keeps_no_vectors(filled, alive):
    assert filled.verify().problems == ()
    assert len(alive) == 6
    assert max(alive) <= 2


def test_verify_compares_the_rows_over_the_snapshot_too(filled):
    filled.delete(where="name = 'red.png'")
    item = filled.items().items[0]
    filled.patch(item.id, name="another name")
    assert filled.opened.snapshots.on_disk().changed == 2
    assert filled.verify().problems == ()


def test_export_keeps_no_rows(filled, alive, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "SHARD", 2)
    exported = filled.export(tmp_path / "out")
    assert (exported.images, exported.files) == (6, 6 + 2 + 3)
    assert exported.bytes == sum(
        path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != "manifest.json"
    )
    assert len(alive) == 6
    assert max(alive) <= 3  # the waiting shard of two, and the next
