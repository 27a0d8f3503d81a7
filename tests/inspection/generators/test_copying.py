"""The benchmark that says what copies of training images would get."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.core.types import FileImage, Pair, Text
from diptych.encoders.fake import FakeTextTower

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def mixer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import copying

    pairs = []
    for name, shade in (("apple", 0), ("house", 100), ("moon", 200)):
        refs = []
        for number in range(2):
            path = tmp_path / f"{name}{number}.png"
            Image.new("RGB", (8, 8), (shade + number,) * 3).save(path)
            refs.append(FileImage(path))
        pairs.append(Pair(name, tuple(refs), (Text(name, "en", field="name"), Text("other", "en", field="keywords"))))
    return copying.Mixer(pairs, FakeTextTower(), fields=["name"], lang="en", size=8)


def test_the_nearest_texts_image_is_shown_and_another_seed_shows_the_other_drawing(mixer) -> None:
    for seed in (0, 1):
        shown = mixer.generate(["moon", "apple"], seed=seed)
        assert shown.shape == (2, 8, 8, 3)
        assert shown[:, 0, 0, 0].tolist() == [200 + seed, seed]


def test_a_mixture_is_the_weighted_average(mixer) -> None:
    mixer.temperature = 0.5
    near = mixer.tower.embed(["moon"]) @ mixer.tower.embed(["apple", "house", "moon"]).T
    weights = np.exp(near[0] / 0.5)
    expected = (weights * [0, 100, 200]).sum() / weights.sum()
    assert abs(int(mixer.generate(["moon"], seed=0)[0, 0, 0, 0]) - expected) <= 0.51
