import base64
import io
import json
import re

import numpy as np
import PIL.Image
import pytest

from diptych.core.errors import ConfigError, DataError
from diptych.core.types import Pair, Text
from diptych.data.readers import open_source
from diptych.inspection.atlas import Atlas, Map, Point, make_atlas, vocabulary
from diptych.inspection.atlas_page import to_html, to_png
from diptych.inspection.project import fitted_in, pca, project, without_gap
from diptych.models import load


def thumb(colour="red"):
    stream = io.BytesIO()
    PIL.Image.new("RGB", (20, 16), colour).save(stream, "JPEG")
    return stream.getvalue()


NASTY = '</script><script>alert("x")</script> <!-- \u2028 & "quoted"'


def atlas(text=NASTY):
    points = (Point("a.jpg", "image", record=0), Point(text, "text", "en", "class <b>", 0), Point("x", "text", "de"))
    places = np.array([[0, 0], [1, 1], [-1, 0.5]], dtype=np.float32)
    words = Map("Words", (Point("dog", "word", "en", count=9), Point("hund", "word", "de")), places[:2])
    return Atlas(text, (Map("Images and texts", points, places), words), (thumb(),), 0)


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_page_holds_everything_and_nothing_breaks_out():
    page = to_html(atlas())
    data = data_of(page)

    assert data["maps"][0]["text"][1] == NASTY
    assert data["maps"][0]["record"] == [0, 0, -1]
    assert data["maps"][1]["count"] == [9, 1]
    assert base64.b64decode(data["images"][0]) == thumb()
    assert page.count("<script") == 2  # the data and the program
    assert "&lt;/script&gt;" in page  # the title
    assert "@TITLE@" not in page
    assert "@DATA@" not in page


def test_the_page_asks_nothing_of_any_network():
    page = to_html(atlas())
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page)
    assert "default-src 'none'" in page
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|import)\s*\(", page)
    assert ".innerHTML" not in page


def test_the_png_is_one_with_both_maps():
    pytest.importorskip("matplotlib", reason="drawing needs the [plot] extra")
    image = PIL.Image.open(io.BytesIO(to_png(atlas("words"))))
    assert image.width > 1.8 * image.height


def test_pca_finds_the_wide_directions():
    generator = np.random.default_rng(0)
    wide = generator.normal(size=(200, 1)) * 10
    flat = generator.normal(size=(200, 1)) * 3
    vectors = np.concatenate([flat, 0.1 * generator.normal(size=(200, 3)), wide], axis=1)
    found = pca(vectors)
    assert abs(np.corrcoef(found[:, 0], wide[:, 0])[0, 1]) > 0.99
    assert abs(np.corrcoef(found[:, 1], flat[:, 0])[0, 1]) > 0.99


def test_points_are_fitted_in_with_their_shape():
    points = fitted_in(np.array([[0, 0], [10, 0], [10, 5]], dtype=np.float32))
    assert points.tolist() == [[-1, -0.5], [1, -0.5], [1, 0.5]]
    assert np.isfinite(fitted_in(np.zeros((3, 2), dtype=np.float32))).all()


def test_without_the_gap_pairs_meet():
    generator = np.random.default_rng(1)
    images = generator.normal(size=(50, 8)).astype(np.float32)
    gap = 9 * np.eye(1, 8, dtype=np.float32)
    both = np.concatenate([images + gap, images - gap])
    moved = without_gap(both, np.repeat([0, 1], 50))
    assert moved[:50] == pytest.approx(moved[50:], abs=1e-4)


def test_what_cannot_be_projected_is_refused():
    with pytest.raises(DataError, match="two points"):
        project(np.zeros((1, 3), dtype=np.float32))
    with pytest.raises(ConfigError, match="choose from auto"):
        project(np.zeros((3, 3), dtype=np.float32), "tsne")


test_what_cannot_be_projected_is_refused = pytest.mark.unchecked(test_what_cannot_be_projected_is_refused)


@pytest.mark.slow
def test_pacmap_keeps_clusters_together():
    pytest.importorskip("pacmap", reason="needs the [map] extra")
    generator = np.random.default_rng(0)
    centres = 10 * np.eye(3, 10, dtype=np.float32)
    vectors = (centres[np.arange(90) % 3] + 0.1 * generator.normal(size=(90, 10))).astype(np.float32)
    found = project(vectors, "pacmap")
    means = np.stack([found[at::3].mean(axis=0) for at in range(3)])
    own = np.linalg.norm(found - means[np.arange(90) % 3], axis=1).max()
    apart = min(np.linalg.norm(means[a] - means[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert own < apart
    assert (project(vectors, "pacmap") == found).all()


def test_the_vocabulary_counts_words_by_language():
    pairs = [
        Pair("1", (), (Text("A dog, the dog's ball!", "en"), Text("Der Hund im Schnee", "de"))),
        Pair("2", (), (Text("the Ball 42", "en"), Text("half-way"))),
    ]
    found = vocabulary(pairs, 99)
    assert found[:2] == [("ball", "en", 2), ("the", "en", 2)]
    assert ("dog's", "en", 1) in found
    assert ("half-way", None, 1) in found
    assert not any(word == "42" for word, _, _ in found)
    assert len(vocabulary(pairs, 3)) == 3
    assert vocabulary(pairs, 99, least=2) == found[:2]


def test_an_atlas_of_a_real_source(shapes, small_model):
    pairs = list(open_source(shapes))
    found = make_atlas(load(small_model), pairs, title="t", limit=20, words=10, least=1, method="pca")

    joint, words = found.maps
    kinds = [point.kind for point in joint.points]
    assert kinds.count("image") == len(found.thumbnails)
    assert kinds.count("text") == 3 * kinds.count("image")
    assert joint.places.shape == (len(kinds), 2)
    assert np.abs(joint.places).max() <= 1 + 1e-6
    assert {point.lang for point in joint.points if point.kind == "text"} == {"en", "de"}
    assert 2 <= len(words.points) <= 10
    assert data_of(to_html(found))["maps"][0]["x"]
