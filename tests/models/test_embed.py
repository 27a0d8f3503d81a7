import dataclasses
import pickle

import numpy as np
import pytest
from PIL import Image

from diptych.core.batched import batched
from diptych.core.errors import Reason
from diptych.core.types import BytesImage, FileImage, Pair, Text
from diptych.models import load
from diptych.models.embed import embed_images, embed_pairs


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_model):
    return load(tiny_model(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture
def picture(tmp_path):
    def make(name, colour):
        path = tmp_path / name
        Image.new("RGB", (40, 30), colour).save(path)
        return FileImage(path)

    return make


def pair(name, image, *texts, group=None):
    return Pair(name, () if image is None else (image,), tuple(Text(*text) for text in texts), group=group)


def test_each_text_belongs_to_its_pairs_image(model, picture):
    pairs = [
        pair("red", picture("r.png", "red"), ("a red field", "en"), ("ein rotes Feld", "de", "title"), group="x"),
        pair("blue", picture("b.png", "blue"), ("the sea", "en")),
    ]

    found = embed_pairs(model, pairs)

    assert (found.ids, found.groups) == (("red", "blue"), ("x", None))
    assert found.owner.tolist() == [0, 0, 1]
    assert found.languages == ("en", "de", "en")
    assert found.fields == ("caption", "title", "caption")
    assert found.images == pytest.approx(model.encode_images([one.images[0] for one in pairs]), abs=1e-6)
    wanted = model.encode_texts(["a red field", "ein rotes Feld", "the sea"])
    assert found.texts == pytest.approx(wanted, abs=1e-6)


def test_a_pair_with_a_bad_image_is_left_out_with_its_texts_and_named(model, picture):
    bad = BytesImage(b"<html>not found</html>", "bad.jpg")
    pairs = [
        pair("a", picture("a.png", "red"), ("one", "en")),
        pair("b", bad, ("two", "en"), ("three", "en")),
        pair("c", picture("c.png", "green"), ("four", "en")),
        pair("d", None, ("five", "en")),
    ]

    found = embed_pairs(model, pairs, batch_size=2)

    assert found.ids == ("a", "c")
    assert found.owner.tolist() == [0, 1]
    assert found.texts == pytest.approx(model.encode_texts(["one", "four"]), abs=1e-6)
    assert {(one.name, one.reason) for one in found.skipped} == {
        ("bad.jpg", Reason.NOT_AN_IMAGE),
        ("d", Reason.NO_IMAGE),
    }
    assert found.skipped_texts == 3


def test_only_the_languages_asked_for_are_embedded(model, picture):
    pairs = [
        pair("a", picture("a.png", "red"), ("one", "en"), ("eins", "de")),
        pair("b", picture("b.png", "blue"), ("two", "en")),
        pair("c", picture("c.png", "blue")),
    ]

    found = embed_pairs(model, pairs, languages=("de",))

    assert (found.ids, found.languages, found.without_texts) == (("a",), ("de",), 2)
    assert found.skipped == ()


def test_equal_texts_are_equal_to_the_last_bit(model, picture):
    pairs = [pair(str(n), picture(f"{n}.png", "red"), ("same", "en"), (f"other {n}", "en")) for n in range(9)]

    texts = embed_pairs(model, pairs).texts

    assert all(np.array_equal(texts[0], row) for row in texts[::2])


def test_nothing_at_all_is_empty_and_not_an_error(model):
    found = embed_pairs(model, [])

    assert (found.images.shape, found.texts.shape, found.owner.shape) == ((0, 16), (0, 16), (0,))


def test_every_image_of_a_record_is_embedded_and_a_bad_one_costs_only_itself(model, picture):
    red, green, blue = (picture(f"{colour}.png", colour) for colour in ("red", "green", "blue"))
    bad = BytesImage(b"no image", "bad.jpg")
    pairs = [
        Pair("1", (bad,), (Text("lost"),)),
        Pair("1", (red, bad, green), (Text("one"), Text("two"))),
        Pair("1", (blue,), (Text("three"),), group="g"),
    ]

    found = embed_pairs(model, pairs, batch_size=2)

    assert found.places.tolist() == [1, 2]  # whatever their ids
    assert (found.ids, found.groups) == (("1", "1"), (None, "g"))
    assert (found.image_owner.tolist(), found.owner.tolist()) == ([0, 0, 1], [0, 0, 1])
    assert found.image_refs == (red, green, blue)
    assert found.images == pytest.approx(model.encode_images([red, green, blue]), abs=1e-6)
    assert [one.name for one in found.skipped] == ["bad.jpg", "bad.jpg"]
    assert found.skipped_texts == 1

    views = embed_images(model, pairs, ("flip",))
    assert views.image_owner.tolist() == [0, 0, 1]
    assert views.views.shape == (1, 3, 16)
    assert views.images == pytest.approx(found.images, abs=1e-6)


def test_equal_images_are_equal_to_the_last_bit_and_what_is_embedded_has_a_name(model, picture):
    same = picture("a.png", "red")
    twin = BytesImage(same.path.read_bytes(), "table row 3")
    pairs = [Pair("a", (same,), (Text("x"),)), Pair("b", (picture("b.png", "blue"), twin), (Text("y"),))]

    found = embed_pairs(model, pairs)

    assert np.array_equal(found.images[0], found.images[2])
    assert found.keys[0] == found.keys[2] != found.keys[1]
    other = [pairs[0], Pair("b", (twin, twin), (Text("y"),))]
    assert embed_pairs(model, other).content != found.content == embed_pairs(model, pairs).content


class Sent:
    """An engine that sends the task as a cluster does, two images at once."""

    def run(self, task, images, notes):
        notes.add("lost_worker", "workers lost")
        work = pickle.loads(pickle.dumps(task)).start(1, "cpu")
        for some in batched(images, 2):
            sent = pickle.loads(pickle.dumps(some))
            yield from zip(some, pickle.loads(pickle.dumps(work(sent))), strict=True)


def test_an_engine_embeds_what_this_process_does(model, picture, tmp_path, monkeypatch):
    red, bad = picture("r.png", "red"), BytesImage(b"<html>not found</html>", "bad.jpg")
    missing = FileImage(tmp_path / "gone.png")
    copy = BytesImage(red.path.read_bytes(), "copy.png")
    again = BytesImage(bad.data, "bad again.jpg")
    images = [red, bad, picture("b.png", "blue"), copy, missing, again, picture("g.png", "green"), red]
    pairs = [pair(str(at), image, (f"text {at}", "en")) for at, image in enumerate(images)]
    found = []
    for name, engine in (("here", None), ("there", Sent()), ("there", Sent())):
        monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / name))
        found.append(embed_pairs(model, pairs, engine=engine))
    for one in found[1:]:  # the second of them by what is known
        for field in dataclasses.fields(one):
            left, right = (getattr(each, field.name) for each in (found[0], one))
            if field.name in ("images", "views"):
                assert left == pytest.approx(right, abs=1e-6)
            elif isinstance(left, np.ndarray):
                assert left.tolist() == right.tolist()
            else:
                assert left == right
        assert (one.images[0] == one.images[2]).all()  # equal images to the last bit
    assert [one.name for one in found[0].skipped] == ["bad.jpg", str(missing.path), "bad again.jpg"]
