import io
import threading

import numpy as np
import PIL.Image
import pytest

from diptych.core.errors import ConfigError, DataError, LibraryError, LimitError
from diptych.core.files import files_below
from diptych.library import Library, NewItem, Prepared
from diptych.library.store import lock as locks
from diptych.library.store.lance import LanceStore


def png(colour, size=(40, 30), mark=0):
    image = PIL.Image.new("RGB", size, colour)
    if mark:
        image.putpixel((mark % size[0], mark // size[0] % size[1]), (mark % 256, mark * 7 % 256, 9))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


RED, GREEN, BLUE = (220, 20, 20), (20, 200, 20), (20, 20, 220)


def names(hits):
    return [hit.meta["name"] for hit in hits]


def test_an_added_picture_is_found_shown_and_kept(library, encoder):
    added = library.add([NewItem(png(RED), "my red.png", texts=("rot",), group="g", meta={"n": 3})])
    (item,) = added.items
    assert added.created == (item.id,)
    assert (item.name, item.width, item.height, item.owned) == ("my red.png", 40, 30, True)
    assert (item.texts, item.group, item.meta) == (("rot",), "g", {"n": 3})
    reader = Library.open(library.folder, encoder)
    assert names(reader.search("red", 1)) == ["my red.png"]
    assert reader.get(item.id) == item
    assert reader.matching("n = 3") == [item.id]
    assert (reader.columns()["n"], reader.version) == ("number", library.version)
    assert reader.original(item.id).read_bytes() == png(RED)
    assert reader.thumbnail(item.id).startswith(b"\xff\xd8\xff")
    assert reader.verify().problems == ()


def test_the_name_of_an_upload_never_reaches_the_disk(library):
    bad = "../../../etc/passwd\x00\n<script>.png"
    (item,) = library.add([NewItem(png(RED), bad)]).items
    assert "\n" not in item.name
    (file,) = files_below(library.uploads.folder)
    assert file == library.folder / "files" / item.content[:2] / f"{item.content}.png"
    assert library.original(item.id) == file


def test_the_same_bytes_are_one_picture_however_often_they_are_sent(library):
    first = library.add([NewItem(png(RED), "a.png"), NewItem(png(RED), "b.png")])
    again = library.add([NewItem(png(RED), "c.png")])
    assert first.items[0] == first.items[1] == again.items[0]
    assert (len(first.created), again.created, len(library)) == (1, (), 1)


def test_one_bad_upload_harms_no_other(library):
    added = library.add([NewItem(png(RED), "a.png"), NewItem(b"<html>", "b.png"), NewItem(png(BLUE))])
    assert added.items[0].name == "a.png"
    assert [(one.name, one.reason.value) for one in added.skipped] == [("b.png", "not_an_image")]
    assert len(library) == 2


def test_what_the_caller_prepared_is_not_decoded_again(library, encoder):
    prepared = Prepared(np.eye(16, dtype=np.float32)[3], b"\xff\xd8\xff thumb \xff\xd9", 7, 5)
    (item,) = Library.open(library.folder).add([NewItem(b"opaque", prepared=prepared)]).items
    assert (item.width, item.height) == (7, 5)
    assert library.search(np.eye(16, dtype=np.float32)[3], 1)[0].score == pytest.approx(1)
    with pytest.raises(ConfigError, match="16 finite values"):
        library.add([NewItem(b"other", prepared=Prepared(np.full(16, np.nan, np.float32), b"", 1, 1))])


@pytest.mark.parametrize(
    ("meta", "error"),
    [({"x": float("nan")}, ConfigError), ({"x": object()}, ConfigError), ({"x": "y" * 40_000}, LimitError)],
)
def test_metadata_that_cannot_be_kept(library, meta, error):
    with pytest.raises(error, match="metadata"):
        library.add([NewItem(png(RED), meta=meta)])
    assert len(library) == 0


def test_patching(library, encoder):
    (item,) = library.add([NewItem(png(RED), "a.png", texts=("x",), group="g", meta={"n": 1, "m": 2})]).items
    changed = library.patch(item.id, name="b.png", group=None, meta={"n": None, "k": "v"})
    assert (changed.name, changed.texts, changed.group, changed.meta) == ("b.png", ("x",), None, {"m": 2, "k": "v"})
    reader = Library.open(library.folder, encoder)
    assert reader.get(item.id) == changed
    (hit,) = reader.search("red", 1)
    assert (hit.meta["name"], hit.meta["k"], "n" in hit.meta, "group" in hit.meta) == ("b.png", "v", False, False)
    assert names(reader.search("red", 1, "k = 'v'")) == ["b.png"]
    with pytest.raises(DataError, match="no image has the id"):
        library.patch("0" * 16, name="x")


def test_pages_have_every_picture_once_while_others_come_and_go(library):
    def add(number):
        (item,) = library.add([NewItem(png(RED, mark=number), f"{number}.png", meta={"n": number})]).items
        return item.id

    stay = {add(number) for number in range(1, 24)}
    seen, cursor, number = [], None, 100
    while True:
        page = library.items(cursor=cursor, limit=5)
        seen += [item.id for item in page.items]
        library.delete([add(number)])
        library.add([NewItem(png(BLUE, mark=number))])
        number, cursor = number + 1, page.cursor
        if cursor is None:
            break
    assert len(seen) == len(set(seen))
    assert stay <= set(seen)
    assert seen == sorted(seen)
    filtered = library.items("n < 4", limit=2)
    assert (filtered.total, len(filtered.items), len(library.items("n < 4", cursor=filtered.cursor).items)) == (3, 2, 1)
    with pytest.raises(LimitError):
        library.items(limit=0)


def test_a_deleted_picture_shows_nowhere_and_comes_back(filled, encoder, pictures):
    (red,) = filled.search("red", 1)
    before = filled.get(red.id)
    deletion = filled.delete([red.id, "unknown"])
    assert deletion.ids == (red.id,)
    reader = Library.open(filled.folder, encoder)
    for library in (filled, reader):
        assert "red.png" not in names(library.search("red", 9))
        assert (len(library), len(library.snapshot()), library.info().images) == (5, 5, 5)
        assert library.search("red", 9, "name = 'red.png'") == []
        assert red.id not in [item.id for item in library.items().items]
        with pytest.raises(DataError):
            library.get(red.id)
        assert library.thumbnail(red.id) is None
        (trashed,) = library.trash()
        assert (trashed.item, trashed.batch) == (before, deletion.batch)
        assert library.verify().problems == ()
    assert filled.undo(deletion).restored == (red.id,)
    assert reader.get(red.id) == before
    assert names(reader.search("red", 1)) == ["red.png"]
    assert reader.trash() == []
    with pytest.raises(DataError, match="trash"):
        filled.undo(deletion)


def test_deleting_by_filter_is_one_batch_and_the_newest_is_undone_first(filled):
    first = filled.delete(where="name IN ('red.png', 'blue.png')")
    second = filled.delete(where="name = 'green.png'")
    assert (len(first.ids), len(second.ids), len(filled)) == (2, 1, 3)
    assert [one.batch for one in filled.trash()] == [second.batch, first.batch, first.batch]
    assert filled.undo().restored == second.ids
    assert set(filled.undo(first.batch).restored) == set(first.ids)
    assert len(filled) == 6
    with pytest.raises(ConfigError, match="exactly one"):
        filled.delete()
    with pytest.raises(ConfigError, match="columns: id"):
        filled.delete(where="nosuch = 1")


def test_indexing_again_does_not_bring_back_what_was_deleted(filled, pictures):
    deletion = filled.delete(where="name = 'red.png'")
    report = filled.index([pictures])
    assert (report.trashed, report.unchanged, len(filled)) == (1, 5, 5)
    filled.purge(0)
    assert filled.index([pictures]).added == 1
    assert len(deletion.ids) == 1


def test_a_path_that_was_filled_again_keeps_its_new_picture(filled, pictures, painter):
    deletion = filled.delete(where="name = 'red.png'")
    painter(pictures / "red.png", "blue", mark=3)
    assert filled.index([pictures]).added == 1
    undone = filled.undo(deletion)
    assert (undone.restored, undone.kept) == ((), deletion.ids)
    assert filled.verify().problems == ()


def test_bytes_in_the_trash_come_back_under_their_old_id(library):
    (item,) = library.add([NewItem(png(RED), "old.png")]).items
    library.delete([item.id])
    added = library.add([NewItem(png(RED), "new.png")])
    assert (added.restored, added.created, added.items[0].id) == ((item.id,), (), item.id)
    assert (library.get(item.id).name, library.trash()) == ("new.png", [])


def test_bytes_that_come_back_without_a_word_keep_what_was_said_of_them(library):
    item = library.add([NewItem(png(RED), name="a", texts=("red",), meta={"album": "Crete", "n": 1})]).items[0]
    library.delete([item.id])
    (back,) = library.add([NewItem(png(RED), meta={"n": 2})]).items
    assert (back.name, back.texts, dict(back.meta)) == ("a", ("red",), {"album": "Crete", "n": 2})


def test_purging_takes_files_and_thumbnails_that_nobody_needs(library, pictures, tmp_path):
    (shared,) = library.add([NewItem((pictures / "red.png").read_bytes(), "red.png")]).items
    (alone,) = library.add([NewItem(png(BLUE, mark=5))]).items
    library.index([pictures])  # the same red picture, where it lies
    library.delete([shared.id, alone.id])
    assert library.purge(days=1) == 0
    assert library.purge(0) == 2
    assert library.trash() == []
    assert [file.stem for file in files_below(library.uploads.folder)] == [shared.content]
    assert library.thumbnails.is_whole(shared.content)
    assert not library.thumbnails.path(alone.content).exists()
    assert (pictures / "red.png").exists()


def test_deleting_and_undoing_are_one_write_each(filled, monkeypatch):
    """So that at no version a row is in both or in neither."""
    writes = []
    real = LanceStore.write
    monkeypatch.setattr(LanceStore, "write", lambda store, *rows: writes.append(1) or real(store, *rows))
    before = filled.opened.place.store().version
    filled.delete(where="name IN ('red.png', 'blue.png')")
    assert (len(writes), filled.opened.place.store().version - before) == (1, 1)
    filled.undo()
    assert (len(writes), filled.opened.place.store().version - before) == (2, 2)


def test_metadata_named_as_the_trash_columns_can_be_asked_for(library):
    (item,) = library.add([NewItem(png(RED), meta={"batch": "b-7", "deleted_at": 1999})]).items
    assert library.matching("meta_batch = 'b-7' AND meta_deleted_at = 1999") == [item.id]
    assert not {"batch", "deleted_at"} & library.columns().keys()


def test_writers_take_turns_and_readers_see_whole_writes(library, encoder):
    """Each write adds a pair or removes a pair: no reader may ever see half of one."""
    done, odd, errors = threading.Event(), [], []

    def write(start):
        try:
            for number in range(start, start + 5):
                pair = [NewItem(png(RED, mark=number)), NewItem(png(BLUE, mark=number))]
                added = library.add(pair, wait=60)
                if number % 3 == 0:
                    library.delete([item.id for item in added.items], wait=60)
        except Exception as error:
            errors.append(error)

    def read():
        reader = Library.open(library.folder, encoder)
        while not done.is_set():
            hits = reader.search("red", 1000)
            if len(hits) % 2 or len({hit.id for hit in hits}) != len(hits):
                odd.append(len(hits))

    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(start,)) for start in (1, 101)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert (errors, odd) == ([], [])
    assert len(library) == 2 * (10 - 3)
    assert library.verify().problems == ()


def test_a_writer_that_stays_away_too_long_is_named(filled):
    with locks.writer(filled.folder), pytest.raises(LibraryError, match="being written by process"):
        filled.delete(["x"], wait=0.02)


def test_moving_the_folder_takes_the_uploads_along(library, encoder, tmp_path):
    (item,) = library.add([NewItem(png(RED), "a.png")]).items
    library.folder.rename(tmp_path / "elsewhere")
    moved = Library.open(tmp_path / "elsewhere", encoder)
    assert moved.original(item.id) == tmp_path / "elsewhere" / "files" / item.content[:2] / f"{item.content}.png"
    assert moved.search("red", 1)[0].path == str(moved.original(item.id))
    assert moved.verify().problems == ()


def test_indexing_an_uploaded_picture_leaves_the_upload_alone(library, tmp_path):
    (item,) = library.add([NewItem(png(RED), "up.png")]).items
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "same.png").write_bytes(png(RED))
    assert library.index([folder]).added == 1
    assert library.get(item.id) == item
    assert len(library) == 2
