"""Folders of images, with captions or classes."""

import os

import pytest

from diptych.core.errors import DataError, Reason
from diptych.core.types import Text
from diptych.data.readers import open_source


def test_a_caption_file_gives_one_text_a_line(pictures, read):
    folder = pictures("b.jpg", "a.JPG", "deep/c.png")
    (folder / "a.txt").write_text("\ufeffein Hund\n\n zwei Hunde \n", "utf-8")
    (folder / "notes.md").write_text("no image")
    pairs, skipped = read(folder, lang="de")
    assert [pair.id for pair in pairs] == ["a.JPG", "b.jpg", "deep/c.png"]
    assert pairs[0].texts == (Text("ein Hund", "de"), Text("zwei Hunde", "de"))
    assert pairs[1].texts == ()
    assert skipped == []


def test_split_folders_give_the_split(pictures, read):
    folder = pictures("train/a.jpg", "dev/b.jpg", "other/c.jpg")
    pairs, _ = read(folder, format="images")
    assert {pair.id: pair.split for pair in pairs} == {
        "train/a.jpg": "train",
        "dev/b.jpg": "val",
        "other/c.jpg": None,
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", Reason.EMPTY_TEXT),
        (b"  \n", Reason.EMPTY_TEXT),
        (b"\x81 \xff", Reason.BAD_ROW),
        (b"a\0b", Reason.BAD_ROW),
    ],
)
def test_a_bad_caption_file_is_named_and_the_image_stays(pictures, read, content, reason):
    folder = pictures("a.jpg")
    (folder / "a.txt").write_bytes(content)
    pairs, skipped = read(folder)
    assert [pair.texts for pair in pairs] == [()]
    assert [(entry.reason, "a.txt" in entry.name) for entry in skipped] == [(reason, True)]


def test_a_caption_file_in_utf16_is_read(pictures, read):
    folder = pictures("a.jpg")
    (folder / "a.txt").write_text("ein Hund", "utf-16")
    assert read(folder)[0][0].texts == (Text("ein Hund"),)


def test_one_image_file_is_a_source(pictures, read):
    folder = pictures("a.jpg", "b.jpg")
    assert [pair.id for pair in read(folder / "a.jpg")[0]] == ["a.jpg"]


def test_class_folders_are_found_and_name_the_group(pictures, read):
    folder = pictures("red_fox/1.jpg", "red_fox/deep/2.jpg", "owl/3.jpg")
    assert open_source(folder).format == "classes"
    pairs, _ = read(folder)
    assert [(pair.id, pair.group, pair.texts) for pair in pairs] == [
        ("owl/3.jpg", "owl", (Text("owl", None, "class"),)),
        ("red_fox/1.jpg", "red_fox", (Text("red fox", None, "class"),)),
        ("red_fox/deep/2.jpg", "red_fox", (Text("red fox", None, "class"),)),
    ]


def test_class_folders_below_split_folders(pictures, read):
    pairs, _ = read(pictures("train/fox/1.jpg", "train/owl/2.jpg", "val/fox/3.jpg"))
    assert [(pair.split, pair.group) for pair in pairs] == [
        ("train", "fox"),
        ("train", "owl"),
        ("val", "fox"),
    ]


def test_images_outside_any_class_are_skipped(pictures, read):
    pairs, skipped = read(pictures("fox/1.jpg", "2.jpg"), format="classes")
    assert len(pairs) == 1
    assert [entry.reason for entry in skipped] == [Reason.BAD_ROW]


def test_a_file_name_that_is_not_utf8_is_skipped(pictures, read):
    folder = pictures("a.jpg")
    try:
        (folder / "a.jpg").rename(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (folder / "b.jpg").write_bytes(b"x")
    pairs, skipped = read(folder)
    assert [pair.id for pair in pairs] == ["b.jpg"]
    assert skipped[0].reason is Reason.BAD_ROW
    skipped[0].name.encode()


def test_hidden_files_are_left_alone(pictures, read):
    assert [pair.id for pair in read(pictures(".a.jpg", ".cache/b.jpg", "c.jpg"))[0]] == ["c.jpg"]


def test_an_empty_folder_and_one_without_images_say_so(tmp_path):
    with pytest.raises(DataError, match="is an empty folder"):
        open_source(tmp_path)
    (tmp_path / "readme.md").write_text("hello")
    with pytest.raises(DataError, match="holds no images"):
        list(open_source(tmp_path))
