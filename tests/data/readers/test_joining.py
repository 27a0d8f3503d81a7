"""Rows of one image are one record wherever they stand, in every reader; every record has a key of its own."""

import io
import json
import random
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.types import BytesImage, FileImage, Pair, Text, numbered_label
from diptych.data.readers import SourceOptions, open_source
from diptych.data.readers.joining import joined

NAMES = [0, 1, 2, 0, 2, 1, 1, 0]  # images of the rows: neighbours, and ones that stand apart
EXPECTED = [
    (0, ["text 0", "text 3", "text 7"]),
    (1, ["text 1", "text 5", "text 6"]),
    (2, ["text 2", "text 4"]),
]


@pytest.fixture
def files(pictures) -> Path:
    return pictures("p0.jpg", "p1.jpg", "p2.jpg")


def write_csv(folder: Path, data: list[bytes]) -> Path:
    lines = [f"p{name}.jpg,text {row}" for row, name in enumerate(NAMES)]
    (folder / "t.csv").write_text("\n".join(["image,caption", *lines]))
    return folder / "t.csv"


def write_tsv(folder: Path, data: list[bytes]) -> Path:
    lines = [f"./p{name}.jpg\ttext {row}" for row, name in enumerate(NAMES)]
    (folder / "t.tsv").write_text("\n".join(["image\tcaption", *lines]))
    return folder / "t.tsv"


def write_jsonl(folder: Path, data: list[bytes]) -> Path:
    rows = [{"image": f"p{name}.jpg", "caption": f"text {row}"} for row, name in enumerate(NAMES)]
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "t.jsonl"


def write_shards(folder: Path, data: list[bytes]) -> Path:
    shards = folder / "shards"
    shards.mkdir()
    rows = [{"image": f"p{name}.jpg", "caption": f"text {row}"} for row, name in enumerate(NAMES)]
    for number, part in enumerate((rows[:3], rows[3:])):
        (shards / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    for name in ("p0.jpg", "p1.jpg", "p2.jpg"):
        (shards / name).write_bytes((folder / name).read_bytes())
    return shards


def table(data: list[bytes], wrap: bool) -> pa.Table:
    images = [{"bytes": data[name], "path": f"row{row}.jpg"} if wrap else data[name] for row, name in enumerate(NAMES)]
    return pa.table({"image": images, "caption": [f"text {row}" for row in range(len(NAMES))]})


def write_parquet(folder: Path, data: list[bytes]) -> Path:
    pq.write_table(table(data, wrap=False), folder / "t.parquet")
    return folder / "t.parquet"


def write_dicts(folder: Path, data: list[bytes]) -> Path:
    pq.write_table(table(data, wrap=True), folder / "t.parquet")
    return folder / "t.parquet"


def write_arrow(folder: Path, data: list[bytes]) -> Path:
    target = folder / "saved"
    target.mkdir()
    content = table(data, wrap=True)
    with pa.OSFile(str(target / "data-0.arrow"), "wb") as sink, pa.ipc.new_stream(sink, content.schema) as stream:
        stream.write_table(content)
    (target / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-0.arrow"}], "_split": None}))
    (target / "dataset_info.json").write_text("{}")
    return target


def write_tar(folder: Path, data: list[bytes], packing: str = "") -> Path:
    path = folder / f"t.tar{packing and '.' + packing}"
    with tarfile.open(path, f"w:{packing}") as tar:
        for row, name in enumerate(NAMES):
            for ending, content in (("jpg", data[name]), ("txt", f"text {row}".encode())):
                info = tarfile.TarInfo(f"{row}.{ending}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def write_packed_tar(folder: Path, data: list[bytes]) -> Path:
    return write_tar(folder, data, "gz")


def write_karpathy(folder: Path, data: list[bytes]) -> Path:
    rows = [{"filename": f"p{name}.jpg", "sentences": [{"raw": f"text {row}"}]} for row, name in enumerate(NAMES)]
    (folder / "dataset_x.json").write_text(json.dumps({"images": rows}))
    return folder / "dataset_x.json"


def write_coco(folder: Path, data: list[bytes]) -> Path:
    images = [{"id": row, "file_name": f"p{name}.jpg"} for row, name in enumerate(NAMES)]
    captions = [{"image_id": row, "caption": f"text {row}"} for row in range(len(NAMES))]
    (folder / "captions_val2014.json").write_text(json.dumps({"images": images, "annotations": captions}))
    return folder / "captions_val2014.json"


def write_flickr(folder: Path, data: list[bytes]) -> Path:
    lines = [f"{'./' * (row % 2)}p{name}.jpg#{row}\ttext {row}\n" for row, name in enumerate(NAMES)]
    (folder / "captions.token.txt").write_text("".join(lines))
    return folder / "captions.token.txt"


def write_recipes(folder: Path, data: list[bytes]) -> Path:
    rows = [{"id": row, "images": [f"p{name}.jpg"], "title": f"text {row}"} for row, name in enumerate(NAMES)]
    (folder / "recipes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "recipes.jsonl"


WRITERS = [
    write_csv,
    write_tsv,
    write_jsonl,
    write_shards,
    write_parquet,
    write_dicts,
    write_arrow,
    write_tar,
    write_packed_tar,
    write_karpathy,
    write_coco,
    write_flickr,
    write_recipes,
]


@pytest.mark.parametrize("write", WRITERS)
def test_rows_of_one_image_are_one_record_wherever_they_stand(files, jpeg, write):
    data = [jpeg(number) for number in range(3)]
    source = open_source(write(files, data))
    pairs = list(source)
    found = []
    for pair in pairs:
        [image] = pair.images
        with image.open() as stream:
            found.append((data.index(stream.read()), sorted(text.value for text in pair.texts)))
    assert found == EXPECTED
    assert len({pair.key for pair in pairs}) == 3
    [note] = [note for note in source.notes if note.kind == "joined_rows"]
    assert note.count == (2 if write is write_flickr else 5)  # its reader joins what has the same name
    assert [pair.texts for pair in source] == [pair.texts for pair in pairs]


def test_an_image_in_two_splits_stays_two_records_with_keys_of_their_own(files):
    (files / "t.csv").write_text("image,caption,split\np0.jpg,one,train\np0.jpg,two,val\np0.jpg,three,train\n")
    source = open_source(files / "t.csv")
    pairs = list(source)
    assert [(pair.split, len(pair.texts), pair.key) for pair in pairs] == [
        ("train", 2, "p0.jpg"),
        ("val", 1, "p0.jpg~2"),
    ]
    [val] = open_source(files / "t.csv", SourceOptions(split="val"))
    assert val.key == "p0.jpg~2"  # whatever is read along
    assert [note.kind for note in source.notes] == ["joined_rows"]


def test_what_joined_rows_say_differently_is_counted_and_the_gaps_are_filled(files):
    (files / "t.csv").write_text(
        "id,image,caption,class,artist\n1,p0.jpg,one,,ann\n2,p1.jpg,two,cat,bob\n3,p0.jpg,three,dog,eve\n4,p0.jpg,x,dog,\n"
    )
    source = open_source(files / "t.csv")
    first, _ = source
    assert (first.id, first.group, first.meta) == ("1", "dog", {"artist": "ann"})
    counts = {
        note.detail.split(" another ")[1].split()[0]: note.count for note in source.notes if note.kind == "conflict"
    }
    assert counts["id"] == 2
    assert counts["artist"] >= 1
    assert "class" not in counts


def test_a_name_that_only_says_where_a_row_was_is_no_id(tmp_path, jpeg):
    images = [{"bytes": jpeg(seed), "path": "image.jpg"} for seed in (0, 1, 0)]
    pq.write_table(pa.table({"image": images, "caption": ["a", "b", "c"]}), tmp_path / "t.parquet")
    source = open_source(tmp_path / "t.parquet")
    assert [(pair.id, pair.key, len(pair.texts)) for pair in source] == [
        ("image.jpg", "image.jpg", 2),
        ("image.jpg", "image.jpg~2", 1),
    ]
    assert [note.kind for note in source.notes] == ["joined_rows"]
    pq.write_table(pa.table({"image": [jpeg(0), jpeg(1), jpeg(0)], "caption": ["a", "b", "c"]}), tmp_path / "t.parquet")
    assert [pair.id for pair in source] == ["t.parquet row 0", "t.parquet row 1"]
    assert [note.kind for note in source.notes] == ["joined_rows"]


def test_a_key_that_comes_twice_in_a_row_is_two_records(tmp_path, jpeg):
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for seed, text in enumerate((b"red", b"blue")):
            for ending, content in (("jpg", jpeg(seed)), ("txt", text)):
                info = tarfile.TarInfo(f"k.{ending}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    source = open_source(tmp_path / "t.tar")
    found = [(pair.key, pair.images[0].open().read(), [text.value for text in pair.texts]) for pair in source]
    assert found == [("t/k", jpeg(0), ["red"]), ("t/k~2", jpeg(1), ["blue"])]
    assert [note.kind for note in source.notes] == ["repeated_id"]


def test_records_of_one_id_are_kept_apart_and_named(files):
    (files / "t.csv").write_text("id,image,caption\n1,p0.jpg,a\n1,p1.jpg,b\n1~2,p2.jpg,c\n")
    source = open_source(files / "t.csv")
    pairs = list(source)
    assert [pair.id for pair in pairs] == ["1", "1", "1~2"]
    assert [pair.key for pair in pairs] == ["1", "1~2", "1~~2"]
    [note] = source.notes
    assert (note.kind, note.count, note.examples) == ("repeated_id", 1, ("1",))


@given(st.lists(st.tuples(st.text("a~2", max_size=4), st.integers(0, 3)), unique=True))
def test_no_two_labels_and_occurrences_have_the_same_name(named):
    assert len({numbered_label(*one) for one in named}) == len(named)


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["train", "val", None])), max_size=30))
def test_joining_gives_what_a_dictionary_of_everything_would(rows):
    def read():
        for number, (name, split) in enumerate(rows):
            image = FileImage(Path(f"{name}.jpg")) if name % 2 else BytesImage(bytes([name]), f"row {number}")
            yield Pair(str(number), (image,), (Text(str(number), meaning=0),), split)

    slow: dict[tuple, list[str]] = {}
    for number, row in enumerate(rows):
        slow.setdefault(row, []).append(str(number))
    fast = [(one.pair.split, [text.value for text in one.pair.texts], one.rows) for one in joined(read)]
    assert fast == [(split, values, len(values)) for (_, split), values in slow.items()]
    for one in joined(read):
        assert [text.meaning for text in one.pair.texts] == list(range(one.rows))


def test_a_long_source_is_joined_in_bounded_memory():
    import tracemalloc

    order = list(range(1000)) * 2
    random.Random(0).shuffle(order)

    def read():
        for number, name in enumerate(order):
            yield Pair(str(number), (BytesImage(name.to_bytes(2) * 30_000, "x"),), (Text("word " * 600),))

    tracemalloc.start()
    try:
        assert sum(one.rows for one in joined(read)) == 2000
        assert tracemalloc.get_traced_memory()[1] < 2 << 20  # bytes; all texts are 6 MB, all images 120
    finally:
        tracemalloc.stop()
