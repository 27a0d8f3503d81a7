import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diptych.core.cosine import normalise
from diptych.library.store.lance import LanceStore
from diptych.library.store.rows import Row
from diptych.library.view import exact, journal, snapshot
from diptych.library.view.journalled import JournalledSnapshot

DIM = 4


def row(number, angle=0.0):
    vector = np.array([np.cos(angle + number), np.sin(angle + number), 0.1 * (number % 3), 0], np.float32)
    size = {"bytes": 1, "modified_ns": 1, "width": 2, "height": 3}
    vector = normalise(vector)
    return Row(id=f"{number:016x}", path=f"/a/{number}.jpg", source="/a", content="c" * 32, vector=vector, **size)


class Kept:
    """A store in memory: enough for a snapshot."""

    def __init__(self, rows):
        self.rows = {one.id: one for one in rows}

    def scan(self, columns):
        if self.rows:
            from diptych.library.store.row_codec import to_cells

            lines = [to_cells(one) for one in self.rows.values()]
            block = {name: [line[name] for line in lines] for name in columns if name != "vector"}
            yield block | {"vector": np.array([one.vector for one in self.rows.values()], np.float32)}


numbers = st.sets(st.integers(0, 11))
writes = st.lists(
    st.tuples(st.lists(st.integers(0, 11), max_size=3), st.lists(st.integers(0, 11), max_size=3), st.floats(0, 6)),
    max_size=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sets(st.integers(0, 11)), writes=writes, k=st.integers(1, 13), only=st.none() | st.sets(st.integers(0, 11))
)
def test_snapshot_and_journal_are_as_good_as_a_new_snapshot(tmp_path_factory, start, writes, k, only):
    folder = tmp_path_factory.mktemp("view")
    kept = Kept([row(number) for number in start])
    base = snapshot.build(folder, kept, "lib", DIM, "0")
    for at, (put, gone, angle) in enumerate(writes):
        rows = [row(number, angle) for number in set(put)]
        removed = {f"{number:016x}" for number in gone} - {one.id for one in rows}
        journal.append(folder, str(at), str(at + 1), rows, removed)
        kept.rows.update({one.id: one for one in rows})
        for identifier in removed:
            kept.rows.pop(identifier, None)
    view = JournalledSnapshot(base, "0").advanced(str(len(writes)))
    twin = snapshot.in_memory(kept, DIM, str(len(writes)))
    assert len(view) == len(twin) == len(view.merged)
    assert view.merged.ids.tolist() == twin.ids.tolist()
    assert np.allclose(view.merged.vectors, twin.vectors, atol=1e-6)
    assert [view.merged.row(at) for at in range(len(twin))] == [twin.row(at) for at in range(len(twin))]
    query = normalise(np.array([0.3, 0.9, 0.1, 0], np.float32))
    ids = None if only is None else [f"{number:016x}" for number in sorted(only)]
    rows = None if ids is None else twin.find(ids)
    expected = exact.top_k(twin.vectors, query[np.newaxis], [k], rows)[0]
    found = view.top_k(query[np.newaxis], [k], ids)[0]
    assert [one[1] for one in found] == [twin.id(int(at)) for at in expected[0]]
    assert [one[0] for one in found] == pytest.approx(expected[1].tolist(), abs=1e-6)
    many = view.top_k(np.stack([query, -query]), [k, 2], ids)
    assert [one[:2] for one in many[0]] == [one[:2] for one in found]
    assert [one[:2] for one in many[1]] == [one[:2] for one in view.top_k((-query)[np.newaxis], [2], ids)[0]]
    cursor, listed = "", []
    while page := view.after(cursor, 3, ids):
        listed += page
        cursor = page[-1]
    assert listed == [twin.id(at) for at in range(len(twin)) if ids is None or twin.id(at) in ids]


def test_what_was_added_and_deleted_again_is_no_change(tmp_path):
    base = snapshot.build(tmp_path, Kept([row(1), row(2)]), "lib", DIM, "0")
    for at in range(3):
        journal.append(tmp_path, str(2 * at), str(2 * at + 1), [row(10 + at)], [])
        journal.append(tmp_path, str(2 * at + 1), str(2 * at + 2), [], [row(10 + at).id])
    journal.append(tmp_path, "6", "7", [], [row(2).id])
    view = JournalledSnapshot(base, "0").advanced("7")
    assert view.changed == 1
    assert view.followed == (base.folder / journal.FILE).stat().st_size
    assert [view.base.id(0)] == view.after("", 9)
    journal.append(tmp_path, "7", "8", [row(2), row(11)], [])
    assert view.advanced("8").after("", 9) == [row(number).id for number in (1, 2, 11)]


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing line"])
def test_a_journal_that_is_damaged_or_has_a_gap_is_not_followed(tmp_path, damage):
    base = snapshot.build(tmp_path, Kept([row(1)]), "lib", DIM, "0")
    journal.append(tmp_path, "0", "1", [row(2)], [])
    journal.append(tmp_path, "1", "2", [row(3)], [])
    path = base.folder / journal.FILE
    data = path.read_bytes()
    first = data.index(b"\n") + 1
    path.write_bytes({"cut": data[:-5], "flipped": data[:40] + b"#" + data[41:], "missing line": data[first:]}[damage])
    assert JournalledSnapshot(base, "0").advanced("2") is None
    reached = JournalledSnapshot(base, "0").advanced("1")
    assert (reached is not None) == (damage == "cut")


def test_a_reader_ahead_of_its_look_at_the_version_takes_the_later_one(tmp_path):
    base = snapshot.build(tmp_path, Kept([row(1)]), "lib", DIM, "0")
    journal.append(tmp_path, "0", "1", [row(2)], [])
    journal.append(tmp_path, "1", "2", [], [row(1).id])
    view = JournalledSnapshot(base, "0").advanced("1")
    assert (view.version, len(view)) == ("2", 1)
    assert view.advanced("2") is view
    assert view.advanced("3") is None


def test_a_store_stands_still_while_it_is_written(tmp_path):
    store = LanceStore(tmp_path, DIM)
    store.write([row(1)])
    still, _ = store.at_one_version()
    store.write([row(2)], [row(1).id])
    assert [one for block in still.scan(["id"]) for one in block["id"]] == [row(1).id]
    assert [one for block in store.scan(["id"]) for one in block["id"]] == [row(2).id]


def test_a_page_looks_only_at_the_ids_that_are_on_it(tmp_path, monkeypatch):
    base = snapshot.build(tmp_path, Kept([row(number) for number in range(12)]), "lib", DIM, "0")
    view, find, looked = JournalledSnapshot(base, "0"), JournalledSnapshot.find, []
    monkeypatch.setattr(
        JournalledSnapshot, "find", lambda self, identifier: looked.append(identifier) or find(self, identifier)
    )
    passing = [f"{number:016x}" for number in range(1, 12, 2)]
    assert view.after(passing[1], 2, passing) == passing[2:4]
    assert looked == passing[2:4]


def test_a_new_snapshot_gets_the_whole_lines_written_since_it_was_begun(tmp_path):
    old = snapshot.build(tmp_path, Kept([row(1)]), "lib", DIM, "0")
    journal.append(tmp_path, "0", "1", [row(2)], [])
    journal.append(tmp_path, "1", "2", [row(3)], [])
    with (old.folder / journal.FILE).open("ab") as stream:
        stream.write(b"00000000 {torn")

    def finish(made, make_current):
        assert snapshot.in_use(tmp_path) == old.folder.name
        journal.hand_over(tmp_path, made, make_current)

    new = snapshot.build(tmp_path, Kept([row(1), row(2)]), "lib", DIM, "1", finish)
    journal.append(tmp_path, "2", "3", [], [row(1).id])
    view = JournalledSnapshot(new, "1").advanced("3")
    assert view.after("", 9) == [row(2).id, row(3).id]
    assert not old.folder.exists()
