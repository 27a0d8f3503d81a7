import json
import tarfile

import pytest

from diptych.core.errors import LibraryError
from diptych.library import Library, NewItem
from diptych.library.maintenance import transfer

from ..test_items import BLUE, GREEN, RED, png


@pytest.fixture
def mixed(filled):
    """Pictures where they lie, uploads, and something in the trash."""
    filled.add([NewItem(png(RED, mark=7), "up.png", texts=("\ud800",), meta={"k": [1]}), NewItem(png(GREEN, mark=8))])
    (gone,) = filled.add([NewItem(png(BLUE, mark=9), "gone.png")]).items
    filled.delete([gone.id])
    filled.delete(where="name = 'white.png'")
    return filled


def everything(library):
    items = {item.id: item.to_json() | {"path": ""} for item in library.items(limit=1000).items}
    trash = [(one.item.id, one.batch, one.deleted) for one in library.trash()]
    return items, trash


@pytest.mark.parametrize("name", ["out", "out.tar"])
def test_a_library_comes_back_from_its_export(mixed, encoder, tmp_path, name):
    exported = mixed.export(tmp_path / name)
    assert (exported.images, exported.trashed) == (7, 2)
    transfer.restore(tmp_path / name, tmp_path / "again")
    again = Library.open(tmp_path / "again", encoder)
    assert everything(again) == everything(mixed)
    for words in ("red", "green white", "blue"):
        assert [(hit.id, hit.score) for hit in again.search(words, 9)] == [
            (hit.id, hit.score) for hit in mixed.search(words, 9)
        ]
    assert again.verify().problems == ()
    assert all(again.thumbnail(identifier) == mixed.thumbnail(identifier) for identifier in everything(mixed)[0])
    upload = next(item for item in again.items().items if item.owned)
    assert again.original(upload.id).is_relative_to(tmp_path / "again")
    assert again.undo().restored
    assert again.card.id == mixed.card.id


class Meanwhile:
    """Something happens while the rows are read."""

    def __init__(self, action):
        self.action = action

    def track(self, items, doing, total=None):
        yield from items
        if self.action is not None:
            self.action = self.action()

    def say(self, message):
        pass


def test_an_undo_while_an_export_reads_loses_nothing(mixed, encoder, tmp_path):
    before = everything(mixed)
    mixed.export(tmp_path / "out", progress=Meanwhile(lambda: mixed.undo() and None))
    assert len(mixed.trash()) == 1
    transfer.restore(tmp_path / "out", tmp_path / "again")
    assert everything(Library.open(tmp_path / "again", encoder)) == before


def test_an_export_is_whole_or_absent(mixed, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer._TarSink, "add", full)
    with pytest.raises(LibraryError, match="No space left"):
        mixed.export(tmp_path / "out.tar")
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []
    monkeypatch.undo()
    mixed.export(tmp_path / "out.tar")
    with pytest.raises(LibraryError, match="there already"):
        mixed.export(tmp_path / "out.tar")


@pytest.mark.parametrize("damage", ["flip", "cut", "missing", "foreign"])
def test_a_damaged_export_is_refused_before_anything_is_made(mixed, tmp_path, damage):
    mixed.export(tmp_path / "out")
    file = next((tmp_path / "out").glob("vectors-*"))
    data = file.read_bytes()
    if damage == "flip":
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "cut":
        file.write_bytes(data[:-1])
    elif damage == "missing":
        file.unlink()
    else:
        manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
        manifest["files"]["../evil"] = {"bytes": 0, "hash": ""}
        (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(LibraryError, match=r"damaged|no export has"):
        transfer.restore(tmp_path / "out", tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("name", ["../evil", "/evil", "thumbs/aa/../../evil", "thumbs/aa/.hidden"])
def test_a_tar_of_strange_names_is_refused(mixed, tmp_path, name):
    mixed.export(tmp_path / "out.tar")
    with tarfile.open(tmp_path / "out.tar", "a") as tar:
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(LibraryError, match="which no export has"):
        transfer.restore(tmp_path / "out.tar", tmp_path / "again")


def test_a_killed_import_begins_again(mixed, encoder, tmp_path, monkeypatch):
    mixed.export(tmp_path / "out")
    real = transfer.card.write

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(transfer.card, "write", die)
    with pytest.raises(KeyboardInterrupt):
        transfer.restore(tmp_path / "out", tmp_path / "again")
    monkeypatch.setattr(transfer.card, "write", real)
    with pytest.raises(LibraryError, match="not a library"):
        Library.open(tmp_path / "again")
    transfer.restore(tmp_path / "out", tmp_path / "again")
    assert everything(Library.open(tmp_path / "again", encoder)) == everything(mixed)
    with pytest.raises(LibraryError, match="library already"):
        transfer.restore(tmp_path / "out", tmp_path / "again")


def test_vectors_lie_in_several_files(mixed, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "SHARD", 3)
    mixed.export(tmp_path / "out")
    assert len(list((tmp_path / "out").glob("vectors-*"))) == 3
    transfer.restore(tmp_path / "out", tmp_path / "again")
    assert Library.open(tmp_path / "again", encoder).search("red", 9)[0].score == mixed.search("red", 9)[0].score
    assert everything(Library.open(tmp_path / "again", encoder)) == everything(mixed)
