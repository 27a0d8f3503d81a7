"""A write that makes a new snapshot due goes on at once; the snapshot is made beside it."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from diptych.core.cosine import normalise
from diptych.library import Library, NewItem
from diptych.library.store.rows import Row
from diptych.library.view import accelerator, journal, snapshot, snapshot_rebuild

COUNT = 1_500


def row(number, dim, turned=0):
    vector = np.random.default_rng((number, turned)).normal(size=dim).astype(np.float32)
    size = {"bytes": 1, "modified_ns": 1, "width": 2, "height": 3, "content": "c" * 32}
    return Row(id=f"{number:016x}", path=f"/a/{number}.jpg", source="/a", vector=normalise(vector), **size)


@pytest.fixture
def many(library):
    with library.opened.writing() as store:
        store.write([row(number, library.card.dim) for number in range(COUNT)])
        library.opened.view.refresh()
    assert len(library) == COUNT
    return library


@pytest.fixture
def started(monkeypatch):
    found = []
    monkeypatch.setattr(snapshot_rebuild, "start", found.append)
    return found


def current(library):
    return snapshot.in_use(library.opened.snapshots.folder)


def check(library, gone):
    """What is searched, listed and counted is what the store has."""
    left = [f"{number:016x}" for number in range(COUNT) if f"{number:016x}" not in gone]
    for one in (library, Library.open(library.folder, library.model)):
        hits = one.search(row(COUNT - 1, library.card.dim).vector, 1000)
        assert hits[0].id == f"{COUNT - 1:016x}"
        assert not {hit.id for hit in hits} & set(gone)
        assert [item.id for item in one.items(limit=1000).items] == left[:1000]
        assert len(one) == len(left)


def test_a_write_over_the_limit_lays_nothing_out_itself(many, started):
    before = current(many)
    gone = [f"{number:016x}" for number in range(1001)]
    many.delete(gone)
    assert started == [many.folder]
    assert current(many) == before
    check(many, gone)
    many.delete([f"{1001:016x}"])
    assert len(started) == 2  # nobody has made it yet: it is asked for again


def test_below_the_limit_nothing_is_begun(many, started):
    many.delete([f"{number:016x}" for number in range(900)])
    assert started == []


def test_what_is_written_while_a_snapshot_is_made_is_in_its_journal(many, started, monkeypatch, painter, tmp_path):
    gone = [f"{number:016x}" for number in range(1100)]
    many.delete(gone)
    new = painter(tmp_path / "new.png", "red").read_bytes()
    other = Library.open(many.folder, many.model)
    assert len(other) == COUNT - 1100
    written = []

    def prepare(made, choice):  # the rows are laid out, the snapshot is not yet the current one
        (item,) = other.add([NewItem(new)]).items
        other.delete([f"{1200:016x}"])
        written.append(item.id)
        return False

    monkeypatch.setattr(accelerator, "prepare", prepare)
    before = current(many)
    many.opened.snapshots.write_if_due()
    assert current(many) != before
    view = many.opened.snapshots.on_disk(many.version)
    assert (view.changed, len(view)) == (2, COUNT - 1100)
    for one in (many, other, Library.open(many.folder, many.model)):
        assert len(one) == COUNT - 1100
        assert {hit.id for hit in one.search("red", 1000)} >= set(written)
        assert f"{1200:016x}" not in {hit.id for hit in one.search("red", 1000)}
    assert Library.open(many.folder).opened.snapshots.newest().base.folder.name == current(many)
    many.opened.snapshots.write_if_due()  # nothing is due
    assert many.opened.snapshots.on_disk(many.version).changed == 2


def test_a_write_noted_after_a_snapshot_of_it_was_begun_breaks_no_chain(many, started, monkeypatch):
    """The writer has made its version, the snapshot of it is laid out, and only then is the write noted."""
    note = journal.JournalledStore._note

    def late(self, before, rows, gone):
        many.opened.snapshots.write()
        note(self, before, rows, gone)

    monkeypatch.setattr(journal.JournalledStore, "_note", late)
    many.delete([f"{5:016x}"])
    monkeypatch.setattr(journal.JournalledStore, "_note", note)
    many.delete([f"{6:016x}"])
    view = many.opened.snapshots.on_disk(many.version)
    assert (len(view), view.changed) == (COUNT - 2, 1)


def test_it_is_made_by_a_process_of_its_own_that_may_be_killed(many):
    before = current(many)
    gone = [f"{number:016x}" for number in range(1001)]
    many.delete(gone)
    process, _ = snapshot_rebuild._started.pop(many.folder.resolve())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert current(many) == before
    check(many, gone)
    assert not {"stale_snapshot", "leftover"} & set(many.verify().kinds)  # the files of these rows never were

    many.delete([f"{1001:016x}"])  # the next write begins anew
    process, _ = snapshot_rebuild._started.pop(many.folder.resolve())
    assert process.wait(240) == 0
    assert current(many) != before
    assert many.opened.snapshots.on_disk(many.version).changed == 0
    check(many, [*gone, f"{1001:016x}"])
    assert [path.name for path in many.opened.snapshots.folder.iterdir() if path.is_dir()] == [current(many)]
