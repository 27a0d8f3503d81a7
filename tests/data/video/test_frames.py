from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs the [video] extra")

import av

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.data.video import MomentPlan, VideoLimits, frames, probe, read_moments

from ...videos import COLOURS, film


def colour_of(frame: np.ndarray) -> str:
    mean = frame[20:].mean(axis=(0, 1))
    return min(COLOURS, key=lambda name: np.abs(mean - COLOURS[name]).sum())


def test_each_moment_shows_its_own_part(tmp_path: Path):
    path = film(tmp_path / "a.mp4", ["red", "blue", "green"])
    assert probe(path).seconds == pytest.approx(6, abs=0.2)
    assert (probe(path).width, probe(path).height) == (64, 64)
    moments = list(read_moments(path, MomentPlan(seconds=2, frames=3)))
    assert [(round(one.video.start), round(one.video.end)) for one in moments] == [(0, 2), (2, 4), (4, 6)]
    assert [[colour_of(frame) for frame in one.frames] for one in moments] == [
        ["red"] * 3,
        ["blue"] * 3,
        ["green"] * 3,
    ]
    assert moments[0].frames[0].shape == (64, 64, 3)


@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".mov", ".ts"])
def test_other_containers(tmp_path: Path, suffix):
    path = film(tmp_path / f"a{suffix}", ["yellow", "black"])
    (one,) = read_moments(path, MomentPlan(seconds=60, frames=2))
    assert [colour_of(frame) for frame in one.frames] == ["yellow", "black"]


def reason_of(path: Path, limits: VideoLimits | None = None) -> Reason:
    with pytest.raises(DataError) as caught:
        list(read_moments(path, MomentPlan(), limits or VideoLimits()))
    assert str(path) in str(caught.value)
    return caught.value.reason


def test_what_is_no_video_has_a_reason(tmp_path: Path):
    assert reason_of(tmp_path / "nothing.mp4") is Reason.MISSING
    for name, data in (("empty.mp4", b""), ("text.mp4", b"hello, world\n" * 50), ("noise.mp4", bytes(range(256)) * 40)):
        (tmp_path / name).write_bytes(data)
        assert reason_of(tmp_path / name) is Reason.NOT_A_VIDEO


def test_a_playlist_opens_nothing(tmp_path: Path):
    film(tmp_path / "a.ts", ["red"])
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:2,\n{tmp_path / 'a.ts'}\n#EXT-X-ENDLIST\n")
    assert reason_of(tmp_path / "list.mp4") is Reason.NOT_A_VIDEO


def test_sound_alone_has_no_frames(tmp_path: Path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert reason_of(path) is Reason.NO_FRAMES


def test_a_cut_file_gives_what_is_there_or_a_reason(tmp_path: Path):
    whole = film(tmp_path / "a.mkv", ["red", "blue", "green"]).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    moments = list(read_moments(tmp_path / "cut.mkv", MomentPlan(seconds=2, frames=2)))
    assert colour_of(moments[0].frames[0]) == "red"
    mp4 = film(tmp_path / "a.mp4", ["red", "blue"]).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(mp4[: mp4.index(b"moov") - 4])  # its index is at the end
    assert reason_of(tmp_path / "cut.mp4") is Reason.NOT_A_VIDEO


def test_frames_that_are_noise_leave_no_frames(tmp_path: Path):
    path = film(tmp_path / "a.mp4", ["red", "blue"])
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    stop = data.index(b"moov") - 4
    data[start:stop] = np.random.default_rng(0).integers(0, 256, stop - start, dtype=np.uint8).tobytes()
    path.write_bytes(bytes(data))
    # a decoder may make a picture of anything; what matters is that nothing else comes out
    with contextlib.suppress(DataError):
        assert all(one.frames for one in read_moments(path, MomentPlan(seconds=1, frames=2)))


def test_limits(tmp_path: Path):
    path = film(tmp_path / "a.mp4", ["red"])
    assert reason_of(path, VideoLimits(max_bytes=100)) is Reason.TOO_LARGE
    assert reason_of(path, VideoLimits(max_pixels=4000)) is Reason.TOO_LARGE
    assert reason_of(path, VideoLimits(max_seconds=1.0)) is Reason.TOO_LARGE
    with pytest.raises(ConfigError):
        VideoLimits(max_bytes=0)


def test_ten_hours_cost_what_their_moments_cost(tmp_path: Path, monkeypatch):
    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(1, 10))
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 5
        picture = np.zeros((32, 32, 3), dtype=np.uint8)
        for number in range(3_600):
            picture[:] = COLOURS["red"] if number < 1_800 else COLOURS["blue"]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    assert probe(path).seconds == pytest.approx(36_000, abs=20)
    monkeypatch.setattr(frames, "_DECODED_AT_MOST", 6)  # 3,600 there are; 6 a wanted frame are enough
    moments = list(read_moments(path, MomentPlan(seconds=5, frames=2, most=40)))
    assert len(moments) == 40
    assert colour_of(moments[0].frames[0]) == "red"
    assert colour_of(moments[-1].frames[-1]) == "blue"


def test_the_plan_by_hand():
    plan = MomentPlan(seconds=2, frames=2, most=3)
    assert plan.spans(5.9) == [
        (0.0, pytest.approx(5.9 / 3)),
        (pytest.approx(5.9 / 3), pytest.approx(11.8 / 3)),
        (pytest.approx(11.8 / 3), 5.9),
    ]
    assert len(plan.spans(1000)) == 3
    assert plan.spans(0.0) == [(0.0, 0.0)]
    assert plan.times(2, 4) == [2.5, 3.5]
    with pytest.raises(ConfigError):
        MomentPlan(frames=0)
