from __future__ import annotations

import numpy as np
import pytest

from diptych.core.cosine import normalise
from diptych.core.errors import DataError
from diptych.core.protocols import Preprocess
from diptych.data.video import VideoImage
from diptych.encoders.fake import FakeImageTower, FakeMapTower
from diptych.encoders.video import MeanPooledVideo, TokenSequenceVideo

from ..videos import film

FRAMES = [np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8) for seed in range(5)]


def test_a_moment_is_the_mean_direction_of_its_frames():
    tower = FakeImageTower()
    video = MeanPooledVideo(tower.embed, tower.preprocess)
    found = video.embed([FRAMES[:2], FRAMES[2:]])
    one_by_one = [normalise(MeanPooledVideo(tower.embed, tower.preprocess).embed([[frame]]))[0] for frame in FRAMES]
    assert np.allclose(found[0], normalise(np.mean(one_by_one[:2], axis=0)), atol=1e-5)
    assert np.allclose(found[1], normalise(np.mean(one_by_one[2:], axis=0)), atol=1e-5)


def test_tokens_of_all_frames_with_what_is_real():
    tower = FakeMapTower(size=16)

    def tokens(pixels):
        return tower.embed(pixels).reshape(len(pixels), 16, 8)

    found, real = TokenSequenceVideo(tokens, tower.preprocess).tokens([FRAMES[:1], FRAMES[1:4]])
    assert found.shape == (2, 48, 8)
    assert real.sum(1).tolist() == [16, 48]
    alone, _ = TokenSequenceVideo(tokens, tower.preprocess).tokens([[FRAMES[2]]])
    assert np.allclose(found[1, 16:32], alone[0])
    assert (found[0, 16:] == 0).all()


def test_a_moment_without_frames_is_refused():
    with pytest.raises(DataError, match="no frames"):
        MeanPooledVideo(lambda pixels: pixels, Preprocess(8)).embed([FRAMES, []])


def test_a_reference_is_read_as_its_frames(tmp_path):
    pytest.importorskip("av", reason="needs the [video] extra")
    clip = VideoImage(film(tmp_path / "film.mp4", ["red", "blue", "green"]), 2.0, 4.0)
    tower = FakeImageTower()
    video = MeanPooledVideo(tower.embed, tower.preprocess, frames=2)
    assert np.array_equal(video.embed([clip]), video.embed([clip.frames(2)]))
