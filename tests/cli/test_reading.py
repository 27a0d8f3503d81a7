"""What was guessed, joined or passed over while reading, as the commands say it."""

import json
import shutil
import unicodedata

import pytest
from PIL import Image

from diptych.cli.lists import spread

COLOURS = ("red", "green", "blue", "black")


@pytest.fixture
def folder(photos):
    for colour in COLOURS:
        photos.joinpath(f"{colour}.png").rename(photos / f"{colour}.jpg")
    photos.joinpath("white.png").unlink()
    return photos


def table(folder, rows, name="pairs.csv", encoding="utf-8"):
    (folder / name).write_bytes(rows.encode(encoding))
    return folder / name


def rows(header, *cells):
    return "\n".join([header, *(f"{colour}.jpg,{cells[0].format(colour)}" for colour in COLOURS)]) + "\n"


@pytest.mark.parametrize(
    "flags",
    [
        ["--text-columns", "one,two"],
        ["--text-columns", "one", "two"],
        ["--text-columns", "one", "--text-columns", "two"],
        ["--text-columns=one,two"],
    ],
)
def test_text_columns_as_people_write_them(diptych, folder, flags):
    path = table(folder, rows("image,one,two", "a {0} thing,some {0}"))
    for order in ([path, *flags], [*flags, path]):
        code, out, err = diptych("data", "check", *order, "--no-tokens", "--quiet", "--json")
        assert (code, json.loads(out)["texts"]) == (0, 8), err
    code, out, err = diptych("data", "check", path, "--text-columns", "one", "three", "--no-tokens")
    assert (code, "no column 'three'; columns found: image, one, two" in err) == (2, True)


def test_values_end_at_what_names_a_file():
    assert spread(["check", "--text-columns", "a", "b", "pairs.csv", "--json"]) == (
        ["check", "--text-columns", "a", "--text-columns", "b", "pairs.csv", "--json"]
    )
    words = ["search", "--library", "L", "--", "--text-columns", "a", "b"]
    assert spread(words) == words
    assert spread(["x", "--text-columns", "a", "--json", "b"]) == ["x", "--text-columns", "a", "--json", "b"]


def test_no_texts_at_all_lists_the_columns(diptych, folder, models):
    path = table(folder, rows("image,width,kind", "12,{0}"))
    code, out, _ = diptych("data", "check", path, "--no-tokens")
    assert code == 1
    assert "no texts at all; columns found: image, width, kind; name those that hold texts with --text-columns" in out
    code, _, err = diptych("eval", path, "--model", models[0])
    assert (code, "no texts at all; columns found: image, width, kind" in err) == (3, True)


def test_what_was_guessed_is_said_by_every_command(diptych, folder, models, tmp_path):
    line = "['a {0} café', 'the {0} one'],the {0} of the café,17,a {0} thing on a table"
    path = table(
        folder,
        rows("image,caption,caption2,caption_id,blip", line).replace("['", "\"['").replace("']", "']\""),
        "val.csv",
        "cp1252",
    )
    kinds = {"encoding", "list_in_cell", "numbered_column", "unread_column"}
    said = (
        "note: files not UTF-8, read as windows-1252 by guess (--encoding says otherwise): 1 (val.csv)",
        "note: columns read as texts by their numbered names: 1 (caption2)",
        "note: columns that look like texts and are not read (name them with --text-columns if they are): 1 (blip)",
        "note: cells with a list in them, read as its items: 4 (val.csv line 2, val.csv line 3, val.csv line 4, ...)",
    )
    code, out, _ = diptych("data", "check", path, "--no-tokens")
    assert all(line in out for line in said)
    assert "4 pairs, 4 images, 12 texts" in out
    code, out, _ = diptych("data", "check", path, "--no-tokens", "--json", "--quiet")
    assert {note["kind"] for note in json.loads(out)["notes"]} == kinds | {"split"}
    code, out, err = diptych("eval", path, "--model", models[0], "--bootstrap", "0", "--quiet")
    assert code == 0, err
    assert all(line.removeprefix("note: ") in out for line in said)
    code, out, _ = diptych("eval", path, "--model", models[0], "--bootstrap", "0", "--quiet", "--json")
    assert {note["kind"] for note in json.loads(out)["notes"]} >= kinds
    code, out, err = diptych("index", path, "--library", tmp_path / "of.library", "--model", models[0], "--quiet")
    assert code == 0, err
    assert all(line in out for line in said)
    code, _, err = diptych("train", "configs/heads.toml", path, "--out", tmp_path / "run", "--quiet")
    assert (code, "no train pairs" in err, "split val: from the names of files: 1 (val.csv)" in err) == (3, True, True)


def test_an_encoding_that_must_be_named_is_one_sentence(diptych, folder, models, tmp_path):
    path = table(folder, rows("image,caption", "чёрная {0} собака"), encoding="koi8-r")
    for command in (["data", "check", path], ["eval", path], ["index", path, "--library", tmp_path / "of.library"]):
        code, _, err = diptych(*command, *([] if command[0] == "data" else ["--model", models[0]]))
        assert code == 3
        assert "pairs.csv is not UTF-8, and what else it is cannot be told for sure; name it with --encoding" in err
    code, out, _ = diptych("data", "check", path, "--encoding", "koi8-r", "--no-tokens")
    assert (code, "note:" in out) == (0, False)
    arguments = ["--library", tmp_path / "of.library", "--model", models[0], "--encoding", "koi8-r"]
    assert diptych("index", path, *arguments)[0] == 0
    code, out, _ = diptych("search", "--library", tmp_path / "of.library", "x", "--json")
    assert "чёрная" in out
    code, _, err = diptych("data", "check", path, "--encoding", "klingon")
    assert (code, "unknown encoding 'klingon'" in err) == (2, True)


def test_index_counts_what_it_passes_over_and_reads_links_once(diptych, folder, models, tmp_path):
    Image.new("RGB", (40, 30), "yellow").save(folder / "scan", "PNG")
    for name in ("a.psd", "b.psd", "c.svg", "d.XCF", ".hidden.jpg", "notes.txt"):
        (folder / name).write_bytes(b"x")
    (folder / ".thumbs").mkdir()
    (folder / "again.jpg").symlink_to(folder / "red.jpg")
    (folder / "loop").symlink_to(folder)
    other = tmp_path / "other"
    other.mkdir()
    (other / "red.jpg").symlink_to(folder / "red.jpg")
    arguments = [folder, other, "--library", tmp_path / "of.library", "--model", models[0]]
    code, out, err = diptych("index", *arguments)
    assert code == 0, err
    assert "5 added" in out
    assert "note: files of other kinds, passed over: 4 (2 .psd, 1 .svg, 1 .xcf)" in out
    assert "note: hidden images and folders, passed over: 2 (.hidden.jpg, .thumbs)" in out
    assert "note: images whose names have no suffix, read by what they hold: 1 (scan)" in out
    assert "note: links to files and folders that are read already, passed over: 3" in out
    code, out, _ = diptych("index", *arguments, "--json", "--quiet")
    notes = {note["kind"]: note for note in json.loads(out)["notes"]}
    assert (notes["other_kind"]["count"], notes["other_kind"]["parts"]) == (4, {".psd": 2, ".svg": 1, ".xcf": 1})
    assert json.loads(out)["unchanged"] == 5


def test_names_that_differ_in_spelling_only_are_found_and_counted(diptych, folder):
    shutil.move(folder / "red.jpg", folder / unicodedata.normalize("NFD", "café.jpg"))
    shutil.move(folder / "green.jpg", folder / "GREEN.JPG")
    path = table(folder, rows("image,caption", "a {0} thing").replace("red.jpg", "café.jpg"))
    code, out, err = diptych("data", "check", path, "--no-tokens")
    assert code == 0, err
    assert "4 pairs, 4 images" in out
    assert "note: files found by another spelling of their names" in out
    shutil.copy(folder / "GREEN.JPG", folder / "Green.jpg")
    code, out, _ = diptych("data", "check", path, "--no-tokens", "--report", folder / "problems.jsonl")
    assert "3 pairs" in out
    assert "it may be GREEN.JPG or Green.jpg: write the one that is meant" in (folder / "problems.jsonl").read_text()
