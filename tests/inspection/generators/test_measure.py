"""Generators that draw, copy, or read nothing, measured with a trained judge."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.core.errors import ConfigError, DataError, ModelError
from diptych.core.protocols import Preprocess
from diptych.core.types import FileImage, Pair, Text
from diptych.data.images import decode, prepare
from diptych.inspection.generators import (
    About,
    Generator,
    GivenImages,
    MeasureSettings,
    MeasuringModels,
    generate_all,
    measure_generated,
    measurement,
    read_generator_report,
)
from diptych.inspection.generators.prompts import choose_prompts, read_real_images

SETTINGS = MeasureSettings(texts=20, pool=5, bootstrap=100)


@pytest.fixture(scope="module")
def outcomes(drawing, pairs, tools):
    found = {}
    for name, generator in (
        ("drawer", drawing.Drawer()),
        ("blind", drawing.Drawer(blind=tuple(drawing.COLOURS))),
        ("noise", drawing.Noise()),
    ):
        found[name], _ = measure_generated(
            generator, pairs["val"], tools, replace(SETTINGS, languages=("de",)), training=pairs["train"], seed=3,
            about=About(name, "shapes", "val"),
        )  # fmt: skip
    return found


def test_a_generator_that_reads_is_told_from_those_that_do_not(outcomes):
    share = {name: one.measure("r_precision").value for name, one in outcomes.items()}
    assert share["drawer"] > 0.4 > share["blind"]
    assert share["noise"] < 0.4
    assert outcomes["drawer"].measure("r_precision").chance == pytest.approx(0.2)
    assert outcomes["drawer"].measure("r_precision_de").value > 0.4
    assert outcomes["drawer"].measure("to_texts_R@10").value > outcomes["noise"].measure("to_texts_R@10").value


def test_images_like_the_real_ones_are_nearer_to_them(outcomes):
    for key in ("frechet", "kernel"):
        assert outcomes["drawer"].measure(key).value < outcomes["noise"].measure(key).value
    assert outcomes["noise"].measure("precision").value == 0
    assert outcomes["drawer"].measure("diversity").value > 0
    one = outcomes["drawer"].measure("r_precision")
    assert one.low <= one.value <= one.high


def test_what_was_measured_can_be_written_read_and_printed(outcomes, tmp_path):
    outcome = outcomes["drawer"]
    path = tmp_path / "measures.json"
    path.write_text(json.dumps(outcome.to_json(), allow_nan=False))
    assert read_generator_report(path) == outcome
    text = outcome.to_text()
    assert "R-precision, 1 of 5 %" in text
    assert "FID" not in text
    assert "Fréchet distance, fake ↓" in text
    with pytest.raises(DataError, match="no measure 'nonsense'"):
        outcome.measure("nonsense")
    path.write_text('{"kind": "other"}')
    with pytest.raises(DataError, match="holds no measures"):
        read_generator_report(path)


def test_copies_of_training_images_are_seen(pairs, tools, tmp_path):
    lines = []
    train = [pair for pair in pairs["train"] if pair.texts]
    for number, pair in enumerate(pairs["val"]):
        for text in pair.texts:
            lines.append(json.dumps({"image": str(train[number].images[0].path), "text": text.value}))
    listed = tmp_path / "copies.jsonl"
    listed.write_text("\n".join(lines))
    outcome, looked = measure_generated(
        GivenImages(listed, 64), pairs["val"], replace(tools, judge=None), SETTINGS, training=pairs["train"]
    )
    assert outcome.measure("copies").value == 1.0
    assert outcome.measure("copies_pixels").value == 1.0
    with pytest.raises(DataError, match="no measure 'copies_asked'"):  # it has no images of training texts
        outcome.measure("copies_asked")
    assert np.all(looked.copied.by_features.distances[:, 0] == 0)
    assert outcome.judge == ""
    with pytest.raises(DataError, match="no measure 'r_precision'"):
        outcome.measure("r_precision")


def test_a_generator_that_gives_back_its_training_images_is_caught_by_training_texts(pairs, tools, drawing):
    known = {text.value: one.images[0] for one in pairs["train"] for text in one.texts if "bad" not in one.id}

    class ByHeart:
        """Knows the training texts by heart, and draws noise for new ones."""

        def generate(self, texts, *, seed, lang=""):
            noise = drawing.Noise().generate(texts, seed=seed)
            for place, text in enumerate(texts):
                if text in known:
                    noise[place] = prepare(decode(known[text]), Preprocess(64))
            return noise

    new = [
        replace(one, texts=tuple(replace(text, value=f"new {text.value}") for text in one.texts))
        for one in pairs["val"]
    ]
    outcome, _ = measure_generated(ByHeart(), new, replace(tools, judge=None), SETTINGS, training=pairs["train"])
    assert outcome.measure("copies").value == 0.0
    assert outcome.measure("copies_asked").value > 0.9


def test_the_same_seed_gives_the_same_numbers(drawing, pairs, tools):
    again = [measure_generated(drawing.Drawer(), pairs["val"], tools, SETTINGS, seed=5)[0] for _ in range(2)]
    assert again[0] == again[1]


def test_objects_that_texts_name_are_looked_for(drawing, pairs):
    class Colours:
        name = "colours"
        classes = ("red", "green", "blue")

        def detect(self, images):
            strong = [images[..., c].astype(int) - np.delete(images, c, -1).max(-1) > 60 for c in range(3)]
            return np.stack([mask.mean(axis=(1, 2)) > 0.02 for mask in strong], axis=1)

    from diptych.inspection.generators import open_extractor

    tools = MeasuringModels(extractor=open_extractor("fake"), detector=Colours())
    seen, _ = measure_generated(drawing.Drawer(), pairs["val"], tools, SETTINGS)
    assert seen.measure("soa_c").value == seen.measure("soa_i").value == 1.0
    assert seen.by_class["red"]["real"] == 1.0
    annotated = [replace(one, meta={"objects": "blue"} if "red" in one.id else {}) for one in pairs["val"]]
    told, _ = measure_generated(drawing.Drawer(), annotated, tools, SETTINGS)
    assert "red" not in told.by_class  # the word is in the text, but nothing red is said to be in the image
    blind, _ = measure_generated(drawing.Drawer(blind=("red",)), pairs["val"], tools, SETTINGS)
    assert blind.by_class["red"]["found"] == 0.0
    assert blind.measure("soa_c").value == pytest.approx(2 / 3)


def test_generators_keep_the_protocol(drawing):
    assert isinstance(drawing.Drawer(), Generator)
    made = generate_all(drawing.Drawer(16), ["a red circle"] * 300, noises=2, seed=0)
    assert made.shape == (300, 2, 16, 16, 3)
    assert len({one.tobytes() for one in made.reshape(600, -1)}) > 20  # chunks and noises differ

    class Wrong:
        def generate(self, texts, *, seed, lang=""):
            return np.zeros((len(texts) + 1, 8, 8, 3), dtype=np.uint8)

    with pytest.raises(ModelError, match="expected 8-bit RGB, one image each"):
        generate_all(Wrong(), ["a"], noises=1, seed=0)


def test_given_images_follow_the_seed_and_name_what_is_missing(tmp_path):
    for number, colour in enumerate(("red", "blue")):
        Image.new("RGB", (10, 10), colour).save(tmp_path / f"{number}.png")
    (tmp_path / "made.jsonl").write_text(json.dumps({"image": ["0.png", "1.png"], "text": "a thing"}))
    given = GivenImages(tmp_path / "made.jsonl")
    made = generate_all(given, ["a thing"], noises=3, seed=0)
    assert made[0, :, 0, 0].tolist() == [[255, 0, 0], [0, 0, 255], [255, 0, 0]]
    with pytest.raises(DataError, match="has no image of 'another'"):
        given.generate(["another"], seed=0)


def pair(number, *texts):
    return Pair(str(number), (FileImage(Path(f"{number}.png")),), tuple(Text(value, lang) for value, lang in texts))


def test_every_pair_is_drawn_once_before_any_comes_again():
    pairs = [pair(n, (f"a {n}", "en"), (f"b {n}", "en"), (f"c {n}", "de")) for n in range(5)]
    chosen = choose_prompts(pairs, "en", 7, 0)
    assert len(chosen) == 7
    assert sorted(one.pair for one in chosen[:5]) == list(range(5))
    assert len({one.text.value for one in chosen}) == 7
    assert all(one.text.lang == "en" for one in chosen)
    assert choose_prompts(pairs, "en", 7, 0) == chosen
    assert choose_prompts(pairs, "en", 7, 1) != chosen
    with pytest.raises(DataError, match="languages found: de, en; fields: caption"):
        choose_prompts(pairs, "fr", 7, 0)


def test_images_are_read_at_the_generators_size(pairs):
    real = read_real_images(pairs["val"], 16)
    assert real.pixels.shape == (10, 16, 16, 3)
    assert real.owner.tolist() == real.first.tolist() == list(range(10))
    assert len(read_real_images(pairs["val"], 16, most=4).pixels) == 4
    with pytest.raises(DataError, match="no readable real image"):
        read_real_images([pair(0)], 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"texts": 3}, "texts must be at least 4"), ({"noises": 0}, "noises"), ({"texts": 200_000}, "ask for fewer")],
)
def test_settings_that_make_no_sense(changes, message):
    with pytest.raises(ConfigError, match=message):
        MeasureSettings(**changes)


def test_the_real_images_themselves_are_at_distance_zero(pairs, tools):
    def named(pair):  # texts of its own for each pair, so that a text has one image
        return replace(pair, texts=tuple(replace(text, value=f"{pair.id} {text.value}") for text in pair.texts))

    own = [named(pair) for pair in pairs["val"]]

    class Itself:
        def generate(self, texts, *, seed, lang=""):
            by_text = {text.value: one.images[0] for one in own for text in one.texts}
            return np.stack([prepare(decode(by_text[text]), Preprocess(64)) for text in texts])

    same, looked = measure_generated(Itself(), own, tools, replace(SETTINGS, noises=1, texts=10), training=own)
    assert same.measure("frechet").value == pytest.approx(0.0, abs=1e-4)
    assert same.measure("kernel").value <= 0
    assert same.measure("precision").value == same.measure("recall").value == 1.0
    for key in ("r_precision", "to_texts_R@1", "to_texts_R@5"):
        assert same.measure(key).value == pytest.approx(same.measure(key).real)
    assert np.all(looked.copied.by_features.distances[:, 0] == 0)


def test_a_generator_can_be_given_each_pairs_image_in_place_of_its_text(pairs, tools, drawing, tmp_path):
    class Itself:
        """What gives its image back."""

        def generate(self, texts, *, seed, lang=""):
            raise AssertionError("it was given texts")

        def generate_like(self, images, *, seed):
            return np.stack([prepare(decode(image), Preprocess(64)) for image in images])

    broken = replace(pairs["val"][0], id="broken", images=(FileImage(tmp_path / "gone.png"),))
    settings = replace(SETTINGS, noises=1, texts=20, given="image", languages=("de",))
    own = [broken, *pairs["val"]]
    same, looked = measure_generated(Itself(), own, tools, settings, training=pairs["train"])
    assert same.measure("r_precision").value == pytest.approx(same.measure("r_precision").real)
    assert same.measure("r_precision_de").value == pytest.approx(same.measure("r_precision_de").real)
    for prompt, image in zip(looked.prompts, looked.generated[:, 0], strict=True):
        assert np.array_equal(image, prepare(decode(own[prompt.pair].images[0]), Preprocess(64)))
    assert same.remarks[0] == "the generator was given the first image of each pair in place of a text"
    assert same.remarks[1].startswith("1 images cannot be read and were not given to the generator (")
    with pytest.raises(ConfigError, match="reads texts only; leave out --given image"):
        measure_generated(drawing.Drawer(), own, tools, settings)
    with pytest.raises(ConfigError, match="unknown given 'sound'; choose from image, text"):
        replace(settings, given="sound")


def test_no_real_image_is_left_out_where_there_is_room_and_what_is_is_counted(pairs, tmp_path, monkeypatch):
    small = np.zeros((30_000, 1, 64, 64, 3), dtype=np.uint8)
    assert measurement.most_real(small) >= 30_000
    assert measurement.most_real(np.zeros((1000, 2, 256, 256, 3), dtype=np.uint8)) == (2 << 30) // (
        256 * 256 * 3
    )  # 2 GB
    monkeypatch.setattr(measurement, "_HELD", 16 * 16 * 3 * 4)
    assert measurement.most_real(np.zeros((3, 1, 16, 16, 3), dtype=np.uint8)) == 4
    assert (
        measurement.most_real(np.zeros((9, 1, 16, 16, 3), dtype=np.uint8)) == 9
    )  # never fewer than the generated ones
    broken = replace(pairs["val"][0], images=(FileImage(tmp_path / "gone.png"),))
    several = [broken, *pairs["val"]]
    whole, drawn = read_real_images(several, 16), read_real_images(several, 16, most=4)
    (unread,) = whole.remarks("real")
    assert unread.startswith("1 real images cannot be read and are left out (")
    assert "gone.png" in unread
    assert drawn.remarks("real")[0].startswith(f"4 of {len(several)} real images are used, drawn by the seed")
