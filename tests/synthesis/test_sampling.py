"""Sampling from a saved generator: the same for the same seed, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the [train] extra")

from diptych.core.errors import ConfigError, DataError, LimitError, ModelError
from diptych.synthesis import UnknownLanguageWarning, load
from diptych.synthesis.image_files import draw_grid, write_folder, write_grid
from diptych.synthesis.sampling import to_bytes


@pytest.fixture(scope="module")
def generator(trained_generator):
    return load(trained_generator.model)


def test_one_image_a_text(generator):
    made = generator.generate(["a red circle", "a blue square", "a red circle"], seed=1)
    assert made.shape == (3, 16, 16, 3)
    assert made.dtype == np.uint8
    assert np.array_equal(made, generator.generate(["a red circle", "a blue square", "a red circle"], seed=1))
    assert not np.array_equal(made, generator.generate(["a red circle", "a blue square", "a red circle"], seed=2))
    assert not np.array_equal(made[0], made[2])  # noise of its own


def test_how_many_are_made_at_once_does_not_matter(generator):
    texts = ["a red circle", "blue"] * 20
    streamed = list(generator.stream(texts, seed=3))
    assert [len(part) for part in streamed] == [16, 16, 8]
    assert np.array_equal(np.concatenate(streamed)[:5], generator.generate(texts[:5], seed=3))
    assert np.array_equal(generator.noise(40, 3)[:5], generator.noise(5, 3))


def test_the_way_between_two_texts_has_both_ends(generator):
    one, other = generator.read(["a red circle"]), generator.read(["blue"])
    way = generator.between(one, other, 5)
    assert np.allclose(way.sentence[0], one.sentence[0])
    assert np.allclose(way.sentence[-1], other.sentence[0])
    assert np.allclose(way.sentence[2], (one.sentence[0] + other.sentence[0]) / 2)
    assert np.allclose(way.words[0][:3], one.words[0][:3])
    assert np.allclose(way.words[-1][:3], other.words[0][0])  # the only word of the shorter text
    assert way.mask.sum(axis=1).tolist() == [3] * 5
    assert not way.words[:, 3].any()
    noise = np.repeat(generator.noise(1), 5, axis=0)
    assert np.array_equal(generator.sample(way, noise)[0], generator.sample(one, noise[:1])[0])


@pytest.mark.parametrize("text", ["", "   ", "\n", "\u200b"])
def test_an_empty_text_is_refused(generator, text):
    with pytest.raises(DataError, match="empty text"):
        generator.generate(["fine", text])


def test_no_text_at_all_is_refused(generator):
    with pytest.raises(ConfigError, match="asked for 0 images"):
        generator.generate([])


def test_a_text_that_would_be_cut_is_refused(generator, monkeypatch):
    with pytest.raises(LimitError, match="1001 characters; at most 1000"):
        generator.generate(["x" * 1001])
    monkeypatch.setattr(generator.tower, "max_tokens", 3)
    with pytest.raises(LimitError, match="5 tokens, the text tower takes 3"):
        generator.generate(["one two three four five"])


def test_a_language_that_the_tower_does_not_know(generator, monkeypatch):
    monkeypatch.setattr(generator.tower, "languages", frozenset({"en", "de"}))
    with pytest.warns(UnknownLanguageWarning, match=r"not made for 'hi' \(it knows de, en\)"):
        generator.generate(["लाल"], lang="hi")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generator.generate(["rot"], lang="de")


def test_words_that_regions_do_not_look_at(generator):
    assert generator.unread_words("one two three four five six") == ["five", "six"]
    assert generator.generate(["one two three four five six"]).shape == (1, 16, 16, 3)


def test_images_need_a_shared_space(generator):
    with pytest.raises(ConfigError, match="reads texts only"):
        generator.generate_like([np.zeros((8, 8, 3), np.uint8)])


def copy_of(trained_generator, tmp_path, **changes):
    shutil.copytree(trained_generator.model, tmp_path / "copy")
    path = tmp_path / "copy" / "config.json"
    values = json.loads(path.read_text())
    for key, value in changes.items():
        values["text"][key] = value
    path.write_text(json.dumps(values))
    return tmp_path / "copy"


def test_another_text_tower_is_refused(trained_generator, tmp_path):
    other = load(copy_of(trained_generator, tmp_path, fingerprint="0" * 32))
    with pytest.raises(ModelError, match="trained on another text tower 'fake'"):
        other.generate(["red"])


def test_a_text_tower_that_is_not_here_is_refused(trained_generator, tmp_path):
    other = load(copy_of(trained_generator, tmp_path, tower={"name": "hf:nowhere"}))
    with pytest.raises(ModelError, match=r"text tower|no model|nowhere"):
        other.generate(["red"])


def test_damaged_missing_and_foreign_folders(trained_generator, small_model, tmp_path):
    with pytest.raises(ModelError, match="no generator 'nothing'"):
        load("nothing")
    with pytest.raises(ModelError, match="holds a dual encoder"):
        load(small_model)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"no config\.json"):
        load(tmp_path / "empty")
    copy = copy_of(trained_generator, tmp_path)
    with (copy / "model.safetensors").open("r+b") as stream:
        stream.seek(-4, 2)
        stream.write(b"\1\2\3\4")
    with pytest.raises(ModelError, match="hash differs"):
        load(copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"lacks model\.safetensors"):
        load(copy)


def test_sampling_needs_no_torch(trained_generator):
    code = (
        "import sys\nfrom diptych.synthesis import load\n"
        f"print(load({str(trained_generator.model)!r}).generate(['a red circle']).shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "(1, 16, 16, 3) False"


def test_a_folder_of_many_goes_on_where_it_was_interrupted(generator, tmp_path):
    folder = tmp_path / "many"
    assert write_folder(generator, ["red", "blue"], 20, folder, seed=1) == 40
    names = sorted(path.name for path in folder.glob("*.png"))
    assert len(names) == 40
    assert names[0] == "0000-000000.png"
    wanted = {name: (folder / name).read_bytes() for name in names}
    for name in names[10:25]:
        (folder / name).unlink()
    write_folder(generator, ["red", "blue"], 20, folder, seed=1)
    assert {path.name: path.read_bytes() for path in folder.glob("*.png")} == wanted
    with pytest.raises(ConfigError, match="images of another command"):
        write_folder(generator, ["red", "blue"], 20, folder, seed=2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="not empty"):
        write_folder(generator, ["red"], 1, tmp_path / "mine")


def test_columns_of_a_grid_share_their_noise(generator, tmp_path):
    import io

    import PIL.Image

    write_grid(generator, ["red", "red"], 3, tmp_path / "grid.png", seed=5)
    sheet = np.asarray(PIL.Image.open(io.BytesIO((tmp_path / "grid.png").read_bytes())))
    assert sheet.shape == (2 * 18 + 2, 3 * 18 + 2, 3)
    assert np.array_equal(sheet[2:18], sheet[20:36])


def test_grid_and_bytes():
    images = np.zeros((5, 3, 4, 4), dtype=np.float32)
    images[0], images[1], images[2] = 1.0, -1.0, 7.0
    made = to_bytes(images)
    assert [int(each.max()) for each in made[:4]] == [255, 0, 255, 128]
    import io

    import PIL.Image

    assert PIL.Image.open(io.BytesIO(draw_grid(made, 3))).size == (3 * 6 + 2, 2 * 6 + 2)
