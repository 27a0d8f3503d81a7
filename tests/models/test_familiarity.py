"""Whether a model knows when images are unlike those that it was trained on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych import runs
from diptych.core.cosine import normalise
from diptych.core.errors import ModelError
from diptych.core.types import FileImage, Pair, Text
from diptych.models import familiarity, load
from diptych.training.settings import TrainingSettings


def kinds(count: int, kind: int, seed: int = 0) -> np.ndarray:
    """Embeddings of `count` images: ten clusters of the given kind, in 32 dimensions."""
    centres = np.random.default_rng(kind).normal(size=(10, 32))
    random = np.random.default_rng(seed)
    return normalise(centres[random.integers(0, 10, count)] + 0.3 * random.normal(size=(count, 32)))


@pytest.fixture(scope="module")
def known() -> familiarity.Familiarity:
    found = familiarity.fit(kinds(1000, 1), kinds(2000, 1, seed=1))
    assert found is not None
    return found


def test_images_of_the_kind_pass_and_others_are_noted(known):
    sets = [known.notes(kinds(20, 1, seed=seed), "m") for seed in range(2, 202)]
    assert sum(map(len, sets)) <= 4  # 99 of 100 pass, more or less
    others = [known.notes(kinds(20, 2, seed=seed), "m") for seed in range(2, 202)]
    assert sum(map(len, others)) == 200
    (note,) = known.notes(kinds(50, 2), "m")
    assert (note.kind, note.count) == ("unfamiliar", 50)
    assert "unlike those that the model m was trained on; it may find little better than chance" in note.detail
    assert known.notes(kinds(19, 2), "m") == ()  # too few to say


def test_closeness_is_the_cosine_to_the_nearest_centre(known):
    vectors = kinds(5, 1, seed=9)
    by_hand = [max(float(vector @ centre) for centre in known.centres) for vector in vectors]
    np.testing.assert_allclose(known.closeness(vectors), by_hand, atol=1e-6)
    np.testing.assert_allclose(known.closeness(3 * vectors), by_hand, atol=1e-6)


def test_it_is_kept_beside_the_model_and_leaves_the_fingerprint_alone(known, tiny_model, tmp_path):
    folder = tiny_model(tmp_path / "model")
    before = load(folder)
    assert before.familiarity is None
    assert before.unfamiliar(kinds(50, 2)) == ()
    familiarity.write(folder, known)
    again = load(folder)
    assert again.fingerprint == before.fingerprint
    assert again.familiarity.threshold == pytest.approx(known.threshold, abs=1e-4)
    np.testing.assert_allclose(again.familiarity.centres, known.centres, atol=1e-6)
    assert again.truncated(8).familiarity is None
    (folder / familiarity.FILE).write_text('{"threshold": 1}')
    with pytest.raises(ModelError, match=r"familiar\.json is damaged"):
        _ = load(folder).familiarity


def test_too_few_images_say_nothing():
    assert familiarity.fit(kinds(100, 1), kinds(400, 1)) is None
    assert familiarity.fit(kinds(1000, 1), kinds(50, 1)) is None


def test_base_ships_with_it_and_keeps_its_fingerprint():
    base = load("base")
    assert base.fingerprint == "9d409cc157911e873d113041e3299def"
    assert (base.folder / familiarity.FILE).stat().st_size < 20_000
    assert base.familiarity.centres.shape == (24, 384)
    far = np.tile(-base.familiarity.centres.mean(axis=0), (20, 1))
    assert [note.kind for note in base.unfamiliar(far)] == ["unfamiliar"]
    assert base.unfamiliar(base.familiarity.centres) == ()


@pytest.mark.skipif(
    "DIPTYCH_TEST_FLICKR8K" not in os.environ, reason="set DIPTYCH_TEST_FLICKR8K to the folder of Flickr8k"
)
def test_base_knows_photos_that_it_has_not_seen():
    folder = Path(os.environ["DIPTYCH_TEST_FLICKR8K"])
    names = (folder / "dev.txt").read_text().split()[:200]
    base = load("base")
    vectors = base.encode_images([folder / "images" / name for name in names])
    assert all(base.unfamiliar(vectors[start : start + 20]) == () for start in range(0, 200, 20))


def test_training_writes_it_where_there_are_enough_images(small, small_model, tmp_path):
    assert not (small_model / familiarity.FILE).exists()  # of 45 images
    random = np.random.default_rng(0)
    pairs = {"train": [], "val": []}
    for number in range(230):
        colour = tuple(random.integers(0, 256, 3).tolist())
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (16, 16), colour).save(path)
        split = "val" if number % 2 else "train"
        pairs[split].append(Pair(str(number), (FileImage(path),), (Text(f"rgb {colour}", "en"),), split))
    settings = TrainingSettings(precision="32-true", epochs=1, batch_size=20, learning_rate=1e-2)
    report = runs.train(small(training=settings), pairs, tmp_path / "run", device="cpu")
    assert not (report.model_folder / familiarity.FILE).exists()  # 115 images to train on
    pairs = {"train": [*pairs["train"], *pairs["val"][:10]], "val": pairs["val"][10:]}
    report = runs.train(small(training=settings), pairs, tmp_path / "more", device="cpu")
    model = load(report.model_folder)
    assert model.familiarity is not None
    assert familiarity.FILE not in model.config.files
    held_out = model.encode_images([pair.images[0] for pair in pairs["val"]])
    assert model.unfamiliar(held_out) == ()
