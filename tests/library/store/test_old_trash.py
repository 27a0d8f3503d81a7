"""Libraries made before the trash was two columns: their second table is read, and moved over by the first write."""

from dataclasses import replace
from pathlib import Path

import pytest

from diptych.library import Library
from diptych.library.maintenance import transfer
from diptych.library.store.lance import LanceStore
from diptych.library.store.rows import TRASH_COLUMNS


def wrapped(row):
    """As the old trash kept a row."""
    about = {"batch": row.batch, "deleted_ns": str(row.deleted_at), "row": dict(row.meta)}
    return replace(row, meta=about, batch=None, deleted_at=None)


@pytest.fixture
def old(filled, encoder):
    """Five live rows and one deleted, in two tables; the metadata has keys that are named as today's columns."""
    ids = {item.name: item.id for item in filled.items().items}
    filled.patch(ids["blue.png"], meta={"batch": "b-7", "deleted_at": 1999})
    filled.patch(ids["red.png"], meta={"album": "Crete"}, texts=["a roof"])
    filled.delete([ids["red.png"]])
    store = filled.opened.place.store()
    (row,) = store.get([ids["red.png"]], "trash")
    trash = LanceStore(filled.opened.place.folder, 16, "trash")
    trash._table.drop_columns(list(TRASH_COLUMNS))
    trash._add_trash_columns = lambda: None
    trash.write([wrapped(row)])
    store.write([], [row.id])
    store._table.drop_columns(list(TRASH_COLUMNS))
    for name in TRASH_COLUMNS:
        store._table.alter_columns({"path": f"meta_{name}", "rename": name})
    filled.compact = None  # it would be a write
    return Library.open(filled.folder, encoder)


def test_it_is_read_as_it_lies(old, encoder):
    def tables() -> dict[Path, int]:  # beside them lies which versions are being read
        return {path: path.stat().st_mtime_ns for path in old.opened.place.folder.glob("*.lance/**/*")}

    before = tables()
    assert (len(old), old.info().images) == (5, 5)
    (trashed,) = old.trash()
    assert (trashed.item.name, trashed.item.meta, trashed.item.texts) == ("red.png", {"album": "Crete"}, ("a roof",))
    assert "red.png" not in [hit.meta["name"] for hit in old.search("red", 9)]
    assert old.matching("name LIKE '%.png'") == sorted(item.id for item in old.items().items)
    assert before
    assert tables() == before


@pytest.mark.parametrize("write", ["undo", "patch", "delete", "purge", "index", "repair"])
def test_the_first_write_moves_it_over(old, encoder, pictures, write):
    (trashed,) = old.trash()
    blue = next(item for item in old.items().items if item.name == "blue.png")
    if write == "undo":
        assert old.undo().restored == (trashed.item.id,)
    elif write == "patch":
        old.patch(blue.id, meta={"k": 1})
    elif write == "delete":
        old.delete([blue.id])
    elif write == "purge":
        assert old.purge(0) == 1
    elif write == "index":
        (pictures / "white.png").touch()
        assert old.index([pictures]).trashed == 1
    else:
        old.repair()
    assert not (old.opened.place.folder / "trash.lance").exists()
    again = Library.open(old.folder, encoder)
    left = [one.item.id for one in again.trash()]
    assert (trashed.item.id in left) == (write not in ("undo", "purge"))
    if write == "undo":
        assert (again.get(trashed.item.id).meta, again.get(trashed.item.id).texts) == ({"album": "Crete"}, ("a roof",))
    if write != "delete":
        assert again.matching("meta_batch = 'b-7' AND meta_deleted_at = 1999") == [blue.id]
    assert again.verify().kinds == {}


def test_killed_before_the_table_is_dropped_the_next_write_does_it_again(old, encoder, monkeypatch):
    (trashed,) = old.trash()

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(old.opened.place), "_drop_old_trash", die)
    with pytest.raises(KeyboardInterrupt):
        old.delete(where="name = 'blue.png'")
    monkeypatch.undo()
    again = Library.open(old.folder, encoder)
    assert (len(again), again.trash()) == (5, [trashed])
    again.undo()
    assert (len(again), again.trash(), again.verify().kinds) == (6, [], {})


def test_its_export_has_the_trash(old, encoder, tmp_path):
    exported = old.export(tmp_path / "out")
    assert (exported.images, exported.trashed) == (5, 1)
    transfer.restore(tmp_path / "out", tmp_path / "again")
    assert Library.open(tmp_path / "again", encoder).trash() == old.trash()


def test_an_export_of_before_can_be_imported(filled, encoder, tmp_path):
    """Format 1: rows of the trash as the old table kept them, and one that was not yet out of the pictures."""
    import json

    (red,) = filled.search("red", 1)
    filled.patch(red.id, meta={"album": "Crete"})
    filled.delete([red.id])
    trash = filled.trash()
    filled.export(tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "trash.jsonl").read_text().splitlines()]
    for line in lines:
        said = json.loads(line["meta"])
        said["meta"] = {"batch": line.pop("batch"), "deleted_ns": str(line.pop("deleted_at")), "row": said["meta"]}
        line["meta"] = json.dumps(said)
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    (tmp_path / "out" / "trash.jsonl").write_bytes(data)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    manifest["format"] = 1
    manifest["files"]["trash.jsonl"] = {"bytes": len(data), "hash": transfer._hash(data)}
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
    transfer.restore(tmp_path / "out", tmp_path / "again")
    again = Library.open(tmp_path / "again", encoder)
    assert again.trash() == trash
    assert again.undo().restored == (red.id,)
    assert again.get(red.id).meta == {"album": "Crete"}
