import io

import numpy as np
import PIL.Image
import pytest

from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError, DataError
from diptych.core.protocols import Preprocess
from diptych.data.images import as_image, prepare
from diptych.inspection.explanation import draw_explanation, shaded
from diptych.inspection.occlusion import (
    explain,
    explain_prepared,
    mean_per_cell,
    paint_over,
    text_without,
    windows,
    words_and_gaps,
)


class CornerEncoder:
    """Sees how red the top left quarter is, and whether the text says "red": everything else is constant."""

    name, fingerprint, dim = "corner", "c", 2
    preprocess = Preprocess(size=64)

    def encode_images(self, images):
        return self.encode_pixels(np.stack(images))

    def encode_pixels(self, pixels):
        corner = pixels[:, :32, :32].astype(np.float32)
        red = (corner[..., 0] - corner[..., 1]).mean(axis=(1, 2)) / 255
        return normalise(np.stack([red, np.full(len(pixels), 0.5)], axis=1))

    def encode_texts(self, texts):
        return normalise(np.array([[float("red" in text), 0.5] for text in texts]))


@pytest.fixture
def image():
    pixels = np.full((64, 64, 3), 255, dtype=np.uint8)
    pixels[:32, :32] = (255, 0, 0)
    return pixels


class PatchEncoder(CornerEncoder):
    """The same eyes below packed patches."""

    preprocess = Preprocess(64, "patches", patch=8)

    def encode_pixels(self, pixels):
        shown = [as_image(each, self.preprocess) for each in pixels]
        assert {image.shape for image in shown} == {(32, 128, 3)}
        corner = np.stack([image[:16, :64] for image in shown]).astype(np.float32)
        red = (corner[..., 0] - corner[..., 1]).mean(axis=(1, 2)) / 255
        return normalise(np.stack([red, np.full(len(pixels), 0.5)], axis=1))


def test_regions_of_packed_patches_lie_on_the_image(image):
    wide = np.ascontiguousarray(image.repeat(2, axis=1)[::2, ::1])  # 32 x 128, the left upper quarter is red
    found = explain(PatchEncoder(), wide, "a red corner", grid=4, window=1)
    assert found.pixels.shape == (32, 128, 3)
    assert (found.regions[:2, :2] > 0.001).all()
    assert np.abs(found.regions[2:]).max() < 1e-6
    assert np.abs(found.regions[:, 2:]).max() < 1e-6
    assert shaded(found.pixels, found.regions, 100).size == (100, 25)
    assert draw_explanation(found)[:4] == b"\x89PNG"


def test_an_image_that_was_prepared_is_not_prepared_again(image):
    class Margin(CornerEncoder):
        preprocess = Preprocess(64, "shortest", resize=80)

    photo = np.ascontiguousarray(image.repeat(2, axis=0).repeat(2, axis=1))
    whole = explain(Margin(), photo, "red", grid=4, window=1)
    again = explain_prepared(Margin(), prepare(photo, Margin.preprocess), "red", grid=4, window=1)
    assert np.array_equal(whole.pixels, again.pixels)
    assert whole.score == again.score


def test_the_region_and_the_word_that_match_are_found(image):
    found = explain(CornerEncoder(), image, "a red corner", grid=4, window=1)

    assert found.score == pytest.approx(1.0, abs=1e-5)
    assert (found.regions[:2, :2] > 0.001).all()
    assert np.abs(found.regions[2:]).max() < 1e-6
    assert found.words == ("a", "red", "corner")
    assert found.word_drops.argmax() == 1
    assert found.word_drops[[0, 2]] == pytest.approx([0, 0], abs=1e-6)
    assert (found.word_regions[1, :2, :2] > 0.001).all()  # the corner matters only with the word
    assert np.abs(found.word_regions[0]).max() < 1e-6
    assert {phrase for phrase, _ in found.phrases} == {"a red", "red corner"}


def test_drops_are_differences_of_cosines(image):
    encoder = CornerEncoder()
    found = explain(encoder, image, "red thing", grid=2, window=1)
    text = encoder.encode_texts(["red thing"])[0]
    for row in range(2):
        for column in range(2):
            masked = paint_over(image, (row, column, row + 1, column + 1), 2)
            wanted = found.score - float(encoder.encode_pixels(masked[None])[0] @ text)
            assert found.regions[row, column] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("grid", "window"), [(2, 1), (3, 2), (8, 2), (5, 5)])
def test_every_cell_is_covered_equally_often(grid, window):
    boxes = windows(grid, window)
    assert len(boxes) == (grid + window - 1) ** 2
    covered = np.zeros((grid, grid), dtype=int)
    for top, left, bottom, right in boxes:
        covered[top:bottom, left:right] += 1
    assert (covered == window**2).all()
    assert mean_per_cell(np.ones(len(boxes), dtype=np.float32), boxes, grid) == pytest.approx(np.ones((grid, grid)))


@pytest.mark.parametrize(
    ("text", "words", "without_first"),
    [
        ("a red  dog", ("a", "red", "dog"), "red dog"),
        ("dog", ("dog",), ""),
        ("Don't stop!", ("Don't", "stop!"), "stop!"),
        ("红色的狗。", ("红", "色", "的", "狗。"), "色的狗。"),
        ("一只 black 狗，在草地", ("一", "只", "black", "狗，", "在", "草", "地"), "只 black 狗，在草地"),
        ("赤いフリスビーを追う犬", ("赤", "い", "フリスビー", "を", "追", "う", "犬"), "いフリスビーを追う犬"),
        ("สีดำในน้ำ", ("สี", "ดำ", "ใน", "น้ำ"), "ดำในน้ำ"),
        ("검은 개", ("검은", "개"), "개"),
        ("हिन्दी कुत्ता", ("हिन्दी", "कुत्ता"), "कुत्ता"),
    ],
)
def test_texts_fall_into_words_or_characters(text, words, without_first):
    found, gaps, together = words_and_gaps(text)
    assert (found, together) == (words, 1)
    assert text_without(found, (0, 1), gaps) == without_first
    assert text_without(found, (0, 0), gaps) == " ".join(text.split())


@pytest.mark.parametrize(("count", "parts", "together"), [(60, 60, 1), (61, 31, 2), (200, 50, 4)])
def test_a_long_text_goes_by_several_words_at_a_time(count, parts, together):
    text = " ".join(f"w{number}" for number in range(count))
    words, gaps, found = words_and_gaps(text)
    assert (len(words), found) == (parts, together)
    assert text_without(words, (0, 0), gaps) == text
    assert text_without(words, (0, 1), gaps) == " ".join(text.split()[together:])


def test_a_long_text_is_taken_apart(image):
    found = explain(CornerEncoder(), image, "so " * 100 + "red " + "it " * 20, grid=2, window=1)
    assert (len(found.words), found.together, found.to_json()["words_together"]) == (41, 3, 3)
    assert found.words[int(found.word_drops.argmax())] == "so red it"


@pytest.mark.parametrize("text", ["  ", "\u200b\u200d", "\u3164"])
def test_an_empty_text_is_refused(text):
    with pytest.raises(DataError, match="empty"):
        words_and_gaps(text)


def test_a_grid_that_cannot_be_is_refused(image):
    with pytest.raises(ConfigError, match="2 to 32"):
        explain(CornerEncoder(), image, "x", grid=1)
    with pytest.raises(ConfigError, match="window fit"):
        explain(CornerEncoder(), image, "x", grid=2, window=3)


def orange(image):
    red, green, blue = (np.asarray(image).astype(int)[..., channel] for channel in range(3))
    return (red - blue > 60) & (red - green > 30)


def test_shading_lies_where_the_drop_is(image):
    regions = np.zeros((4, 4), dtype=np.float32)
    regions[3, 3] = 0.2
    hot = orange(shaded(np.full_like(image, 128), regions, 80))
    assert hot[60:, 60:].mean() > 0.5
    assert not hot[:40, :40].any()


@pytest.mark.parametrize("text", ["dog", "a red corner", "a " * 40 + "red", "红色的角落", "شارع red"])
def test_any_text_can_be_drawn(image, text):
    found = explain(CornerEncoder(), image, text, grid=2, window=1)
    drawn = PIL.Image.open(io.BytesIO(draw_explanation(found, "title")))
    assert drawn.format == "PNG"
    assert drawn.width > 600
