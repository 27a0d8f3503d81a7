"""JSON lines and recipes."""

import json

import pytest

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.types import Origin, Text
from diptych.data.readers import of_origins, open_source


def test_language_keys_and_lists_become_texts(pictures, read):
    folder = pictures("images/a.jpg")
    row = {
        "image": "a.jpg",
        "en": "a dog",
        "de": "ein Hund",
        "de_independent": ["Hund eins", "Hund zwei"],
        "title_fr": "Chien",
        "is_valid": "yes",
        "split": "dev",
        "stars": 4,
    }
    (folder / "multi.jsonl").write_text(json.dumps(row) + "\n")
    [pair], skipped = read(folder / "multi.jsonl")
    assert pair.texts == (
        Text("a dog", "en", meaning=0),
        Text("ein Hund", "de", meaning=0),
        Text("Hund eins", "de"),
        Text("Hund zwei", "de"),
        Text("Chien", "fr", "title"),
    )
    assert (pair.split, pair.meta, skipped) == ("val", {"is_valid": "yes", "stars": 4}, [])


def test_broken_lines_are_named_and_counted(pictures, read):
    folder = pictures("a.jpg", "b.jpg")
    lines = [
        b'\xef\xbb\xbf{"image": "a.jpg", "caption": "ok"}',
        b'{"image": "a.jpg", ',
        b"[1, 2]",
        b'{"caption": "no image"}',
        b'{"image": "b.jpg", "caption": "lone \\ud83d surrogate"}',
        b'{"image": "b\\u0000.jpg", "caption": "zero"}',
        b'{"image": "b.jpg", "caption": "\x81 \xff"}',
        b"[" * 100_000,
        b'{"image": 3, "caption": "number"}',
        b'{"image": "b.jpg", "caption": ["", "fine"]}',
        b'{"id": "\\ud800", "image": "a.jpg", "caption": "bad id"}',
        b'{"image": "' + b"x" * 5000 + b'.jpg"}',
    ]
    (folder / "t.jsonl").write_bytes(b"\r\n".join(lines))
    pairs, skipped = read(folder / "t.jsonl")
    assert [(pair.id, [text.value for text in pair.texts]) for pair in pairs] == [
        ("a.jpg", ["ok"]),
        ("b.jpg", ["fine"]),
    ]
    assert {entry.name: entry.reason for entry in skipped} == {
        "t.jsonl line 2": Reason.BAD_ROW,
        "t.jsonl line 3": Reason.BAD_ROW,
        "t.jsonl line 4": Reason.NO_IMAGE,
        "t.jsonl line 5": Reason.BAD_ROW,
        "t.jsonl line 6": Reason.MISSING,
        "t.jsonl line 7": Reason.BAD_ROW,
        "t.jsonl line 8": Reason.BAD_ROW,
        "t.jsonl line 9": Reason.NO_IMAGE,
        "t.jsonl line 10": Reason.EMPTY_TEXT,
        "t.jsonl line 12": Reason.MISSING,
        "\\ud800": Reason.BAD_ROW,
    }
    for entry in skipped:
        (entry.name + entry.detail).encode()


RECIPE = {
    "id": "r1",
    "lang": "zh",
    "category": "soup",
    "title": "汤",
    "ingredients": ["水", "盐"],
    "instructions": ["煮", "喝"],
    "images": ["a.jpg", "b.jpg"],
}


def test_recipes_have_three_texts_and_all_their_images(pictures, read):
    folder = pictures("images/a.jpg", "images/b.jpg")
    (folder / "recipes.jsonl").write_text(json.dumps(RECIPE) + "\n" + json.dumps({**RECIPE, "id": "r2", "images": []}))
    assert open_source(folder).format == open_source(folder / "recipes.jsonl").format == "recipes"
    [pair], skipped = read(folder)
    assert pair.texts == (
        Text("汤", "zh", "title"),
        Text("水\n盐", "zh", "ingredients"),
        Text("煮\n喝", "zh", "instructions"),
    )
    assert (pair.id, pair.group) == ("r1", "soup")
    assert [image.path.name for image in pair.images] == ["a.jpg", "b.jpg"]
    assert [(entry.name, entry.reason) for entry in skipped] == [("recipes.jsonl line 2", Reason.NO_IMAGE)]


def test_parts_of_a_recipe_can_be_left_out(pictures, read):
    folder = pictures("images/a.jpg", "images/b.jpg")
    (folder / "recipes.jsonl").write_text(json.dumps(RECIPE))
    [pair], _ = read(folder, text_columns=("title", "instructions"))
    assert [text.field for text in pair.texts] == ["title", "instructions"]


def test_parts_of_a_recipe_can_be_joined(pictures, read):
    folder = pictures("images/a.jpg", "images/b.jpg")
    (folder / "recipes.jsonl").write_text(json.dumps(RECIPE))
    [pair], _ = read(folder, text_parts=("instructions,title",))
    assert pair.texts == (Text("煮\n喝\n汤", "zh", "instructions+title"),)


def test_a_part_that_no_record_has_is_an_error_that_lists_the_parts(pictures, read):
    folder = pictures("images/a.jpg", "images/b.jpg")
    (folder / "recipes.jsonl").write_text(json.dumps(RECIPE))
    with pytest.raises(DataError, match="no text part 'titel'; parts found: ingredients, instructions, title"):
        read(folder, text_parts=("titel",))


DESCRIBED = [
    {"text": "a dog", "lang": "EN", "meaning": 0},
    {"text": "un perro", "lang": "es", "origin": "translated", "meaning": 0, "engine": "apertium en-es"},
    {"text": "Soup", "field": "title"},
    "plain",
]


def test_texts_may_say_their_language_origin_and_meaning(pictures, read):
    folder = pictures("a.jpg")
    (folder / "t.jsonl").write_text(json.dumps({"image": "a.jpg", "texts": DESCRIBED, "lang": "fr"}) + "\n")
    [pair], skipped = read(folder / "t.jsonl")
    assert pair.texts == (
        Text("a dog", "en", meaning=0),
        Text("un perro", "es", "caption", Origin.TRANSLATED, 0, "apertium en-es"),
        Text("Soup", "fr", "title"),
        Text("plain", "fr"),
    )
    assert skipped == []


def test_texts_of_machines_can_be_left_out(pictures, read):
    folder = pictures("a.jpg")
    (folder / "t.jsonl").write_text(json.dumps({"image": "a.jpg", "texts": DESCRIBED}))
    [pair], _ = read(folder / "t.jsonl", origins=("human",))
    assert [text.value for text in pair.texts] == ["a dog", "Soup", "plain"]
    [pair], _ = read(folder / "t.jsonl", origins=("translated",))
    assert [text.value for text in pair.texts] == ["un perro"]
    [pair], _ = read(folder / "t.jsonl")
    assert [text.value for text in of_origins(pair).texts] == ["a dog", "Soup", "plain"]
    with pytest.raises(ConfigError, match="unknown origin 'humans'; choose from back_translated, human, translated"):
        read(folder / "t.jsonl", origins=("humans",))


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ({"text": 3, "lang": "en"}, "expected a string"),
        (7, "expected a string"),
        ({"text": "x", "lang": 3}, "lang must be a string, found 3"),
        ({"text": "x", "origin": "martian"}, "unknown origin 'martian'; choose from human, translated"),
        ({"text": "x", "meaning": -1}, "meaning must be a whole number from 0, found -1"),
        ({"text": "x", "meaning": True}, "meaning must be a whole number"),
        ({"text": "x", "engine": "\ud800"}, "engine must be a string"),
    ],
)
def test_a_text_that_says_it_wrongly_is_skipped_and_the_others_stay(pictures, read, item, problem):
    folder = pictures("a.jpg")
    (folder / "t.jsonl").write_text(json.dumps({"image": "a.jpg", "texts": [*DESCRIBED, item]}) + "\n")
    [pair], [entry] = read(folder / "t.jsonl")
    assert len(pair.texts) == 4
    assert problem in entry.detail


def test_rows_of_one_image_keep_their_meanings_apart(pictures, read):
    folder = pictures("a.jpg")
    rows = [{"image": "a.jpg", "en": "a dog", "de": "ein Hund"}, {"image": "a.jpg", "en": "a cat", "de": "eine Katze"}]
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    [pair], _ = read(folder / "t.jsonl")
    assert [text.meaning for text in pair.texts] == [0, 0, 1, 1]


def test_lists_and_columns_that_say_so_are_translations_of_nothing(pictures, read):
    folder = pictures("a.jpg")
    row = {"image": "a.jpg", "en": "a dog", "caption_en": "dog", "de": ["Hund", "der Hund"], "fr_independent": "chien"}
    (folder / "t.jsonl").write_text(json.dumps(row))
    [pair], _ = read(folder / "t.jsonl")
    assert {text.meaning for text in pair.texts} == {None}


def test_a_described_file_has_another_fingerprint_only_when_it_says_more(pictures):
    folder = pictures("a.jpg")

    def fingerprint(text):
        (folder / "t.jsonl").write_text(json.dumps({"image": "a.jpg", "texts": [text]}))
        return open_source(folder / "t.jsonl").fingerprint()

    assert fingerprint("a dog") == fingerprint({"text": "a dog", "field": "caption"})
    assert fingerprint("a dog") != fingerprint({"text": "a dog", "origin": "back_translated"})


def test_a_column_no_row_has_is_an_error_that_lists_the_keys(pictures, read):
    folder = pictures("a.jpg")
    (folder / "t.jsonl").write_text('{"image": "a.jpg", "caption": "dog"}\n')
    with pytest.raises(DataError, match=r"no column 'words'; columns found: image, caption"):
        read(folder / "t.jsonl", text_columns=("words",))
