"""Sounds take the place of texts: images are found by what is said of them, and what is said by the image."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the [train] extra")
pytest.importorskip("soundfile", reason="needs the [sound] extra")

from diptych.cli.app import run

from ..sounds import spoken

CONFIG = f"""
extends = "{Path(__file__).parents[2] / "configs" / "methods" / "spoken.toml"}"
dim = 8
[data]
views = ["full"]
[image]
tower = "fake"
head = {{ name = "linear" }}
[text]
tower = {{ name = "spoken", seconds = 0.2 }}
network = {{ name = "sound_conv", widths = [8, 16] }}
[training]
epochs = 8
batch_size = 10
learning_rate = 5e-3
precision = "32-true"
"""
AUDIO = ("--text-columns", "audio")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return spoken(tmp_path_factory.mktemp("spoken") / "data")


@pytest.fixture(scope="module")
def model(table):
    (table.parent / "config.toml").write_text(CONFIG)
    out = table.parent.parent / "run"
    assert run(["train", str(table.parent / "config.toml"), str(table), *AUDIO, "--out", str(out)]) == 0
    return out / "model"


def hits(diptych, library, *query):
    code, out, err = diptych("search", "--library", library, *query, "-k", 10, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)["hits"]


def test_check_reads_the_sounds(diptych, table):
    out = diptych("data", "check", table, *AUDIO)[1]
    assert "sounds      30 of the 60 images, 9.0 s in all, the longest 0.3 s" in out
    assert "not_a_sound 1" in out
    assert "missing 1" in out
    assert "en 20, de 10" in out


def test_images_are_found_by_sounds_and_sounds_by_images(diptych, table, model, tmp_path):
    assert diptych("index", table.parent, "--model", model, "--library", tmp_path / "photos")[0] == 0
    high, low = table.parent / "20.wav", table.parent / "21.wav"
    for sound, even in ((high, 0), (low, 1)):
        found = hits(diptych, tmp_path / "photos", sound)
        assert [int(Path(hit["path"]).stem) % 2 for hit in found] == [even] * 10
    code, _, _ = diptych("index", table, "--texts", *AUDIO, "--model", model, "--library", tmp_path / "said")
    assert code == 0
    found = hits(diptych, tmp_path / "said", "--image", table.parent / "22.png")
    assert [int(Path(hit["meta"]["texts"][0]).stem) % 2 for hit in found] == [0] * 10


def test_evaluates_by_language(diptych, table, model):
    code, out, _ = diptych("eval", table, *AUDIO, "--split", "val", "--model", model, "--languages", "en", "--json")
    assert code == 0
    assert (json.loads(out)["split"], json.loads(out)["languages_asked"]) == ("val", ["en"])


def test_words_and_sounds_are_not_taken_for_each_other(diptych, table, model, models):
    code, _, err = diptych("eval", table, *AUDIO, "--split", "val", "--model", models[0])
    assert code == 2
    assert "the texts are files of sound, and the model reads words" in err
    (table.parent / "words.csv").write_text("image,caption\n0.png,red\n1.png,blue\n")
    code, _, err = diptych("eval", table.parent / "words.csv", "--model", model)
    assert code == 2
    assert "the texts are words, and the text side of the model takes files of sound" in err


def test_no_such_sound_is_said_in_a_line(diptych, table, model, tmp_path):
    assert diptych("index", table.parent, "--model", model, "--library", tmp_path / "photos")[0] == 0
    code, _, err = diptych("search", "--library", tmp_path / "photos", "a dog")
    assert (code, "no file 'a dog': the texts of this model are spoken" in err) == (3, True)
    code, _, err = diptych("search", "--library", tmp_path / "photos", table.parent / "bad.wav")
    assert (code, "bad.wav is no sound that can be read: it holds text" in err) == (3, True)
    pytest.importorskip("fastapi", reason="needs the [serve] extra")
    code, _, err = diptych("serve", "--library", tmp_path / "photos", "--port", 0)
    assert (code, "are names of files on this machine, which must not come from others" in err) == (2, True)


def test_a_changed_file_is_read_again(table, model, tmp_path):
    import numpy as np

    from diptych import load
    from diptych.core.protocols import SILENT
    from diptych.data.features import text_rows

    tower, path = load(model).text_tower, tmp_path / "a.wav"
    rows = []
    for name in ("20.wav", "21.wav"):
        path.write_bytes((table.parent / name).read_bytes())
        rows.append(text_rows([str(path)], tower, tmp_path / "cache", SILENT)[np.array([0])])
    assert not np.array_equal(*rows)
