"""Parquet shards and folders saved by `datasets`."""

import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diptych.core.errors import ConfigError, DataError, MissingExtraError, Reason
from diptych.core.types import BytesImage, Text
from diptych.data.readers import SourceOptions, open_source

FEATURES = {"label": {"names": ["owl", "fox"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}


def table(jpeg, count=3):
    rows = {
        "image": [{"bytes": jpeg(number), "path": f"{number}.jpg"} for number in range(count)],
        "caption": [[f"picture {number}", "again"] for number in range(count)],
        "label": [number % 2 for number in range(count)],
    }
    metadata = {b"huggingface": json.dumps({"info": {"features": FEATURES}}).encode()}
    return pa.table(rows).replace_schema_metadata(metadata)


def test_hugging_faces_parquet_shards(tmp_path, read, jpeg):
    (tmp_path / "data").mkdir()
    pq.write_table(table(jpeg), tmp_path / "data" / "train-00000-of-00001.parquet")
    pq.write_table(table(jpeg, 1), tmp_path / "data" / "validation-00000-of-00001.parquet")
    assert open_source(tmp_path).format == "parquet"
    pairs, skipped = read(tmp_path)
    assert [(pair.id, pair.split, pair.group) for pair in pairs] == [
        ("0.jpg", "train", "owl"),
        ("1.jpg", "train", "fox"),
        ("2.jpg", "train", "owl"),
        ("0.jpg", "val", "owl"),
    ]
    assert pairs[1].images == (BytesImage(jpeg(1), "1.jpg"),)
    assert pairs[1].texts == (Text("picture 1"), Text("again"))
    assert skipped == []


def test_parquet_with_plain_bytes_or_paths(pictures, read, jpeg):
    folder = pictures("images/a.jpg")
    pq.write_table(pa.table({"jpg": [jpeg(), None], "txt": ["dog", "none"]}), folder / "b.parquet")
    pairs, skipped = read(folder / "b.parquet", text_columns=("txt",))
    assert [(pair.id, pair.texts[0].value) for pair in pairs] == [("b.parquet row 0", "dog")]
    assert [entry.reason for entry in skipped] == [Reason.NO_IMAGE]
    pq.write_table(pa.table({"path": ["a.jpg", "gone.jpg"], "text": ["dog", "cat"]}), folder / "p.parquet")
    pairs, skipped = read(folder / "p.parquet")
    assert [pair.images[0].path for pair in pairs] == [folder / "images" / "a.jpg"]
    assert [entry.reason for entry in skipped] == [Reason.MISSING]
    with pytest.raises(ConfigError, match=r"no column 'words'; columns found: path, text"):
        read(folder / "p.parquet", text_columns=("words",))


def test_a_text_that_is_not_utf8_costs_one_row(pictures, read):
    folder = pictures("a.jpg")
    texts = pa.array([b"dog", b"caf\xe9", b"owl"]).cast(pa.string(), safe=False)
    pq.write_table(pa.table({"image": ["a.jpg"] * 3, "caption": texts}), folder / "t.parquet")
    [pair], skipped = read(folder / "t.parquet")
    assert [text.value for text in pair.texts] == ["dog", "owl"]
    assert [(entry.name, entry.reason) for entry in skipped] == [("t.parquet row 1", Reason.BAD_ROW)]


def test_a_damaged_shard_is_named_and_the_others_are_read(tmp_path, read, jpeg):
    pq.write_table(table(jpeg), tmp_path / "good.parquet")
    (tmp_path / "bad.parquet").write_bytes((tmp_path / "good.parquet").read_bytes()[:-9])
    pairs, skipped = read(tmp_path)
    assert len(pairs) == 3
    assert [(entry.name, entry.reason) for entry in skipped] == [("bad.parquet", Reason.TRUNCATED)]
    (tmp_path / "good.parquet").unlink()
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read(tmp_path)


def save_to_disk(folder, content, split):
    """The layout that `datasets` 2 to 4 write, made by hand."""
    folder.mkdir(parents=True)
    name = "data-00000-of-00001.arrow"
    with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, content.schema) as stream:
        stream.write_table(content)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}], "_split": split}))
    (folder / "dataset_info.json").write_text("{}")


def test_saved_data_sets_are_read_without_the_package(tmp_path, read, jpeg):
    save_to_disk(tmp_path / "all" / "train", table(jpeg), None)
    save_to_disk(tmp_path / "all" / "test", table(jpeg, 1), "test")
    (tmp_path / "all" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert open_source(tmp_path / "all").format == open_source(tmp_path / "all" / "test").format == "huggingface"
    assert [(pair.split, pair.group) for pair in read(tmp_path / "all")[0]] == [
        ("train", "owl"),
        ("train", "fox"),
        ("train", "owl"),
        ("test", "owl"),
    ]
    assert [pair.split for pair in read(tmp_path / "all" / "test")[0]] == ["test"]


def test_a_name_on_the_hub_needs_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"diptych\[hub\]"):
        list(open_source("someone/something", SourceOptions(format="huggingface")))


def test_without_a_connection_the_hub_error_is_one_clear_line(monkeypatch):
    datasets = pytest.importorskip("datasets")
    from huggingface_hub import constants

    # read from the environment when they are imported, which another test may have done already
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="cannot read the data set 'someone/something'") as caught:
        list(open_source("someone/something", SourceOptions(format="huggingface")))
    assert "\n" not in str(caught.value)
