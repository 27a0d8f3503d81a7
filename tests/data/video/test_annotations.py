from __future__ import annotations

import json
from pathlib import Path

import pytest

from diptych.core.errors import DataError, Reason
from diptych.data.video.annotations import VideoAnnotations


def videos(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


def test_vatex(tmp_path: Path):
    folder = videos(tmp_path / "v", "Ptf_2VRj-V0_000122_000132.mp4", "abc.webm")
    file = tmp_path / "vatex_training_v1.0.json"
    rows = [
        {"videoID": "Ptf_2VRj-V0_000122_000132", "enCap": ["A man skis.", "Skiing."], "chCap": ["滑雪"]},
        {"videoID": "abc_000005_000015", "enCap": ["A cat."], "chCap": []},
        {"videoID": "gone_000000_000010", "enCap": ["x"], "chCap": []},
        {"videoID": "../../etc_000000_000010", "enCap": ["x"], "chCap": []},
    ]
    file.write_text(json.dumps(rows), encoding="utf-8")
    source = VideoAnnotations(file, folder)
    cut, whole = source
    assert cut.video.name == "Ptf_2VRj-V0_000122_000132.mp4"
    assert (cut.start, cut.end, cut.split) == (0.0, None, "train")
    assert [(text.value, text.lang) for text in cut.texts] == [("A man skis.", "en"), ("Skiing.", "en"), ("滑雪", "zh")]
    assert (whole.video.name, whole.start, whole.end) == ("abc.webm", 5.0, 15.0)
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
    source = VideoAnnotations(file, folder)
    first, second = source
    assert [text.value for text in first.texts] == ["a man sings", "someone sings"]
    assert (first.split, first.group, second.split, second.group) == ("train", "9", "val", "3")
    assert [one.name for one in source.skipped] == ["video2"]


@pytest.mark.parametrize("text", ["[]", "{}", "[1]", "nonsense", '{"videos": []}'])
def test_other_files_are_refused(tmp_path: Path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError):
        list(VideoAnnotations(tmp_path / "a.json", tmp_path))
    with pytest.raises(DataError, match="cannot open"):
        list(VideoAnnotations(tmp_path / "none.json", tmp_path))


def test_captions_of_invisible_characters_are_empty(tmp_path: Path):
    folder = videos(tmp_path / "v", "a.mp4")
    file = tmp_path / "vatex.json"
    file.write_text(json.dumps([{"videoID": "a", "enCap": ["\u200b", "A cat."], "chCap": ["\u3164"]}]))
    source = VideoAnnotations(file, folder)
    assert [[text.value for text in pair.texts] for pair in source] == [["A cat."]]
    assert [(one.name, one.reason) for one in source.skipped] == [("a", Reason.EMPTY_TEXT)] * 2
