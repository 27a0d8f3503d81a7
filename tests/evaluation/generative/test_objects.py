"""Objects that texts name and detectors find, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from diptych.core.errors import DataError, ModelError
from diptych.encoders.detectors.facts import COCO
from diptych.evaluation.generative import (
    Detector,
    Share,
    agreement,
    as_matrix,
    look,
    mentioned,
    semantic_object_accuracy,
)
from diptych.evaluation.generative.object_words import OBJECT_WORDS, OTHER_MEANINGS


def test_objects_by_hand():
    found = np.array([[True, False], [True, False], [False, True], [False, False]])
    accuracy = semantic_object_accuracy(found, [[0], [0, 1], [0], []])
    assert accuracy.hits.tolist() == [1.0, 1.0, 0.0, 0.0]
    assert accuracy.by_class == {0: pytest.approx(2 / 3), 1: 0.0}
    assert accuracy.soa_i == 0.5
    assert accuracy.soa_c == pytest.approx(1 / 3)
    assert accuracy.image.tolist() == [0, 1, 1, 2]
    # class 0 is found in none of the 1 image whose text does not name it, class 1 in 1 of 3
    assert accuracy.elsewhere.tolist() == [0, 0, pytest.approx(1 / 3), 0]
    assert accuracy.chance_i == pytest.approx(1 / 12)
    assert accuracy.chance_c == pytest.approx(1 / 6)
    assert semantic_object_accuracy(found[:1], [[0]]).chance_c is None  # every text names it
    with pytest.raises(DataError, match="nothing to look for"):
        semantic_object_accuracy(found, [[], [], [], []])
    with pytest.raises(DataError, match="names class 2; the detector has 2"):
        semantic_object_accuracy(found, [[2], [], [], []])
    with pytest.raises(DataError, match="expected one each"):
        semantic_object_accuracy(found, [[0]])


def test_which_objects_a_text_names():
    classes = ["dog", "hot dog", "bus", "teddy bear", "baby"]
    texts = [
        "Two dogs eat a hot dog", "three  Hot Dogs", "dogma and hotdogs", "buses", "a puppy", "babies", "a bear", "",
    ]  # fmt: skip
    named = mentioned(texts, classes, {"dog": ["dog", "puppy"]})
    assert named == [[0, 1], [1], [], [2], [0], [4], [], []]
    assert mentioned(["a hot dog", "a bird house", "birds"], ["dog", "bird"], {}) == [[], [], [1]]  # other meanings
    assert mentioned(texts, []) == [[]] * len(texts)
    hyphens = ["a hot-dog", "hot\u2010dogs", "teddy-bears", "a dog-house", "a mixed-breed dog", "a catcher\u2019s mitt"]
    classes = ["dog", "hot dog", "bear", "teddy bear", "baseball glove", "t-shirt"]
    assert mentioned(hyphens, classes) == [[1], [1], [3], [], [0], [4]]
    assert mentioned(["a T-shirt", "two t shirts"], classes) == [[5], [5]]


class ColourDetector:
    """A real detector of three classes: it looks for pixels of a colour."""

    name = "colours"
    classes = ("red", "green", "blue")

    def detect(self, images):
        pure = [(images[..., c] > 200) & (np.delete(images, c, -1) < 60).all(-1) for c in range(3)]
        return np.stack([mask.mean(axis=(1, 2)) > 0.05 for mask in pure], axis=1)


def test_a_detector_looks_at_pictures():
    detector = ColourDetector()
    assert isinstance(detector, Detector)
    pictures = np.full((3, 16, 16, 3), 255, dtype=np.uint8)
    pictures[0, 4:12, 4:12] = (255, 0, 0)
    pictures[1, 4:12, 4:12] = (0, 255, 0)
    pictures[2, 4:12, 4:12] = (0, 255, 0)
    detector.classes = ("red", "green")
    with pytest.raises(ModelError, match=r"gives bool of shape \(3, 3\); expected True or False of shape \(3, 2\)"):
        look(detector, pictures)
    detector.classes = ("red", "green", "blue")
    named = mentioned(["a red square", "a green one", "a blue one"], detector.classes)
    accuracy = semantic_object_accuracy(detector.detect(pictures), named)
    assert accuracy.hits.tolist() == [1.0, 1.0, 0.0]


def test_the_table_of_words():
    """One word names one class of COCO, no class of COCO is left out, and a phrase of another meaning hides a word."""
    words = [word for name in COCO for word in OBJECT_WORDS[name]]
    assert len(words) == len(set(words))
    assert set(COCO) <= set(OBJECT_WORDS)
    assert len(OTHER_MEANINGS) == len(set(OTHER_MEANINGS))
    texts = {
        "Two men in orange shirts ride dirt bikes past a bus stop .": ["person", "motorcycle"],
        "A child with a teddy bear on a bench": ["person", "bench", "teddy bear"],
        "A brown puppy runs with a tennis ball": ["dog", "sports ball"],
        "people on a chairlift above a couple of skis": ["person", "skis"],
        "a girl peels oranges": ["person", "orange"],
        "a couple wearing a tie": ["person", "tie"],
        "flower bed beside train tracks": [],
    }
    named = mentioned(list(texts), COCO)
    assert [sorted(COCO[place] for place in places) for places in named] == [sorted(each) for each in texts.values()]


def test_agreement_with_captions_by_hand():
    found = np.array([[True, False], [True, True], [False, False], [True, False]])
    named = as_matrix([[0], [0], [0, 0], []], 2)
    first, second = agreement(found, named)
    assert (first.images, first.named, first.found, first.both) == (4, 3, 3, 2)
    assert (first.precision.value, first.recall.value, first.elsewhere.value) == (2 / 3, 2 / 3, 1.0)
    assert (second.precision.value, second.elsewhere.value) == (0.0, 0.25)
    assert np.isnan([second.recall.value, *second.recall.interval]).all()


@pytest.mark.parametrize(("part", "whole", "low", "high"), [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775)])
def test_wilsons_interval(part, whole, low, high):
    """Values of statsmodels.stats.proportion.proportion_confint(..., method="wilson")."""
    assert Share(part, whole).interval == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
