"""Opening, detecting, re-reading and fingerprinting sources."""

import os
import shutil
from pathlib import Path

import pytest

from diptych.core.errors import ConfigError, DataError
from diptych.core.registry import entries
from diptych.data.readers import SourceOptions, open_source
from diptych.data.readers.options import normalise_split, split_of_name


def test_every_built_in_reader_can_be_imported():
    for entry in entries("reader").values():
        assert callable(entry.load().part)


def test_unknown_formats_and_files_list_the_choices(tmp_path):
    (tmp_path / "a.xyz").write_text("?")
    with pytest.raises(ConfigError, match=r"unknown format 'cvs'; choose from beir, classes, coco, csv, cub, drawn"):
        open_source(tmp_path, SourceOptions(format="cvs"))
    with pytest.raises(ConfigError, match=r"a\.xyz is; name it with --format, one of beir, classes, coco, csv"):
        open_source(tmp_path / "a.xyz")
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(ConfigError, match="unpack it"):
        open_source(tmp_path / "a.zip")


@pytest.mark.parametrize("format", [None, "csv", "images"])
def test_nothing_there(tmp_path, format):
    with pytest.raises(DataError, match="no file or folder"):
        open_source(tmp_path / "nowhere", SourceOptions(format=format))


def test_iterating_again_gives_the_same_and_starts_the_skipped_anew(pictures):
    folder = pictures("a.jpg", "b.jpg")
    (folder / "t.csv").write_text("image,caption\na.jpg,dog\ngone.jpg,cat\nb.jpg,owl\n")
    source = open_source(folder / "t.csv")
    first, skipped = list(source), source.skipped
    assert list(source) == first
    assert len(skipped) == len(source.skipped) == 1
    assert skipped is not source.skipped
    source.fingerprint()
    assert len(source.skipped) == 1


def test_the_fingerprint_follows_the_content_and_not_the_place(pictures, tmp_path_factory):
    folder = pictures("images/a.jpg", "images/b.jpg")
    (folder / "t.csv").write_text("image,caption\na.jpg,dog\nb.jpg,owl\n")
    original = open_source(folder / "t.csv").fingerprint()
    moved = tmp_path_factory.mktemp("moved") / "there"
    shutil.copytree(folder, moved)
    assert open_source(moved / "t.csv").fingerprint() == original
    assert open_source(moved / "t.csv", SourceOptions(lang="en")).fingerprint() != original
    (moved / "t.csv").write_text("image,caption\na.jpg,dog\nb.jpg,oil\n")
    assert open_source(moved / "t.csv").fingerprint() != original
    (folder / "images" / "a.jpg").write_bytes(b"shorter")
    assert open_source(folder / "t.csv").fingerprint() != original


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("dev", "val"),
        ("Validation", "val"),
        ("restval", "train"),
        ("TEST", "test"),
        ("", None),
        (None, None),
        ("x", "x"),
    ],
)
def test_splits_are_normalised(name, split):
    assert normalise_split(name) == split


def test_splits_in_names():
    assert split_of_name("train-00000-of-00004.parquet") == "train"
    assert split_of_name("validation.csv") == "val"
    assert split_of_name("trainer.csv") is None


@pytest.mark.data
def test_flickr8k_as_it_lies_on_disk():
    place = os.environ.get("DIPTYCH_TEST_FLICKR8K")
    if not place:
        pytest.skip("DIPTYCH_TEST_FLICKR8K is not set")
    source = open_source(Path(place), SourceOptions(split="val"))
    pairs = list(source)
    assert (source.format, len(pairs), {len(pair.texts) for pair in pairs}) == ("flickr", 1000, {5})
