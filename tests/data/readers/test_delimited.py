"""CSV and TSV, clean and as found in the wild."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.types import Text
from diptych.data.readers import open_source
from diptych.data.readers.delimited import delimiter_of


@pytest.mark.parametrize("delimiter", [",", "\t", "|", ";"])
def test_the_delimiter_is_found(pictures, read, delimiter):
    folder = pictures("a.jpg")
    rows = [["image", "caption", "split"], ["a.jpg", "a dog", "dev"]]
    (folder / "t.csv").write_text("\n".join(delimiter.join(row) for row in rows))
    pairs, skipped = read(folder / "t.csv")
    assert [(pair.id, pair.texts, pair.split) for pair in pairs] == [("a.jpg", (Text("a dog"),), "val")]
    assert skipped == []


@given(
    st.sampled_from([",", "\t", "|", ";"]),
    st.lists(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), min_size=2, max_size=6),
)
def test_the_delimiter_of_plain_headers_is_found(delimiter, names):
    assert delimiter_of(delimiter.join(names)) == delimiter


def test_neighbouring_rows_of_one_image_become_one_pair(pictures, read):
    folder = pictures("images/a.jpg", "images/b.jpg")
    (folder / "captions.txt").write_text("image,caption\na.jpg,one\na.jpg,two\nb.jpg,three\n")
    pairs, _ = read(folder / "captions.txt")
    assert [[text.value for text in pair.texts] for pair in pairs] == [["one", "two"], ["three"]]


def test_columns_can_be_named_and_keep_their_language_and_field(pictures, read):
    folder = pictures("x/a.jpg")
    (folder / "t.tsv").write_text("Pic\tcaption_de\thint\tnr\tteam\na.jpg\tein Hund\tdog\t7\tred\n")
    options = {"text_columns": ("caption_de", "hint"), "id_column": "nr", "group_column": "team"}
    pairs, _ = read(folder / "t.tsv", image_column="pic", images_root=folder / "x", **options)
    assert pairs[0].texts == (Text("ein Hund", "de", "caption"), Text("dog", None, "hint"))
    assert (pairs[0].id, pairs[0].group) == ("7", "red")


def test_a_missing_column_lists_those_found(pictures):
    folder = pictures("a.jpg")
    (folder / "t.csv").write_text("image,words\na.jpg,dog\n")
    from diptych.data.readers import SourceOptions

    with pytest.raises(ConfigError, match=r"no column 'caption'; columns found: image, words"):
        list(open_source(folder / "t.csv", SourceOptions(text_columns=("caption",))))
    (folder / "u.csv").write_text("a;b\n1;2\n")
    with pytest.raises(DataError, match=r"columns found: a, b; name it with --image-column"):
        list(open_source(folder / "u.csv"))


def test_broken_rows_are_named_and_counted(pictures, read):
    folder = pictures("a.jpg", "b.jpg")
    (folder / "t.csv").write_bytes(
        b"\xef\xbb\xbfimage,caption\r\n"
        b"a.jpg,\xe4gypten\r\n"  # Latin-1
        b"a.jpg\r\n"  # a cell short
        b"gone.jpg,dog\r\n"
        b"http://example.org/x.jpg,dog\r\n"
        b"b.jpg,\r\n"
        b'b.jpg,"a ""big"" dog,\nwith a ball"\r\n'
        b'a.jpg,"never closed\r\n'
    )
    pairs, skipped = read(folder / "t.csv")
    assert [(pair.id, [text.value for text in pair.texts]) for pair in pairs] == [
        ("a.jpg", ["ägypten", '"never closed']),
        ("b.jpg", ['a "big" dog,\nwith a ball']),
    ]
    assert [(entry.name, entry.reason) for entry in skipped] == [
        ("t.csv line 3", Reason.BAD_ROW),
        ("t.csv line 4", Reason.MISSING),
        ("t.csv line 5", Reason.NO_IMAGE),
        ("t.csv line 6", Reason.EMPTY_TEXT),
    ]


def test_a_stray_quote_in_a_tsv_swallows_nothing(pictures, read):
    folder = pictures("a.jpg", "b.jpg")
    (folder / "t.tsv").write_text('image\tcaption\na.jpg\t"Stop, says the sign\nb.jpg\tdog\n')
    pairs, _ = read(folder / "t.tsv")
    assert [pair.texts[0].value for pair in pairs] == ['"Stop, says the sign', "dog"]


def test_the_split_may_be_in_the_file_name(pictures, read):
    folder = pictures("images/a.jpg", "images/b.jpg")
    (folder / "train.csv").write_text("image,caption\na.jpg,dog\n")
    (folder / "validation.csv").write_text("image,caption\nb.jpg,cat\n")
    pairs, _ = read(folder)
    assert [(pair.id, pair.split) for pair in pairs] == [("a.jpg", "train"), ("b.jpg", "val")]


def test_lists_in_cells_are_several_texts(pictures, read):
    folder = pictures("a.jpg")
    (folder / "t.csv").write_text('filename,raw\na.jpg,"[""one"", ""two""]"\n')
    assert [text.value for text in read(folder / "t.csv")[0][0].texts] == ["one", "two"]


def test_utf16_is_read_and_binary_data_refused(pictures, read):
    folder = pictures("a.jpg")
    (folder / "t.csv").write_text("image,caption\na.jpg,Übung\n", "utf-16")
    assert read(folder / "t.csv")[0][0].texts == (Text("Übung"),)
    (folder / "u.csv").write_bytes(b"image,cap\0tion\na.jpg,dog\n")
    with pytest.raises(DataError, match="zero bytes"):
        read(folder / "u.csv")
    (folder / "v.csv").write_bytes(b"")
    with pytest.raises(DataError, match="empty file"):
        read(folder / "v.csv")


def test_all_images_missing_names_the_folders_searched(pictures, read):
    folder = pictures("elsewhere/a.jpg")
    (folder / "t.csv").write_text("image,caption\na.jpg,dog\n")
    with pytest.raises(DataError, match=r"gave no pairs.*no image a\.jpg in.*name it with --images-root"):
        read(folder / "t.csv")
    with pytest.raises(DataError, match="is not a folder"):
        read(folder / "t.csv", images_root=folder / "nowhere")
