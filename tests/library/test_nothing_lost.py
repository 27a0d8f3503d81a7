"""What people gave to a library stays, or can be brought back, whatever happens to the files behind it."""

import csv
import json
import os
import shutil
import tarfile

import pytest

from diptych.core.errors import Interrupted
from diptych.library import IndexOptions, Library

TOLD = {"texts": ("grandmother's house",), "group": "family", "meta": {"album": "Crete"}, "name": "the house"}


def by_name(library):
    return {item.path.rpartition("/")[2]: item for item in library.items(limit=1000).items}


def tell(library, name):
    """Somebody describes an image; its id."""
    identifier = by_name(library)[name].id
    library.patch(identifier, name=TOLD["name"], texts=TOLD["texts"], group=TOLD["group"], meta=TOLD["meta"])
    return identifier


def told(item):
    return {"texts": item.texts, "group": item.group, "meta": dict(item.meta), "name": item.name}


@pytest.fixture
def nas(filled, pictures, painter):
    """The library, with one image in the folder "nas" that somebody described; the folder, and the image's id."""
    painter(pictures / "nas" / "house.png", "red", mark=3)
    filled.index([pictures])
    return filled, pictures / "nas", tell(filled, "house.png")


@pytest.mark.parametrize(
    "how", ["empty", "not there", "hidden files only", "empty folders only", "a file in its place"]
)
def test_a_folder_that_is_away_keeps_its_rows_and_names_them(nas, pictures, tmp_path, how):
    library, folder, identifier = nas
    folder.rename(tmp_path / "off")
    if how == "a file in its place":
        folder.write_text("not mounted")
    elif how != "not there":
        folder.mkdir()
    if how == "hidden files only":
        (folder / ".nosync").touch()
    elif how == "empty folders only":
        (folder / "2019" / "summer").mkdir(parents=True)
    report = library.index([pictures])
    (kept,) = report.kept
    assert (kept.folder, kept.paths) == (str(folder), (str(folder / "house.png"),))
    assert kept.reason == {"not there": "it is not there", "a file in its place": "it is no folder any more"}.get(
        how, "it is empty"
    )
    assert (report.removed, report.unchanged, report.total, report.batch) == (0, 6, 7, None)
    assert json.loads(json.dumps(report.to_json()))["kept"][0]["paths"] == [str(folder / "house.png")]
    assert told(library.get(identifier)) == TOLD
    shutil.rmtree(folder, ignore_errors=True)
    folder.unlink(missing_ok=True) if not folder.is_dir() else None
    (tmp_path / "off").rename(folder)
    assert library.index([pictures]).unchanged == 7
    assert told(library.get(identifier)) == TOLD


@pytest.mark.parametrize("how", ["not there", "empty", "no images"])
def test_a_root_that_is_away_keeps_all_its_rows(nas, pictures, tmp_path, painter, how):
    library, _, identifier = nas
    pictures.rename(tmp_path / "off")
    if how != "not there":
        pictures.mkdir()
    if how == "no images":
        (pictures / "NOT MOUNTED.txt").touch()
    painter(tmp_path / "other" / "new.png", "red", mark=8)
    report = library.index([tmp_path / "other", pictures])
    (kept,) = report.kept
    assert (report.added, report.removed, kept.folder, len(kept.paths)) == (1, 0, str(pictures), 7)
    assert told(library.get(identifier)) == TOLD


def test_a_single_file_that_is_away_is_kept(library, pictures):
    library.index([pictures / "red.png", pictures / "blue.png"])
    (pictures / "red.png").unlink()
    report = library.index([pictures / "red.png", pictures / "blue.png"])
    assert [(kept.folder, kept.reason) for kept in report.kept] == [(str(pictures / "red.png"), "it is not there")]
    assert (report.unchanged, len(library)) == (1, 2)


def test_pruning_removes_what_is_away_and_undo_brings_it_back(nas, pictures):
    library, folder, identifier = nas
    shutil.rmtree(folder)
    report = library.index([pictures], options=IndexOptions(prune=True))
    assert (report.removed, report.kept) == (1, ())
    assert library.undo(report.batch).restored == (identifier,)
    assert told(library.get(identifier)) == TOLD


def test_a_file_that_is_gone_goes_into_the_trash(filled, encoder, pictures):
    identifier = tell(filled, "red.png")
    kept_bytes = (pictures / "red.png").read_bytes()
    (pictures / "red.png").unlink()
    (pictures / "blue.png").unlink()
    report = filled.index([pictures])
    assert (report.removed, report.unchanged, len(filled)) == (2, 4, 4)
    assert [(one.batch, one.gone) for one in filled.trash()] == [(report.batch, True)] * 2
    assert filled.verify().problems == ()  # their thumbnails are no orphans
    assert filled.thumbnails.is_whole(filled.trash()[0].item.content)
    assert len(filled.undo().restored) == 2
    again = filled.index([pictures])  # what somebody brought back is not taken away again
    assert (again.removed, [kept.paths for kept in again.kept]) == (0, [(kept.folder,) for kept in again.kept])
    assert {kept.folder for kept in again.kept} == {str(pictures / "red.png"), str(pictures / "blue.png")}
    assert told(filled.get(identifier)) == TOLD
    (pictures / "red.png").write_bytes(kept_bytes)
    assert filled.index([pictures]).unchanged == 5
    assert told(filled.get(identifier)) == TOLD
    (pictures / "red.png").unlink()
    assert filled.index([pictures]).removed == 1  # found once more, it is as any other


@pytest.mark.parametrize("where", ["red.png", "elsewhere/moved.png"])
def test_the_same_bytes_come_back_with_what_was_said(filled, pictures, encoder, where):
    identifier = tell(filled, "red.png")
    data = (pictures / "red.png").read_bytes()
    (pictures / "red.png").unlink()
    filled.index([pictures])
    (pictures / where).parent.mkdir(exist_ok=True)
    (pictures / where).write_bytes(data)
    embedded = encoder.embedded
    report = filled.index([pictures])
    assert (report.restored, report.added, report.found) == (1, 0, 6)
    assert (told(filled.get(identifier)), encoder.embedded) == (TOLD, embedded)
    assert filled.get(identifier).path == str(pictures / where)
    assert filled.trash() == []


def test_other_bytes_at_the_path_of_one_in_the_trash_are_another_image(filled, pictures, painter):
    identifier = tell(filled, "red.png")
    (pictures / "red.png").unlink()
    filled.index([pictures])
    painter(pictures / "red.png", "red", mark=5)
    assert filled.index([pictures]).added == 1
    assert by_name(filled)["red.png"].meta == {}
    assert filled.undo(ids=[identifier]).kept == (identifier,)


def test_what_somebody_deleted_stays_away_though_its_file_came_and_went(filled, pictures):
    identifier = tell(filled, "red.png")
    filled.delete([identifier])
    data = (pictures / "red.png").read_bytes()
    (pictures / "red.png").unlink()
    assert filled.index([pictures]).removed == 0
    (pictures / "red.png").write_bytes(data)
    assert filled.index([pictures]).trashed == 1


def test_an_edited_file_keeps_what_was_said_and_the_report_says_so(filled, pictures, painter):
    identifier = tell(filled, "red.png")
    old = filled.get(identifier).content
    painter(pictures / "red.png", "red", mark=5)
    painter(pictures / "blue.png", "blue", mark=6)
    report = filled.index([pictures])
    (note,) = report.notes
    assert (report.updated, note.kind, note.count, note.examples) == (
        2,
        "kept_description",
        1,
        (str(pictures / "red.png"),),
    )
    assert told(filled.get(identifier)) == TOLD
    assert not filled.thumbnails.path(old).exists()
    assert filled.verify().problems == ()


def test_an_edited_file_that_takes_the_bytes_of_another_keeps_its_own_description(filled, pictures):
    red, blue = tell(filled, "red.png"), by_name(filled)["blue.png"].id
    filled.patch(blue, meta={"album": "Sea"})
    shutil.copy(pictures / "red.png", pictures / "blue.png")
    filled.index([pictures])
    assert (filled.get(blue).meta, told(filled.get(red))) == ({"album": "Sea"}, TOLD)


def write_table(path, rows):
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["image", "caption", "camera"])
        writer.writeheader()
        writer.writerows({"image": image, "caption": caption, "camera": camera} for image, caption, camera in rows)


def test_a_list_indexed_again_wipes_nothing_that_people_said(library, pictures):
    table = pictures / "list.csv"
    write_table(table, [("red.png", "a red thing", "A1"), ("blue.png", "a blue thing", "A1")])
    library.index([table])
    red = by_name(library)["red.png"].id
    library.patch(red, texts=("my roof",), meta={"album": "Crete", "camera": "mine"})
    assert library.index([table]).unchanged == 2
    assert (library.get(red).texts, library.get(red).meta) == (("my roof",), {"album": "Crete", "camera": "mine"})
    library.patch(red, texts=("a red thing",))  # as the list says: from now on what it says
    write_table(table, [("red.png", "a scarlet thing", "B2"), ("blue.png", "a navy thing", "B2")])
    assert library.index([table]).updated == 2
    assert library.get(red).texts == ("a scarlet thing",)
    assert library.get(red).meta == {"album": "Crete", "camera": "mine"}
    assert by_name(library)["blue.png"].meta == {"camera": "B2"}


def test_what_a_list_drops_goes_into_the_trash_and_comes_back_with_it(library, pictures):
    table = pictures / "list.csv"
    rows = [("red.png", "a red thing", "A1"), ("blue.png", "a blue thing", "A1")]
    write_table(table, rows)
    library.index([table])
    red = tell(library, "red.png")
    write_table(table, rows[1:])
    report = library.index([table])
    assert (report.removed, [one.item.id for one in library.trash()]) == (1, [red])
    write_table(table, rows)
    assert library.index([table]).restored == 1
    assert library.get(red).texts == TOLD["texts"]
    assert library.get(red).meta == {"album": "Crete", "camera": "A1"}


def test_images_of_a_list_whose_folder_is_away_are_kept(library, pictures, tmp_path):
    table = tmp_path / "list.csv"
    write_table(table, [("pictures/sub/yellow.png", "y", "A1"), ("pictures/red.png", "r", "A1")])
    library.index([table])
    (pictures / "sub").rename(tmp_path / "off")
    (kept,) = library.index([table]).kept
    assert (kept.folder, kept.reason) == (str(pictures / "sub"), "it is not there")
    table.rename(tmp_path / "gone.csv")
    (kept,) = library.index([table]).kept
    assert (kept.folder, len(kept.paths), len(library)) == (str(table), 2, 2)


def test_members_that_a_tar_has_no_more(library, pictures, tmp_path):
    def pack(*names):
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            for name in names:
                tar.add(pictures / name, name)

    pack("red.png", "blue.png")
    library.index([tmp_path / "a.tar"])
    (red,) = library.matching("path LIKE '%red.png'")
    library.patch(red, meta={"album": "Crete"})
    pack("blue.png")
    assert library.index([tmp_path / "a.tar"]).removed == 1
    pack("red.png", "blue.png")
    assert library.index([tmp_path / "a.tar"]).restored == 1
    assert library.get(red).meta["album"] == "Crete"
    (tmp_path / "a.tar").unlink()
    assert len(library.index([tmp_path / "a.tar"]).kept[0].paths) == 2


def test_texts_that_go_move_and_come_back(library, tmp_path, painter):
    source = tmp_path / "texts.jsonl"
    for key in "12379":
        painter(tmp_path / f"{key}.jpg", "red", mark=int(key))

    def write(*texts):
        source.write_text(
            "".join(json.dumps({"id": key, "image": f"{key}.jpg", "caption": text}) + "\n" for key, text in texts)
        )

    write(("1", "a red roof"), ("2", "a blue sea"), ("3", "green"))
    library.index_texts([source])
    roof = library.matching("texts = 'a red roof'")[0]
    library.patch(roof, group="houses", meta={"album": "Crete"})
    assert library.index_texts([source]).unchanged == 3
    write(("2", "a blue sea"), ("3", "green"))
    gone = library.index_texts([source])
    assert (gone.removed, [one.item.id for one in library.trash()]) == (1, [roof])
    write(("2", "a blue sea"), ("3", "green"), ("9", "a red roof"))
    assert library.index_texts([source]).restored == 1
    assert (library.get(roof).group, library.get(roof).meta["album"]) == ("houses", "Crete")
    write(("2", "a blue sea"), ("3", "green"), ("7", "a red roof"))
    report = library.index_texts([source])
    assert (report.moved, report.removed, report.embedded) == (1, 0, 0)
    assert library.get(roof).meta["album"] == "Crete"
    write(("2", "a blue sea"), ("3", "green"), ("7", "a white roof"))
    changed = library.index_texts([source])
    assert (changed.updated, [note.kind for note in changed.notes]) == (1, ["kept_description"])
    assert (library.get(roof).texts, library.get(roof).meta["album"]) == (("a white roof",), "Crete")
    library.delete([roof])
    assert library.index_texts([source]).trashed == 1
    source.rename(tmp_path / "off")
    (kept,) = library.index_texts([source]).kept
    assert (kept.reason, len(kept.paths), len(library)) == ("it is not there", 2, 2)
    (tmp_path / "off").rename(source)
    assert library.verify().problems == ()


def test_removing_below_a_path_has_an_undo_and_indexing_brings_it_back(filled, pictures):
    identifier = tell(filled, "red.png")
    removed = filled.remove([pictures / "red.png"])
    assert (removed.ids, len(filled)) == ((identifier,), 5)
    assert filled.index([pictures]).restored == 1
    assert told(filled.get(identifier)) == TOLD


def test_embedding_anew_takes_the_trash_along_though_its_files_are_gone(filled, pictures, other_encoder):
    identifier = tell(filled, "red.png")
    (pictures / "red.png").unlink()
    filled.index([pictures])
    report = filled.reembed(other_encoder)
    assert report.from_thumbnails == (str(pictures / "red.png"),)
    after = Library.open(filled.folder, other_encoder)
    assert after.undo().restored == (identifier,)
    assert told(after.get(identifier)) == TOLD


def test_an_interrupted_run_says_how_much_is_kept(library, pictures, painter):
    for number in range(1, 9):
        painter(pictures / f"{number:02}.png", "red", mark=number)
    calls = []

    def stop(paths):
        calls.append(len(paths))
        if len(calls) == 2:
            raise KeyboardInterrupt

    options = IndexOptions(batch_size=2, commit_rows=2, workers=1)
    with pytest.raises(Interrupted) as caught:
        library.index([pictures], options=options, acknowledge=stop)
    there = len(Library.open(library.folder))
    assert there >= 4
    assert str(caught.value) == f"{there} images of this run are in the library and stay there"
    assert library.index([pictures]).unchanged == there


def test_interrupted_texts_say_how_many_are_kept(library, tmp_path, monkeypatch):
    from diptych.library.indexing import texts

    monkeypatch.setattr(texts, "_COMMIT", 2)
    monkeypatch.setattr(texts, "_AT_ONCE", 2)
    source = tmp_path / "t.txt"
    source.write_text("red\nblue\ngreen\n")
    real, calls = type(library.model).encode_texts, []

    def once(model, some):
        calls.append(some)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(model, some)

    monkeypatch.setattr(type(library.model), "encode_texts", once)
    with pytest.raises(Interrupted, match="2 texts of this run are in the library"):
        library.index_texts([source])
    assert library.index_texts([source]).unchanged == 2


def test_embedding_anew_says_when_it_is_interrupted_how_many_are_kept(filled, other_encoder, monkeypatch):
    from diptych.core import workers
    from diptych.library.maintenance import reembed as reembedding

    for name in ("_BATCH", "_COMMIT"):
        monkeypatch.setattr(reembedding, name, 2)
    monkeypatch.setattr(workers, "_BATCHES", 1)
    real, calls = type(other_encoder).encode_pixels, []

    def twice(model, pixels):
        calls.append(len(pixels))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(model, pixels)

    monkeypatch.setattr(type(other_encoder), "encode_pixels", twice)
    with pytest.raises(Interrupted, match="4 images were embedded again and are kept"):
        filled.reembed(other_encoder)
    assert filled.reembed(other_encoder).embedded == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_may_not_be_listed_keeps_its_rows(nas, pictures):
    library, folder, identifier = nas
    folder.chmod(0)
    try:
        assert library.index([pictures]).removed == 0
    finally:
        folder.chmod(0o755)
    assert told(library.get(identifier)) == TOLD


def tell_all(library, folder, names):
    """Each image is described by the name that its file has now; content -> that name."""
    there = by_name(library)
    for name in names:
        library.patch(there[name].id, texts=[name], meta={"was": name})
    return {there[name].content: name for name in names}


def what_is_told(library, contents):
    return {contents[item.content]: item.texts for item in library.items().items if item.content in contents}


@pytest.mark.parametrize("how", ["swapped", "turned", "numbered anew", "one over another"])
def test_files_that_take_each_others_names_keep_what_was_said_of_their_images(filled, pictures, painter, how):
    names = ["red.png", "blue.png", "green.png"]
    contents = tell_all(filled, pictures, names)
    red, blue, green = ((pictures / name) for name in names)
    aside = pictures / "aside.png"
    if how == "swapped":
        red.rename(aside), blue.rename(red), aside.rename(blue)
    elif how == "turned":
        red.rename(aside), blue.rename(red), green.rename(blue), aside.rename(green)
    elif how == "numbered anew":
        green.rename(pictures / "new.png"), blue.rename(green), red.rename(blue)
        painter(red, "red", mark=7)
    else:
        blue.rename(red)
    report = filled.index([pictures])
    told_of = what_is_told(filled, contents)
    assert told_of == {name: (name,) for name in contents.values() if how != "one over another" or name != "red.png"}
    assert report.moved == {"swapped": 2, "turned": 3, "numbered anew": 3, "one over another": 1}[how]
    if how == "one over another":
        assert [one.item.texts for one in filled.trash()] == [("red.png",)]
    assert filled.index([pictures]).unchanged == len(filled)
    assert filled.verify().problems == ()


def test_an_edited_file_whose_former_bytes_are_kept_beside_it_keeps_its_description(filled, pictures, painter):
    identifier = tell(filled, "red.png")
    (pictures / "red.png").rename(pictures / "red.orig.png")
    painter(pictures / "red.png", "red", mark=5)
    report = filled.index([pictures])
    assert told(filled.get(identifier)) == TOLD
    assert filled.get(identifier).path == str(pictures / "red.png")
    assert (report.moved, report.updated, report.added) == (0, 1, 1)


def test_names_of_metadata_that_differ_beyond_ascii_are_columns_of_their_own(library, tmp_path, painter):
    said = [{"颜色": "红", "大小": "大"}, {"颜色": "大", "Größe": 1, "Grüße": 2}, {"a b": 1, "a-b": 2}]
    lines = []
    for number, meta in enumerate(said):
        painter(tmp_path / f"{number}.png", "red", mark=number + 1)
        lines.append(json.dumps({"image": f"{number}.png", "caption": "red", **meta}))
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    (note,) = library.index([tmp_path / "list.jsonl"]).notes
    assert (note.kind, note.count) == ("shared_column", 1)
    assert "'a b' and 'a-b'" in note.detail

    def found(where):
        return sorted(item.path.rpartition("/")[2] for item in library.items(where).items)

    assert found("颜色 = '红'") == ["0.png"]
    assert found("颜色 = '大'") == ["1.png"]
    assert found('größe = 1 AND "Grüße" = 2') == ["1.png"]


def test_metadata_that_filters_cannot_see_is_counted(library, tmp_path, painter):
    for name, colour in (("a", "red"), ("b", "green"), ("c", "blue")):
        painter(tmp_path / f"{name}.png", colour)
    many = {f"key {number:02}": number for number in range(66)}
    rows = [{"image": "a.png", "year": 2020}, {"image": "b.png", "year": "2021"}, {"image": "c.png", **many}]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = library.index([tmp_path / "list.jsonl"])
    counted = {note.detail: note.count for note in report.notes if note.kind in ("no_column", "other_kind")}
    assert counted == {
        "images whose 'year' is no number as that of others: --where takes it for missing": 1,
        "images whose 'key 63' has no column in this library: --where cannot ask for it": 1,
        "images whose 'key 64' has no column in this library: --where cannot ask for it": 1,
        "images whose 'key 65' has no column in this library: --where cannot ask for it": 1,
    }
    assert [item.meta["year"] for item in library.items("name = 'b.png'").items] == ["2021"]
