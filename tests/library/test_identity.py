"""Labels of a source may repeat or come to stand for other things: rows, and what a user said of them, stay apart."""

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diptych.core.errors import ConfigError, Reason
from diptych.library import Library
from diptych.library.store.rows import Row, content_of

from .conftest import COLOURS, MosaicEncoder, paint


@pytest.fixture
def jpegs(tmp_path: Path) -> dict[str, bytes]:
    """Colour -> a small picture of it."""
    return {name: paint(tmp_path / "drawn" / f"{name}.jpg", name).read_bytes() for name in COLOURS}


@pytest.fixture
def library(tmp_path: Path, encoder: MosaicEncoder) -> Library:
    return Library.create(tmp_path / "library", encoder)


def rows_of(library: Library) -> list[Row]:
    store = library.opened.store()
    return store.get([identifier for block in store.scan(["id"]) for identifier in block["id"]])


def by_content(library: Library, jpegs: dict[str, bytes]) -> dict[str, list]:
    """Colour -> the items of that picture."""
    colours = {content_of(data): name for name, data in jpegs.items()}
    found: dict[str, list] = {}
    for row in rows_of(library):
        found.setdefault(colours[row.content], []).append((row.id, row.path.rpartition("::")[2], dict(row.meta)))
    return found


def write_table(path: Path, jpegs: dict[str, bytes], rows: list[tuple[str | None, str]]) -> Path:
    """A Parquet file of (id, colour) rows; without the id column where no row has one."""
    columns = {"image": [jpegs[colour] for _, colour in rows], "caption": [colour for _, colour in rows]}
    if any(name for name, _ in rows):
        columns["id"] = [name for name, _ in rows]
    pq.write_table(pa.table(columns), path)
    return path


def write_tar(path: Path, jpegs: dict[str, bytes], rows: list[tuple[str, str]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, colour in rows:
            info = tarfile.TarInfo(f"{name}.jpg")
            info.size = len(jpegs[colour])
            tar.addfile(info, io.BytesIO(jpegs[colour]))
    return path


@pytest.mark.parametrize("write", [write_table, write_tar])
def test_every_picture_of_a_repeated_label_is_kept(library, jpegs, tmp_path, write):
    source = write(
        tmp_path / "t", jpegs, [("1", "red"), ("1", "blue"), ("2", "green"), ("1", "white"), ("1~2", "black")]
    )
    named = tmp_path / ("t.parquet" if write is write_table else "t.tar")
    source.rename(named)
    report = library.index([named])
    assert report.added == 5
    assert {one.reason for one in report.skipped} <= {Reason.EMPTY_TEXT}
    assert {colour for colour, items in by_content(library, jpegs).items() if len(items) == 1} == {
        "red", "blue", "green", "white", "black"
    }  # fmt: skip
    again = library.index([named])
    assert (again.unchanged, again.added, again.updated, again.removed, again.embedded) == (5, 0, 0, 0, 0)
    assert library.verify().problems == ()


@pytest.mark.parametrize("ids", [("1", "1", "2"), ("a", "b", "c"), (None, None, None), ("0", "1", "2")])
def test_an_album_stays_with_its_picture_whatever_is_put_in_above(library, jpegs, tmp_path, ids):
    path = tmp_path / "t.parquet"
    library.index([write_table(path, jpegs, list(zip(ids, ("red", "blue", "green"), strict=True)))])
    identifier = {colour: items[0][0] for colour, items in by_content(library, jpegs).items()}
    for colour in ("red", "blue"):
        library.patch(identifier[colour], meta={"album": colour}, name=f"the {colour} one")
    library.delete([identifier["green"]])
    # the new row takes a label that others have, or that was another's
    shifted = ("1", *ids) if ids[0] == "1" else (None,) * 4 if ids[0] is None else ("0", "1", "2", "3")
    colours = ("white", "red", "blue", "green")
    report = library.index([write_table(path, jpegs, list(zip(shifted, colours, strict=True)))])
    assert (report.added, report.embedded, report.removed, report.trashed) == (1, 1, 0, 1)
    found = by_content(library, jpegs)
    assert {colour: items[0][0] for colour, items in found.items()} == {
        "white": found["white"][0][0],
        "red": identifier["red"],
        "blue": identifier["blue"],
    }
    assert {colour: items[0][2].get("album") for colour, items in found.items()} == {
        "white": None,
        "red": "red",
        "blue": "blue",
    }
    assert library.get(identifier["red"]).name == "the red one"


@pytest.mark.parametrize("touch", [True, False])
def test_rows_that_an_older_program_keyed_by_label_alone_are_recognised(library, jpegs, tmp_path, encoder, touch):
    tar = write_tar(tmp_path / "t.tar", jpegs, [("0", "red")])
    library.index([tar])
    [(identifier, _, _)] = by_content(library, jpegs)["red"]
    library.patch(identifier, meta={"album": "mine"})
    # as it was then: of two members of one name the last was kept
    write_tar(tar, jpegs, [("0", "blue"), ("0", "red")])
    if touch:
        import os

        os.utime(tar, ns=(1, 1))
    before = encoder.embedded
    library.index([tar])
    found = by_content(library, jpegs)
    assert (found["red"][0][0], found["red"][0][2]["album"]) == (identifier, "mine")
    assert found["blue"][0][2] == {}
    assert encoder.embedded == before + 1


def test_an_edited_picture_of_a_table_keeps_its_row(library, jpegs, tmp_path):
    path = tmp_path / "t.parquet"
    library.index([write_table(path, jpegs, [("a", "red"), ("b", "blue")])])
    identifier = by_content(library, jpegs)["blue"][0][0]
    library.patch(identifier, meta={"album": "mine"})
    report = library.index([write_table(path, jpegs, [("a", "red"), ("b", "green")])])
    assert (report.updated, report.added, report.removed) == (1, 0, 0)
    [(same, _, meta)] = by_content(library, jpegs)["green"]
    assert (same, meta["album"]) == (identifier, "mine")


def test_a_row_whose_picture_is_gone_goes_when_another_takes_its_label(library, jpegs, tmp_path):
    path = tmp_path / "t.parquet"
    library.index([write_table(path, jpegs, [("a", "red"), ("b", "blue")])])
    blue = by_content(library, jpegs)["blue"][0][0]
    report = library.index([write_table(path, jpegs, [("a", "blue")])])
    found = by_content(library, jpegs)
    assert {colour: [item[:2] for item in items] for colour, items in found.items()} == {"blue": [(blue, "a")]}
    assert (report.removed, report.embedded) == (1, 0)


def test_a_file_in_several_records_is_one_item_with_the_texts_of_all(library, jpegs, tmp_path):
    lines = [
        {"id": "1", "image": "drawn/red.jpg", "caption": "one", "split": "train"},
        {"id": "2", "image": "drawn/red.jpg", "caption": "two", "split": "val"},
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = library.index([tmp_path / "t.jsonl"])
    assert (report.added, [note.kind for note in report.notes]) == (1, ["joined_item"])
    assert library.search("red", 1)[0].meta["texts"] == ["one", "two"]


def texts_of(library: Library) -> dict[str, list[tuple[str, str]]]:
    """Text -> (id, album) of its rows."""
    found: dict[str, list[tuple[str, str]]] = {}
    for row in rows_of(library):
        found.setdefault(row.texts[0], []).append((row.id, row.meta.get("album", "")))
    return found


def write_csv(path: Path, rows: list[tuple[str, str]]) -> Path:
    for colour in COLOURS:
        paint(path.parent / f"{colour}.jpg", colour)
    lines = [f"{name},{image}.jpg,{text}" for name, image, text in rows]
    path.write_text("\n".join(["id,image,caption", *lines]) + "\n")
    return path


def test_every_text_of_a_repeated_id_is_kept(library, tmp_path):
    source = write_csv(
        tmp_path / "t.csv", [("1", "red", "a"), ("1", "blue", "b"), ("2", "green", "c"), ("1", "white", "d")]
    )
    report = library.index_texts([source])
    assert (report.added, report.notes[0].kind) == (4, "repeated_id")
    assert set(texts_of(library)) == {"a", "b", "c", "d"}
    again = library.index_texts([source])
    assert (again.unchanged, again.embedded) == (4, 0)
    for ask in (lambda: library.search("red", sort="size"), lambda: library.items(sort="size")):
        with pytest.raises(ConfigError, match="cannot sort by size: the library holds texts, which have no pixels"):
            ask()


def test_an_album_stays_with_its_text_whatever_is_put_in_above(library, tmp_path):
    rows = [("1", "red", "a"), ("1", "blue", "b"), ("2", "green", "c")]
    source = write_csv(tmp_path / "t.csv", rows)
    library.index_texts([source])
    before = texts_of(library)
    for text in "abc":
        library.patch(before[text][0][0], meta={"album": text})
    # another record of the id above, another text of the same image above, and c edited
    rows = [("1", "white", "x"), ("1", "red", "y"), *rows[:2], ("2", "green", "c!")]
    report = library.index_texts([write_csv(source, rows)])
    after = texts_of(library)
    assert {text: after[text] for text in "ab"} == {text: [(before[text][0][0], text)] for text in "ab"}
    assert after["c!"] == [(before["c"][0][0], "c")]
    assert (after["x"][0][1], after["y"][0][1]) == ("", "")
    assert (report.added, report.embedded, report.removed) == (2, 3, 0)


def test_lines_of_a_text_file_are_told_by_what_they_say(library, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("a\nb\nb\n")
    library.index_texts([path])
    [(a, _)] = texts_of(library)["a"]
    library.patch(a, meta={"album": "mine"})
    path.write_text("new\na\nb\nb\n")
    report = library.index_texts([path])
    assert texts_of(library)["a"] == [(a, "mine")]
    assert len(texts_of(library)["b"]) == 2
    assert (report.added, report.embedded, report.removed, report.moved) == (1, 1, 0, 2)  # one "b" is where it was
