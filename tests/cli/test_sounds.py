"""Sounds take the place of images, from the check of a source to a search."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the [train] extra")
pytest.importorskip("soundfile", reason="needs the [sound] extra")

from diptych.cli.app import run

from ..sounds import tones

CONFIG = f"""
extends = "{Path(__file__).parents[2] / "configs" / "methods" / "sound.toml"}"
dim = 16
[image]
tower = {{ name = "log-mel", seconds = 0.5 }}
network = {{ name = "sound_conv", widths = [16, 32] }}
[text]
tower = {{ name = "words", max_tokens = 8 }}
network = {{ name = "bag", width = 16 }}
head = {{ name = "linear" }}
[training]
epochs = 15
batch_size = 12
learning_rate = 5e-3
precision = "32-true"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("sounds")


@pytest.fixture(scope="module")
def folder(place):
    return tones(place / "tones")


@pytest.fixture(scope="module")
def model(place, folder):
    (place / "config.toml").write_text(CONFIG)
    (folder / "train" / "bad.wav").write_text("hello")
    (folder / "train" / "bad.txt").write_text("a text without a sound")
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert run(["train", str(place / "config.toml"), str(folder), "--out", str(place / "run")]) == 0
    (place / "said.txt").write_text(said.getvalue())
    return place / "run" / "model"


@pytest.fixture
def library(diptych, place, folder, model):
    if not (place / "library").exists():
        assert diptych("index", folder, "--model", model, "--library", place / "library")[0] == 0
    return place / "library"


def test_check_says_how_long_they_are(diptych, folder):
    out = diptych("data", "check", folder)[1]
    assert "tones (sounds): " in out
    assert "sounds      36, 14." in out


def test_texts_find_sounds_and_sounds_find_sounds(diptych, folder, library):
    for height in ("low", "high"):
        found = json.loads(diptych("search", "--library", library, f"{height} tone", "-k", 6, "--json")[1])["hits"]
        assert sum(height in Path(hit["path"]).name for hit in found) >= 5
    out = diptych("search", "--library", library, "--image", folder / "train" / "long_low_0.wav", "-k", 1, "--json")[1]
    assert Path(json.loads(out)["hits"][0]["path"]).name == "long_low_0.wav"


def test_what_is_cut_or_no_sound_is_named(diptych, place, folder, model):
    code, out, err = diptych("index", folder, "--model", model, "--library", place / "again")
    assert code == 0
    assert "36 added, 1 skipped" in out
    assert "bad.wav is no sound that can be read: it holds text" in out
    assert "sounds longer than the 0.5 s that the model reads: the rest of each is not searched: 18" in out + err


def test_training_says_what_is_cut_and_left_out(place, model):
    out = (place / "said.txt").read_text()
    assert "sounds that last the 0.5 s which the model reads, or longer: the rest is not read: 12" in out
    assert "2 inputs were left out: not_a_sound 1" in out


def test_evaluates(diptych, folder, model):
    code, out, _ = diptych("eval", folder, "--model", model, "--split", "val", "--json")
    assert code == 0
    assert json.loads(out)


def test_other_models_and_files_are_refused_in_a_line(diptych, photos, folder, place, model, models, library):
    code, _, err = diptych("index", folder, "--model", models[0], "--library", place / "of_images")
    assert code == 3
    assert "no images in" in err
    code, _, err = diptych("index", photos, "--model", model, "--library", place / "of_photos")
    assert code == 3
    assert "no sounds in" in err
    code, _, err = diptych("search", "--library", library, "--image", photos / "red.png")
    assert code == 3
    assert "red.png is no sound" in err
    code, _, err = diptych("eval", folder, "--model", models[0])
    assert code == 3
    assert "has no text of an image that" in err
    assert err.count("\n") == 1


def test_images_are_no_sounds(diptych, place, photos, model):
    for split in ("train", "val"):
        (photos / split).mkdir()
        for colour in ("red", "blue"):
            (photos / split / f"{colour}.png").write_bytes((photos / f"{colour}.png").read_bytes())
            (photos / split / f"{colour}.txt").write_text("a text\n")
    code, _, err = diptych("train", place / "config.toml", photos, "--out", place / "images")
    assert code == 3
    assert "each needs a readable image and a text; the first that was left out: " in err
    assert "is no sound that can be read" in err


def test_sounds_are_not_cropped(diptych, place, folder, model):
    code, _, err = diptych(
        "train", place / "config.toml", folder, "--out", place / "no", "--set", 'data.views=["full", "flip"]'
    )
    assert code == 2
    assert 'the tower log-mel reads sounds, which are not cropped or flipped; set data.views = ["full"]' in err
