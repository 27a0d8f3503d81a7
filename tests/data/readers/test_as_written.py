"""Texts as they were written: which columns are read, lists in cells, stray quotes, line ends, encodings, blanks."""

import json

import numpy as np
import pytest
from tests.data.readers.test_webdataset import write_tar

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.text import is_blank
from diptych.data.readers import SourceOptions, open_source
from diptych.data.readers.cells import listed_strings


def table(folder, text, name="t.csv", **options):
    """Texts by image, the skipped, and the notes by kind."""
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return texts_of(open_source(folder / name, SourceOptions(**options)))


def texts_of(source):
    texts = {pair.id: [text.value for text in pair.texts] for pair in source}
    return texts, source.skipped, {note.kind: note for note in source.notes}


@pytest.mark.parametrize("column", ["caption_id", "caption_no", "text_no", "title_id", "no", "it", "sentence_num"])
@pytest.mark.parametrize("cells", [("1001", "1002"), ("c-1001", "c-1002")])
def test_numbers_and_codes_that_are_words_are_no_captions(pictures, column, cells):
    folder = pictures("a.jpg", "b.jpg")
    rows = f"image,{column},caption\na.jpg,{cells[0]},a dog\nb.jpg,{cells[1]},a cat\n"
    texts, _, notes = table(folder, rows)
    assert texts == {"a.jpg": ["a dog"], "b.jpg": ["a cat"]}
    assert notes == {}


def test_switches_are_no_captions_in_any_table(pictures):
    folder = pictures("a.jpg")
    assert table(folder, "image,is_human,caption\na.jpg,True,a dog\n")[0] == {"a.jpg": ["a dog"]}
    row = json.dumps({"image": "a.jpg", "is_human": True, "text_no": 3, "caption": "a dog"})
    assert table(folder, row, "t.jsonl")[0] == {"a.jpg": ["a dog"]}


def test_a_column_of_numbers_is_no_caption_whatever_its_name(pictures):
    texts, _, notes = table(pictures("a.jpg"), "image,caption,description\na.jpg,12.5,a dog\n")
    assert texts == {"a.jpg": ["a dog"]}
    assert notes["unread_column"].examples == ("caption",)
    numbers = "image,caption\na.jpg,12.5\nb.jpg,7\n"
    texts, _, notes = table(pictures("a.jpg", "b.jpg"), numbers)
    assert (texts, list(notes)) == ({"a.jpg": [], "b.jpg": []}, ["unread_column"])
    assert table(pictures(), numbers, text_columns=("caption",))[::2] == ({"a.jpg": ["12.5"], "b.jpg": ["7"]}, {})
    assert table(pictures(), "image,caption\na.jpg,12\n")[0] == {"a.jpg": ["12"]}  # one number tells nothing


def test_a_caption_that_is_a_number_among_words_is_a_caption(pictures):
    assert table(pictures("a.jpg", "b.jpg"), "image,caption\na.jpg,2019\nb.jpg,a dog\n")[0]["a.jpg"] == ["2019"]


def test_indonesian_beside_english_is_indonesian(pictures):
    (pictures("a.jpg") / "t.csv").write_text("image,caption_en,caption_id,no\na.jpg,a red car,mobil merah,7\n")
    [pair] = open_source(pictures() / "t.csv")
    assert [(text.value, text.lang) for text in pair.texts] == [("a red car", "en"), ("mobil merah", "id")]


@pytest.mark.parametrize(
    "columns",
    [
        ["caption", "caption2", "caption_3"],
        ["caption_0", "caption_1", "caption_2"],
        ["sentence 1", "sentence 2", "sentence 3"],
        ["text_1", "Text_2", "text (3)"],
    ],
)
def test_numbered_captions_are_all_read_and_named(pictures, columns):
    folder = pictures("a.jpg")
    texts, _, notes = table(folder, f"image,{','.join(columns)}\na.jpg,one dog,two dogs,three dogs\n")
    assert texts == {"a.jpg": ["one dog", "two dogs", "three dogs"]}
    numbered = [name for name in columns if name != "caption"]
    assert (notes["numbered_column"].count, notes["numbered_column"].examples) == (len(numbered), tuple(numbered))
    row = {"image": "a.jpg", **dict(zip(columns, ["one dog", "two dogs", "three dogs"], strict=True))}
    assert table(folder, json.dumps(row), "t.jsonl")[0] == texts


def test_columns_that_look_like_texts_and_are_not_read_are_named(pictures):
    rows = "image,caption,blip,url,width\na.jpg,a dog,a dog on a beach,http://x.org/a b c,12\n"
    texts, _, notes = table(pictures("a.jpg"), rows)
    assert texts == {"a.jpg": ["a dog"]}
    assert (notes["unread_column"].count, notes["unread_column"].examples) == (1, ("blip",))
    assert "unread_column" not in table(pictures("a.jpg"), rows, text_columns=("caption",))[2]


def test_text_columns_may_be_listed_with_commas(pictures):
    folder = pictures("a.jpg")
    rows = 'image,a,b,"c,d"\na.jpg,one,two,three\n'
    assert table(folder, rows, text_columns=("a,b",))[0] == {"a.jpg": ["one", "two"]}
    assert table(folder, rows, text_columns=("c,d", "a"))[0] == {"a.jpg": ["three", "one"]}
    with pytest.raises(ConfigError, match="no column 'x'; columns found: image, a, b, c,d"):
        table(folder, rows, text_columns=("a,x",))


def test_the_columns_of_a_tar_are_chosen_as_those_of_a_table(tmp_path, jpeg):
    record = {"caption": "a dog", "caption_2": "the dog", "caption_id": 7, "blip": "a dog on a beach", "width": 3}
    path = write_tar(tmp_path / "t.tar", [("0.jpg", jpeg()), ("0.json", json.dumps(record).encode())])
    texts, _, notes = texts_of(open_source(path))
    assert texts == {"t/0": ["a dog", "the dog"]}
    assert notes["unread_column"].examples == ("blip",)


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        (str(["a red car", "it's red"]), ["a red car", "it's red"]),
        (str(("a", "b")), ["a", "b"]),
        (str(np.array(["a dog", "it's a cat"])), ["a dog", "it's a cat"]),
        (str(list(np.array(["a", "b"]))), ["a", "b"]),
        (repr(np.array(["a", "b"], dtype=object)), ["a", "b"]),
        ("[\"a\", 'b']", ["a", "b"]),
        ('["a", null, "é"]', ["a", "é"]),
        (str(["a", None, float("nan")]), ["a"]),
        (str([["a"], ["b", "c"]]), ["a", "b", "c"]),
        (str([{"raw": "a dog"}, {"raw": "a cat"}]), ["a dog", "a cat"]),
        (str(['say "no"', "a\nb", "\\d"]), ['say "no"', "a\nb", "\\d"]),
        ("[]", []),
        ("[sic] a 'dog'", None),
        ('("a remark")', None),
        ("['a'] said he", None),
        ("['a', 1]", None),
        ("[1, 2]", None),
        ("['a', __import__('os')]", None),
        ("[" * 50_000, None),
        ("['" * 50_000 + "]", None),
    ],
)
def test_lists_that_were_written_into_cells(cell, items):
    assert listed_strings(cell) == items


def test_a_list_in_a_cell_is_read_as_its_items_and_counted(pictures):
    folder = pictures("a.jpg", "b.jpg")
    rows = "image\tcaption\na.jpg\t['a red car', 'the car is red']\nb.jpg\t['a tree' \"the tree's green\"]\n"
    texts, _, notes = table(folder, rows, "t.tsv")
    assert texts == {"a.jpg": ["a red car", "the car is red"], "b.jpg": ["a tree", "the tree's green"]}
    assert (notes["list_in_cell"].count, notes["list_in_cell"].examples) == (2, ("t.tsv line 2", "t.tsv line 3"))
    (folder / "u.csv").write_text("images,caption\n\"['a.jpg', 'b.jpg']\",both\n")
    [pair] = open_source(folder / "u.csv")
    assert [image.path.name for image in pair.images] == ["a.jpg", "b.jpg"]


def test_a_list_that_pandas_quoted_in_a_tsv_is_read(pictures):
    rows = 'image\tcaption\na.jpg\t"[""it\'s red"", \'b\']"\n'
    assert table(pictures("a.jpg"), rows, "t.tsv")[0] == {"a.jpg": ["it's red", "b"]}


def test_a_list_of_ingredients_in_a_cell_is_one_text(pictures):
    rows = "image,ingredients\na.jpg,\"['2 eggs', 'salt']\"\n"
    assert table(pictures("a.jpg"), rows)[0] == {"a.jpg": ["2 eggs\nsalt"]}


NAMES = [f"p{number}.jpg" for number in range(6)]


def test_quotes_in_a_raw_tsv_swallow_no_rows(pictures):
    written = ['"Nice"', '"12 apples', "a house", 'size 12"', '"Stop" said the tree', "a dog"]
    rows = "".join(f"{name}\t{text}\n" for name, text in zip(NAMES, written, strict=True))
    texts, skipped, notes = table(pictures(*NAMES), f"filepath\ttitle\n{rows}", "q.tsv")
    assert texts == {name: [text] for name, text in zip(NAMES, written, strict=True)}
    assert (skipped, list(notes)) == ([], ["raw_quotes"])


@pytest.mark.parametrize("delimiter", [",", ";", "|"])
@pytest.mark.parametrize("image_first", [True, False])
def test_a_stray_quote_in_a_quoting_table_swallows_no_rows(pictures, delimiter, image_first):
    cells = ['"a ""big"" dog\non the grass"', '"12 apples', "a house", 'size 12"', "a dog", '"never closed']
    lines = [
        delimiter.join((name, cell) if image_first else (cell, name)) for name, cell in zip(NAMES, cells, strict=True)
    ]
    header = delimiter.join(("image", "caption") if image_first else ("caption", "image"))
    texts, skipped, notes = table(pictures(*NAMES), "\n".join([header, *lines]) + "\n")
    expected = ['a "big" dog\non the grass', '"12 apples', "a house", 'size 12"', "a dog", '"never closed']
    assert texts == {name: [text] for name, text in zip(NAMES, expected, strict=True)}
    assert skipped == []
    assert notes["stray_quote"].count == 2


def test_many_stray_quotes_take_no_time(pictures):
    rows = "".join(f'a.jpg,"{number} apples\n' for number in range(3000))
    texts, skipped, notes = table(pictures("a.jpg"), f"image,caption\n{rows}")
    assert texts["a.jpg"][::1000] == ['"0 apples', '"1000 apples', '"2000 apples']
    assert (len(texts["a.jpg"]), skipped, notes["stray_quote"].count) == (3000, [], 3000)


def test_long_digits_and_long_names_take_no_time(pictures):
    row = json.dumps({"image": "a.jpg", "caption": "1" * 200_000 + "x", "a" + "_" * 200_000: "b"})
    texts, _, _ = table(pictures("a.jpg"), row, "t.jsonl")
    assert [len(text) for text in texts["a.jpg"]] == [200_001]


LINES = "one\u2028two\x0bthree\x0cfour\x85five\x1csix"


def test_only_a_line_feed_ends_a_line(pictures, jpeg, tmp_path):
    folder = pictures("a.jpg")
    (folder / "a.txt").write_text(f"{LINES}\r\nthe second\n", "utf-8", newline="")
    [pair] = open_source(folder)
    assert [text.value for text in pair.texts] == [LINES, "the second"]
    row = json.dumps({"image": "a.jpg", "caption": LINES}, ensure_ascii=False)
    assert table(folder, f"{row}\n", "t.jsonl")[0] == {"a.jpg": [LINES]}
    assert table(folder, f"{row}\n".encode("utf-16"), "w.jsonl")[0] == {"a.jpg": [LINES]}
    assert table(folder, f'image,caption\na.jpg,"{LINES}"\n')[0] == {"a.jpg": [LINES]}
    assert table(folder, f"image\tcaption\na.jpg\t{LINES}\n", "t.tsv")[0] == {"a.jpg": [LINES]}
    token = folder / "captions.token.txt"
    token.write_text(f"a.jpg#0\t{LINES}\na.jpg#1\tdog\n", "utf-8")
    assert texts_of(open_source(token))[0] == {"a.jpg": [LINES, "dog"]}


def test_a_member_of_a_tar_is_one_caption_and_the_json_wins_over_its_copy(tmp_path, jpeg):
    caption = f"a red car\nparked {LINES}"
    members = [
        ("0.jpg", jpeg()),
        ("0.txt", caption.encode()),
        ("0.json", json.dumps({"caption": caption}).encode()),
        ("1.jpg", jpeg(1)),
        ("1.txt", caption.encode()),
        ("2.jpg", jpeg(2)),
        ("2.txt", b"one\ntwo\n"),
        ("2.json", json.dumps({"captions": ["one", "two"]}).encode()),
        ("3.jpg", jpeg(3)),
        ("3.txt", b"another"),
        ("3.json", json.dumps({"caption": "a dog"}).encode()),
    ]
    texts, skipped, notes = texts_of(open_source(write_tar(tmp_path / "t.tar", members)))
    assert texts == {"t/0": [caption], "t/1": [caption], "t/2": ["one", "two"], "t/3": ["another", "a dog"]}
    assert (skipped, notes["caption_of_lines"].count) == ([], 3)


def test_masks_beside_an_image_are_no_further_images(tmp_path, jpeg):
    names = ["0.jpg", "0.seg.png", "1.depth.png", "1.jpg", "2.left.jpg", "2.right.jpg", "3.0.jpg", "3.1.jpg"]
    names += ["4.mask.png", "5.jpg", "5.png", "6.jpg", "6.1.jpg"]
    members = [(name, jpeg(number)) for number, name in enumerate(names)]
    members += [(f"{key}.npy", b"x") for key in range(2)]
    members.sort(key=lambda member: member[0].split(".")[0])
    members += [("7.jpg", jpeg(20)), ("7_mask.png", jpeg(21))]
    source = open_source(write_tar(tmp_path / "t.tar", members))
    found = {pair.id: [image.member for image in pair.images] for pair in source}
    assert found == {
        "t/0": ["0.jpg"],
        "t/1": ["1.jpg"],
        "t/2": ["2.left.jpg", "2.right.jpg"],
        "t/3": ["3.0.jpg", "3.1.jpg"],
        "t/4": ["4.mask.png"],
        "t/5": ["5.jpg"],
        "t/6": ["6.jpg", "6.1.jpg"],
        "t/7": ["7.jpg"],
    }
    notes = {note.kind: note for note in source.notes}
    assert (notes["extra_image"].count, notes["other_kind"].parts) == (4, {".npy": 2})
    asked = open_source(tmp_path / "t.tar", SourceOptions(extra_images=True))
    assert [len(pair.images) for pair in asked] == [2, 2, 2, 2, 1, 2, 2, 1, 1]
    assert not any(note.kind == "extra_image" for note in asked.notes)


BLANKS = ["\u200b", "\ufeff\u2060", "\u2800\u3164", "\ufe0f\u00ad", "\u115f\u034f", "\U000e0100", "\x07\x1b"]


@pytest.mark.parametrize("blank", BLANKS)
def test_captions_of_invisible_characters_are_empty_in_every_reader(pictures, jpeg, blank):
    assert is_blank(blank)
    folder = pictures("a.jpg")
    row = json.dumps({"image": "a.jpg", "caption": blank}, ensure_ascii=False)
    (folder / "a.txt").write_text(blank, "utf-8")
    tar = write_tar(folder / "t.tar", [("0.jpg", jpeg()), ("0.txt", blank.encode())])
    token = folder / "captions.token.txt"
    token.write_text(f"a.jpg#0\t{blank}\n", "utf-8")
    for texts, skipped, _ in (
        table(folder, f"image,caption\na.jpg,{blank}\n"),
        table(folder, row, "t.jsonl"),
        texts_of(open_source(tar)),
        texts_of(open_source(token)),
        texts_of(open_source(folder, SourceOptions(format="images"))),
    ):
        assert set(map(tuple, texts.values())) == {()}
        assert {entry.reason for entry in skipped} == {Reason.EMPTY_TEXT}


@pytest.mark.parametrize("text", ["a", "🍎", "❤\ufe0f", "狗", "\u200bdog", "𝓪", "\u0301x"])
def test_what_can_be_seen_is_no_blank(text):
    assert not is_blank(text)


CAPTIONS = {
    "cp1252": ("ein Mann auf der Straße", "a café’s menu – 5 €"),
    "gb18030": ("一只黑色的狗在海滩上奔跑", "两个女孩在雪地里玩耍"),
    "big5": ("一隻黑色的狗在海灘上奔跑", "兩個女孩在雪地裡玩耍"),
    "cp932": ("黒い犬が海辺を走っている", "二人の女の子が遊んでいる"),
    "euc_jp": ("黒い犬が海辺を走っている", "二人の女の子が遊んでいる"),
    "cp949": ("검은 개가 해변을 달리고 있다", "두 소녀가 눈 속에서 놀고 있다"),
    "utf-16-le": ("一只狗", "a café"),
    "utf-16-be": ("一只狗", "a café"),
    "utf-32-le": ("一只狗", "a café"),
}
CERTAIN = ("utf-8", "utf-8-sig", "utf-16", "utf-32")


@pytest.mark.parametrize("encoding", [*CAPTIONS, *CERTAIN])
def test_tables_in_other_encodings_are_decoded_and_a_guess_is_said(pictures, encoding):
    folder = pictures("a.jpg", "b.jpg")
    one, two = CAPTIONS.get(encoding, ("Straße 🍎", "一只狗"))
    expected = {"a.jpg": [one], "b.jpg": [two]}
    line = '{{"image": "{}", "caption": "{}"}}\n'
    for rows, name in (
        (f"image,caption\na.jpg,{one}\nb.jpg,{two}\n", "t.csv"),
        (f"image\tcaption\na.jpg\t{one}\nb.jpg\t{two}\n", "t.tsv"),
        (line.format("a.jpg", one) + line.format("b.jpg", two), "t.jsonl"),
        (f"a.jpg#0\t{one}\nb.jpg#0\t{two}\n", "captions.token.txt"),
    ):
        if name == "captions.token.txt" and encoding.startswith(("utf-16", "utf-32")):
            continue  # a token file is told by its first line in ASCII
        texts, skipped, notes = table(folder, rows.encode(encoding), name)
        assert (texts, skipped) == (expected, [])
        assert ("encoding" in notes) == (encoding not in CERTAIN)
        assert table(folder, rows.encode(encoding), name, encoding=encoding)[::2] == (expected, {})


def test_a_utf8_mark_before_other_bytes_is_passed_over(pictures):
    rows = b"\xef\xbb\xbfimage,caption\na.jpg,ein Mann auf der Stra\xdfe\n"
    texts, skipped, notes = table(pictures("a.jpg"), rows)
    assert (texts, skipped) == ({"a.jpg": ["ein Mann auf der Straße"]}, [])
    assert "read as windows-1252 by guess" in notes["encoding"].detail


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "cp1250", "mac_roman", "cp850"])
def test_an_encoding_that_is_not_clear_is_asked_for_in_one_sentence(pictures, encoding):
    caption = {"cp1250": "mężczyzna stoi żółty", "mac_roman": "le garçon à côté", "cp850": "le garçon à côté"}
    said = caption.get(encoding, "чёрная собака бежит")
    rows = f"image,caption\na.jpg,{said}\nb.jpg,{said}\n".encode(encoding)
    with pytest.raises(DataError, match=r"t\.csv is not UTF-8, .* name it with --encoding"):
        table(pictures("a.jpg", "b.jpg"), rows)
    assert table(pictures(), rows, encoding=encoding) == ({"a.jpg": [said], "b.jpg": [said]}, [], {})


def test_a_few_broken_lines_of_utf8_are_left_out_and_named(pictures):
    folder = pictures("a.jpg", "b.jpg")
    rows = b"image,caption\na.jpg,\xc3\xa9t\xc3\xa9 \xe4\xb8\x80\nb.jpg,\x81 \xff\n"
    texts, skipped, notes = table(folder, rows)
    assert texts == {"a.jpg": ["été 一"], "b.jpg": []}
    assert ([entry.reason for entry in skipped], notes) == ([Reason.BAD_ROW], {})


def test_an_unknown_encoding_is_refused(pictures):
    for name in ("windows-1299", "base64", "rot13"):
        with pytest.raises(ConfigError, match=f"unknown encoding '{name}'"):
            SourceOptions(encoding=name)


def test_the_folder_that_a_table_was_named_in_is_not_its_split(pictures):
    folder = pictures("dev/a.jpg", "set/train/b.jpg", "set/test/c.jpg")
    (folder / "dev" / "pairs.csv").write_text("image,caption\na.jpg,dog\n")
    for spec in (folder / "dev" / "pairs.csv", folder / "dev"):
        source = open_source(spec)
        assert ([pair.split for pair in source], list(source.notes)) == ([None], [])
    (folder / "dev" / "val.jsonl").write_text('{"image": "a.jpg", "caption": "dog"}\n')
    source = open_source(folder / "dev" / "val.jsonl")
    assert [pair.split for pair in source] == ["val"]
    assert [note.to_text() for note in source.notes] == ["split val: from the names of files: 1 (val.jsonl)"]
    for part, image in (("train", "b"), ("test", "c")):
        (folder / "set" / part / "pairs.csv").write_text(f"image,caption,split\n{image}.jpg,dog,\n")
    source = open_source(folder / "set", SourceOptions(format="csv"))
    assert [pair.split for pair in source] == ["test", "train"]
    assert {note.kind for note in source.notes} == {"split"}
    (folder / "dev" / "val.csv").write_text("image,caption,split\na.jpg,dog,train\n")
    source = open_source(folder / "dev" / "val.csv")
    assert ([pair.split for pair in source], list(source.notes)) == (["train"], [])


@pytest.mark.parametrize("kind", ["csv", "karpathy", "flickr", "jsonl"])
def test_images_are_found_by_another_spelling_in_every_reader(pictures, kind):
    nfd, nfc = "cafe\u0301/pho\u0302to.JPG", "café/phôto.jpg"
    folder = pictures(nfd)
    content = {
        "csv": ("t.csv", f"image,caption\n{nfc},dog\n"),
        "jsonl": ("t.jsonl", json.dumps({"image": nfc, "caption": "dog"})),
        "karpathy": ("t.json", json.dumps({"images": [{"filename": nfc, "sentences": [{"raw": "dog"}]}]})),
        "flickr": ("captions.token.txt", f"{nfc}#0\tdog\n"),
    }
    name, text = content[kind]
    (folder / name).write_text(text, "utf-8")
    source = open_source(folder / name)
    [pair] = source
    assert (pair.images[0].path, [text.value for text in pair.texts]) == (folder / nfd, ["dog"])
    assert [(note.kind, note.count) for note in source.notes] == [("other_spelling", 1)]


def test_the_captions_of_a_folder_are_found_by_another_spelling(pictures):
    folder = pictures("cafe\u0301.jpg", "B.JPG")
    (folder / "café.txt").write_text("one\n")
    (folder / "b.TXT").write_text("two\n")
    texts, _, notes = texts_of(open_source(folder))
    assert sorted(texts.values()) == [["one"], ["two"]]
    assert notes["other_spelling"].count == 2


def test_a_number_that_is_none_names_no_class_no_split_and_no_record(pictures):
    nothing = '"id": NaN, "class": NaN, "split": NaN, "lang": NaN'
    rows = "".join(f'{{"image": "{name}.jpg", "text": "a dog", {nothing}}}\n' for name in "ab")
    (pictures("a.jpg", "b.jpg") / "t.jsonl").write_text(rows)
    source = open_source(pictures() / "t.jsonl")
    found = [(pair.id, pair.is_named, pair.group, pair.split, pair.texts[0].lang) for pair in source]
    assert found == [("a.jpg", False, None, None, None), ("b.jpg", False, None, None, None)]
    assert list(source.notes) == []


@pytest.mark.parametrize(
    ("cell", "texts", "said"),
    [
        ({"en": "a dog", "de": "ein Hund"}, [], ["text: no text in an object of en, de (expected raw, text, caption)"]),
        ([{"raw": "a dog"}, {"words": "x"}], ["a dog"], ["text: no text in an object of words"]),
        ([True, "a dog"], ["a dog"], []),
        ([{"raw": None, "text": "a dog"}, None, {}], ["a dog"], []),
    ],
)
def test_objects_in_which_no_text_is_found_are_named(pictures, cell, texts, said):
    found, skipped, _ = table(pictures("a.jpg"), json.dumps({"image": "a.jpg", "text": cell}), "t.jsonl")
    assert found == {"a.jpg": texts}
    assert [entry.detail[: len(line)] for entry, line in zip(skipped, said, strict=True)] == said


def test_a_key_that_is_given_twice_is_counted(pictures):
    texts, _, notes = table(pictures("a.jpg"), '{"image": "a.jpg", "text": "a dog", "text": "a cat"}\n', "t.jsonl")
    assert texts == {"a.jpg": ["a cat"]}
    assert notes["repeated_key"].count == 1


@pytest.mark.parametrize("column", ["Image", "image_2", "image2"])
def test_a_further_column_of_images_is_named(pictures, column):
    _, _, notes = table(pictures("a.jpg", "b.jpg"), f"image,{column},caption,url\na.jpg,b.jpg,a dog,x\n")
    assert notes["unread_column"].examples == (column,)


def test_text_files_that_belong_to_no_image_are_counted(pictures):
    folder = pictures("a.jpg", "b.jpg", "c/d.jpg")
    for name in ("a.txt", "b.jpg.txt", "gone.txt", "c/d.caption", "c/D.TXT"):
        (folder / name).write_text("a dog")
    (folder / "e.jpg").symlink_to(folder / "a.jpg")
    texts, _, notes = texts_of(open_source(folder))
    assert texts == {"a.jpg": ["a dog"], "b.jpg": [], "c/d.jpg": ["a dog"]}
    assert notes["unread_text"].examples == ("b.jpg.txt", "gone.txt", "c/d.caption")


def test_tables_that_are_not_read_are_named(pictures):
    folder = pictures("a.jpg", "b/c.jpg")
    (folder / "t.csv").write_text("image,caption\na.jpg,a dog\n")
    (folder / "more.jsonl").write_text('{"image": "a.jpg", "text": "a cat"}\n')
    (folder / "b" / "t.csv").write_text("image,caption\nc.jpg,a hen\n")
    texts, _, notes = texts_of(open_source(folder))
    assert texts == {"a.jpg": ["a dog"]}
    assert notes["unread_table"].examples == ("b/t.csv", "more.jsonl")
    assert "unread_table" not in texts_of(open_source(folder / "t.csv"))[2]


def test_words_that_programs_write_for_no_text_are_counted(pictures):
    rows = "image,caption\na.jpg,nan\nb.jpg,None\nc.jpg,none of them\n"
    texts, _, notes = table(pictures("a.jpg", "b.jpg", "c.jpg"), rows)
    assert texts == {"a.jpg": ["nan"], "b.jpg": ["None"], "c.jpg": ["none of them"]}
    assert (notes["word_for_nothing"].count, notes["word_for_nothing"].examples) == (
        2,
        ("t.csv line 2", "t.csv line 3"),
    )
