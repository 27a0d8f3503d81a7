"""The audit: which attributes survive, on a generator that is blind to some words."""

from __future__ import annotations

import json

import numpy as np
import pytest

from diptych.core.errors import DataError
from diptych.core.types import BytesImage, Pair, Text
from diptych.inspection.generators.audit import audit
from diptych.inspection.generators.audit_page import audit_html, audit_png
from diptych.inspection.generators.minimal_pairs import (
    COLOUR,
    COUNT,
    OBJECT,
    WORD,
    MinimalPair,
    pairs_in,
    read_minimal_pairs,
    usual_pairs,
)


class ColourModel:
    """A judge by hand: mean redness, greenness and blueness of an image, and the colours that a text names."""

    dim = 3
    compares_by = "cosine"

    @property
    def preprocess(self):
        from diptych.core.protocols import Preprocess

        return Preprocess(16)

    def encode_pixels(self, pixels):
        means = 255 - pixels.reshape(len(pixels), -1, 3).astype(np.float32).mean(axis=1)
        return (means.sum(axis=1, keepdims=True) / 2 - means) / 255

    def encode_texts(self, texts):
        return np.array([[float(c in text) for c in ("red", "green", "blue")] for text in texts], dtype=np.float32)


PAIRS = [
    MinimalPair(COLOUR, "a red circle", "a blue circle"),
    MinimalPair(COLOUR, "a green square", "a blue square"),
    MinimalPair(OBJECT, "a red circle", "a red square"),
]


@pytest.mark.unchecked
def test_what_the_generator_reads_survives_and_what_it_does_not_is_at_chance(drawing):
    sharp = audit(drawing.Drawer(), ColourModel(), PAIRS, noises=3)
    by_name = {one.name: one for one in sharp.attributes}
    assert by_name[COLOUR].generated.value == 1.0
    assert by_name[COLOUR].pairs == 2
    assert by_name[COLOUR].margin > 0
    assert by_name[OBJECT].generated.value == 0.0  # this judge sees no forms: ties are misses
    assert by_name[OBJECT].texts_apart == 1.0
    blind = audit(drawing.Drawer(blind=("red", "green", "blue")), ColourModel(), PAIRS[:2], noises=3)
    (colour,) = blind.attributes
    assert colour.generated.value <= 0.5
    assert colour.real is None


@pytest.mark.unchecked
def test_real_images_of_the_same_texts_are_the_ceiling(drawing):
    def real(colour, *texts):
        return Pair(colour, (BytesImage(png(drawing.Drawer(32).generate([texts[0]], seed=1)[0])),),
                    tuple(Text(text, "en") for text in texts))  # fmt: skip

    pairs = [real("r", "a red circle"), real("b", "a blue circle"), real("s", "a blue square", "ein Quadrat")]
    found = pairs_in(pairs)
    assert [(one.attribute, one.one, one.other, one.real) for one in found] == [
        (COLOUR, "a red circle", "a blue circle", (0, 1)),
        (WORD, "a blue circle", "a blue square", (1, 2)),
    ]
    seen = audit(drawing.Drawer(blind=("red",)), ColourModel(), found, pairs=pairs, noises=2)
    by_name = {one.name: one for one in seen.attributes}
    assert by_name[COLOUR].real.value == 1.0
    assert by_name[COLOUR].generated.value < 1.0


def png(pixels):
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_minimal_pairs_in_texts_differ_in_exactly_one_word():
    texts = ["two red dogs", "three red dogs", "two blue dogs", "two red cats", "two red dogs run", "dogs"]
    pairs = [Pair(str(n), (), (Text(text, "en"), Text(text, "en"))) for n, text in enumerate(texts)]
    pairs.append(Pair("de", (), (Text("zwei red dogs", "de"),)))
    found = {(one.attribute, one.one, one.other) for one in pairs_in(pairs)}
    assert found == {
        (COUNT, "two red dogs", "three red dogs"),
        (COLOUR, "two red dogs", "two blue dogs"),
        (WORD, "two red dogs", "two red cats"),
    }
    assert pairs_in(pairs, fields=("name",)) == []
    many = [Pair(str(n), (), (Text(f"thing {n}", "en"),)) for n in range(30)]
    assert len(pairs_in(many, most=7)) == 7


def test_usual_pairs_differ_and_are_of_three_attributes():
    pairs = usual_pairs()
    assert {one.attribute for one in pairs} == {COLOUR, COUNT, OBJECT}
    assert all(one.one != one.other for one in pairs)
    assert len({(one.one, one.other) for one in pairs}) == len(pairs)
    assert MinimalPair(COUNT, "one person", "two people") in pairs
    assert MinimalPair(OBJECT, "an apple", "a banana") in pairs


def test_reading_pairs(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"attribute": "size", "one": "a big dog", "other": "a small dog"}\n\n')
    assert read_minimal_pairs(file) == [MinimalPair("size", "a big dog", "a small dog")]
    row = {"attribute": "size", "one": "a big dog\u2028runs", "other": "a small dog"}
    file.write_text(json.dumps(row, ensure_ascii=False), "utf-8")
    assert read_minimal_pairs(file) == [MinimalPair("size", "a big dog\u2028runs", "a small dog")]
    for content, message in (
        ("", "holds no minimal pairs"),
        ('{"one": "a"}', "line 1: expected"),
        ('{"attribute": "x", "one": "a", "other": "a"}', "two different texts"),
    ):
        file.write_text(content)
        with pytest.raises(DataError, match=message):
            read_minimal_pairs(file)
    with pytest.raises(DataError, match="cannot open"):
        read_minimal_pairs(tmp_path / "gone.jsonl")


@pytest.mark.unchecked
def test_the_page_escapes_and_asks_nothing_of_a_network(drawing):
    nasty = MinimalPair("<script>alert(1)</script>", "a red <b>circle</b>", 'a blue "circle"')
    seen = audit(drawing.Drawer(32), ColourModel(), [*PAIRS, nasty], noises=2, names=("<g>", "m"))
    text = audit_html(seen)
    assert "<script" not in text
    assert "&lt;b&gt;circle&lt;/b&gt;" in text
    assert "http" not in text.replace("http-equiv", "")
    assert text.count("<img") == text.count('src="data:image/png;base64,') == 8
    assert json.loads(json.dumps(seen.to_json(), allow_nan=False))["pairs"][0]["one"] == "a red circle"
    assert "| colour | 2 | 100.0 |" in seen.to_text()
    assert audit_png(seen).startswith(b"\x89PNG")


@pytest.mark.unchecked
def test_nothing_to_audit(drawing):
    with pytest.raises(DataError, match="no minimal pairs"):
        audit(drawing.Drawer(), ColourModel(), [])
