"""Captions of videos as published: each clip is a pair whose image is a part of a video."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from diptych.core.errors import DataError, Reason
from diptych.data.images import decode
from diptych.data.readers import SourceOptions, open_source
from diptych.data.video import VideoImage
from diptych.data.write import write_pairs

from ...videos import COLOURS, film


def videos(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


def test_vatex(tmp_path: Path):
    folder = videos(tmp_path / "videos", "Ptf_2VRj-V0_000122_000132.mp4", "abc.webm")
    file = tmp_path / "vatex_training_v1.0.json"
    rows = [
        {"videoID": "Ptf_2VRj-V0_000122_000132", "enCap": ["A man skis.", "Skiing."], "chCap": ["滑雪"]},
        {"videoID": "abc_000005_000015", "enCap": ["A cat."], "chCap": []},
        {"videoID": "gone_000000_000010", "enCap": ["x"], "chCap": []},
        {"videoID": "../../etc_000000_000010", "enCap": ["x"], "chCap": []},
    ]
    file.write_text(json.dumps(rows), encoding="utf-8")
    source = open_source(file)
    assert source.format == "videos"
    cut, whole = source
    assert cut.images == (VideoImage(folder / "Ptf_2VRj-V0_000122_000132.mp4"),)
    assert (cut.split, cut.key) == ("train", "Ptf_2VRj-V0_000122_000132")
    assert [(text.value, text.lang) for text in cut.texts] == [("A man skis.", "en"), ("Skiing.", "en"), ("滑雪", "zh")]
    assert whole.images == (VideoImage(folder / "abc.webm", 5.0, 15.0),)
    assert [one.name for one in source.skipped] == ["gone_000000_000010", "../../etc_000000_000010"]


def test_msrvtt(tmp_path: Path):
    folder = videos(tmp_path / "v", "video0.mp4", "video1.mp4")
    value = {
        "videos": [
            {"video_id": "video0", "split": "train", "category": 9},
            {"video_id": "video1", "split": "validate", "category": 3},
            {"video_id": "video2", "split": "test", "category": 3},
        ],
        "sentences": [
            {"video_id": "video1", "caption": "a car drives", "sen_id": 0},
            {"video_id": "video0", "caption": "a man sings", "sen_id": 1},
            {"video_id": "video0", "caption": "someone sings", "sen_id": 2},
        ],
    }
    file = tmp_path / "train_val_videodatainfo.json"
    file.write_text(json.dumps(value))
    source = open_source(file, SourceOptions(images_root=folder))
    first, second = source
    assert [text.value for text in first.texts] == ["a man sings", "someone sings"]
    assert (first.split, first.group, second.split, second.group) == ("train", "9", "val", "3")
    assert [one.name for one in source.skipped] == ["video2"]


@pytest.mark.parametrize("text", ["[]", "{}", "[1]", "nonsense", '{"videos": []}'])
def test_other_files_are_refused(tmp_path: Path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError):
        list(open_source(tmp_path / "a.json", SourceOptions(format="videos")))


def test_captions_of_invisible_characters_are_empty(tmp_path: Path):
    videos(tmp_path / "videos", "a.mp4")
    file = tmp_path / "vatex.json"
    file.write_text(json.dumps([{"videoID": "a", "enCap": ["\u200b", "A cat."], "chCap": ["\u3164"]}]))
    source = open_source(file)
    assert [[text.value for text in pair.texts] for pair in source] == [["A cat."]]
    assert [(one.name, one.reason) for one in source.skipped] == [("a", Reason.EMPTY_TEXT)] * 2


def test_a_clip_is_seen_as_the_frame_in_its_middle_and_written_as_its_part(tmp_path: Path):
    pytest.importorskip("av", reason="needs the [video] extra")
    film(tmp_path / "film.mp4", ["red", "blue", "green"])
    (tmp_path / "clips.jsonl").write_text(
        '{"image": "film.mp4", "caption": "all of it"}\n'
        '{"image": {"path": "film.mp4", "start": 4.1, "end": 5.9}, "caption": "the end"}\n'
    )
    whole, part = open_source(tmp_path / "clips.jsonl")
    for pair, colour in ((whole, "blue"), (part, "green")):
        mean = decode(pair.images[0])[20:].mean(axis=(0, 1))
        assert min(COLOURS, key=lambda name: np.abs(mean - COLOURS[name]).sum()) == colour
    write_pairs(tmp_path / "again.jsonl", [whole, part])
    assert [pair.images for pair in open_source(tmp_path / "again.jsonl")] == [whole.images, part.images]
