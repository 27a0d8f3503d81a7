from __future__ import annotations

import numpy as np
import pytest

from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError, DataError
from diptych.core.protocols import ImageTower, MapTower, Preprocess
from diptych.data.images import prepare, prepared
from diptych.data.video import VideoImage
from diptych.encoders.fake import FakeImageTower, FakeMapTower
from diptych.encoders.video import MeanPooledVideo, frames_tower

from ..videos import film

FRAMES = [np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8) for seed in range(5)]


def test_a_moment_is_the_mean_direction_of_its_frames():
    tower = FakeImageTower()
    video = MeanPooledVideo(tower.embed, tower.preprocess)
    found = video.embed([FRAMES[:2], FRAMES[2:]])
    one_by_one = [normalise(MeanPooledVideo(tower.embed, tower.preprocess).embed([[frame]]))[0] for frame in FRAMES]
    assert np.allclose(found[0], normalise(np.mean(one_by_one[:2], axis=0)), atol=1e-5)
    assert np.allclose(found[1], normalise(np.mean(one_by_one[2:], axis=0)), atol=1e-5)


@pytest.mark.parametrize("count", [2, 3])
def test_a_model_of_several_frames_gets_so_many_of_a_moment(count):
    tower = frames_tower("fake", count=count)
    found = MeanPooledVideo(tower.embed, tower.preprocess).embed([FRAMES[:1], FRAMES])
    inner = FakeImageTower()
    one_by_one = np.concatenate([inner.embed(prepare(frame, inner.preprocess)[None]) for frame in FRAMES])
    chosen = one_by_one[[number * 5 // count for number in range(count)]]
    assert np.allclose(found[0], normalise(one_by_one[0]), atol=1e-5)
    assert np.allclose(found[1], normalise(chosen.mean(axis=0)), atol=1e-5)


def test_the_tower_gives_the_mean_of_the_features_of_the_frames():
    inner, tower = FakeImageTower(), frames_tower("fake", count=3)
    assert isinstance(tower, ImageTower)
    assert not isinstance(tower, MapTower)
    assert (tower.dim, tower.preprocess.shape, tower.address) == (32, (96, 32, 3), "frames:fake")
    clip = np.stack(FRAMES[:3])
    each = inner.embed(np.stack([prepare(frame, inner.preprocess) for frame in clip]))
    assert np.allclose(tower.embed(prepare(clip, tower.preprocess)[None])[0], each.mean(axis=0), atol=1e-5)
    still = tower.embed(prepare(FRAMES[0], tower.preprocess)[None])  # an image is a video that stands still
    assert np.allclose(still[0], each[0], atol=1e-5)


def test_of_maps_the_tower_gives_those_of_all_frames_in_order():
    inner, tower = FakeMapTower(), frames_tower("fake-maps", count=3)
    assert isinstance(tower, MapTower)
    assert (tower.dim, tower.maps) == (3 * inner.dim, inner.maps)
    clip = np.stack(FRAMES[:3])
    each = inner.embed(np.stack([prepare(frame, inner.preprocess) for frame in clip]))
    assert np.array_equal(tower.embed(prepare(clip, tower.preprocess)[None])[0], each.reshape(-1))
    prints = {each.fingerprint for each in (inner, tower, frames_tower("fake-maps"), frames_tower("fake"))}
    assert len(prints) == 4


def test_frames_of_what_cannot_be_read_one_by_one():
    for name in ("frames:fake", "pixels"):
        with pytest.raises(ConfigError, match="cannot read frames one by one"):
            frames_tower(name)
    with pytest.raises(ConfigError, match="count must be at least 2"):
        frames_tower("fake", count=1)


def test_a_moment_without_frames_is_refused():
    with pytest.raises(DataError, match="no frames"):
        MeanPooledVideo(lambda pixels: pixels, Preprocess(8)).embed([FRAMES, []])


def test_a_reference_is_read_as_its_frames(tmp_path):
    pytest.importorskip("av", reason="needs the [video] extra")
    clip = VideoImage(film(tmp_path / "film.mp4", ["red", "blue", "green"]), 2.0, 4.0)
    tower = FakeImageTower()
    video = MeanPooledVideo(tower.embed, tower.preprocess, frames=2)
    found = video.encode_pixels(prepared(clip, video.preprocess)[None])
    assert np.allclose(found, video.embed([clip.frames(2)]), atol=1e-6)
