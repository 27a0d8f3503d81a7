"""N captions beside N distinct real images: what is chosen, what is said, and that memory stays bounded."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from diptych.core.errors import ConfigError, DataError
from diptych.core.protocols import SILENT
from diptych.core.types import FileImage, Pair, Text
from diptych.evaluation.generative import frechet_distance
from diptych.inspection.generators import MeasureSettings, generate_all, image_store, measure_generated
from diptych.inspection.generators.caption_protocol import choose_captions
from diptych.inspection.generators.image_store import room_for
from diptych.inspection.generators.prompts import read_real_images

ASKED = MeasureSettings(texts=30_000, noises=1, pool=5, bootstrap=0, protocol="captions")


@pytest.fixture
def several(tmp_path):
    """Six records: two images each of the first two, one shared by both; one without text; one that is no image."""
    rng = np.random.default_rng(0)

    def image(name):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / name)
        return FileImage(tmp_path / name)

    shared = image("shared.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "shared.png").read_bytes())
    (tmp_path / "bad.png").write_text("no image")

    def pair(name, images, *texts, lang="en"):
        return Pair(name, tuple(images), tuple(Text(text, lang) for text in texts))

    return [
        pair("a", [image("a.png"), shared], "one", "two"),
        pair("b", [FileImage(tmp_path / "copy.png"), image("b.png")], "three"),
        pair("c", [image("c.png")], "vier", lang="de"),
        pair("d", [FileImage(tmp_path / "bad.png")], "five"),
        pair("e", [image("e.png")], "six"),
    ]


def test_each_distinct_image_gets_one_text_of_its_own(several):
    found = choose_captions(several, 4, lang="en", most=30_000, seed=3)
    names = sorted(ref.name.rpartition("/")[2] for ref in found.real.refs)
    assert names == ["a.png", "b.png", "e.png", "shared.png"]
    assert found.real.pixels.shape == (4, 4, 4, 3)
    own = {
        ref.name.rpartition("/")[2]: prompt.text.value
        for ref, prompt in zip(found.real.refs, found.prompts, strict=True)
    }
    assert {own["a.png"], own["shared.png"]} == {"one", "two"}  # a record's texts go round its images
    assert (own["b.png"], own["e.png"]) == ("three", "six")
    assert [one.pair for one in found.prompts] == found.real.owner.tolist()
    assert found.remarks == (
        "one text each of 4 distinct real images, and one generated image of each text: 4 real and 4 generated images; "
        "30,000 were asked for, and there are no more",
        "1 images have the same bytes as another, which counts once",
        "1 images have no text to draw and are left out",
    )
    (said,) = found.real.remarks("real")
    assert said.startswith("1 real images cannot be read and are left out (")
    assert "bad.png" in said
    again = choose_captions(several, 4, lang="en", most=30_000, seed=3)
    assert [ref.name for ref in again.real.refs] == [ref.name for ref in found.real.refs]
    assert np.array_equal(again.real.pixels, found.real.pixels)


def test_another_image_takes_the_place_of_one_that_cannot_be_read(several):
    for seed in range(4):
        found = choose_captions(several, 4, lang="en", most=4, seed=seed)
        assert len(found.prompts) == len(found.real.pixels) == 4
        assert "asked for" not in found.remarks[0]
    with pytest.raises(DataError, match="no readable real image with a text"):
        choose_captions([several[3]], 4, lang="en")
    with pytest.raises(DataError, match="no readable real image with a text"):
        choose_captions(several, 4, lang="fr")


def test_as_many_generated_as_real_images_are_compared(drawing, pairs, tools):
    tracked: list[str] = []

    class Heard(type(SILENT)):
        def track(self, items, label, total=None):
            tracked.append(f"{label}: {total}")
            return super().track(items, label, total)

    seen, drawn = measure_generated(drawing.Drawer(), pairs["val"], tools, ASKED, seed=1, progress=Heard())
    assert {"records: 10", "batches of real images: 1", "batches of generated images: 1"} <= set(tracked)
    assert (seen.texts, seen.noises, len(drawn.real.pixels), len(drawn.generated)) == (10, 1, 10, 10)
    assert seen.remarks[0].endswith("10 real and 10 generated images; 30,000 were asked for, and there are no more")
    features = [tools.extractor.extract(each).features for each in (drawn.real.pixels, drawn.generated[:, 0])]
    assert seen.measure("frechet").value == pytest.approx(frechet_distance(*features), rel=1e-6)
    fewer, drawn = measure_generated(
        drawing.Drawer(), pairs["val"], replace(tools, judge=None), replace(ASKED, texts=6), seed=1
    )
    assert (fewer.texts, len(drawn.real.pixels)) == (6, 6)
    assert fewer.remarks[0].endswith("6 real and 6 generated images")
    assert seen.measure("r_precision").chance == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noises": 2}, "one image of each text; set noises to 1 and given to text, found 2 and text"),
        ({"given": "image"}, "found 1 and image"),
        ({"protocol": "caption"}, "unknown protocol 'caption'.*did you mean 'captions'"),
    ],
)
def test_settings_that_make_no_sense(changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(ASKED, **changes)


def test_many_images_lie_in_a_file_and_memory_stays_bounded(drawing, pairs, monkeypatch):
    texts = ["a red circle", "a blue square"] * 1024
    wanted = generate_all(drawing.Drawer(32), texts, noises=1, seed=0)
    real = read_real_images(pairs["val"], 16).pixels
    monkeypatch.setattr(image_store, "IN_MEMORY", 0)
    tracemalloc.start()
    made = generate_all(drawing.Drawer(32), texts, noises=1, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(made, np.memmap)
    assert np.array_equal(made, wanted)
    assert peak < 3.2e6 < 0.6 * wanted.nbytes  # bytes: a few times a chunk of 256 images
    assert np.array_equal(read_real_images(pairs["val"], 16).pixels, real)


def test_a_disk_without_room_is_said_before_anything_is_drawn():
    with pytest.raises(ConfigError, match=r"the images take 3377699\.7 GB, and .* has .* GB free; set TMPDIR"):
        room_for((1 << 30, 1024, 1024, 3))
    assert room_for((2, 3)).shape == (2, 3)
