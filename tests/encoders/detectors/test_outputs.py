"""The layouts of detectors' outputs, and what a file says about itself."""

from __future__ import annotations

import json

import numpy as np
import pytest

from diptych.core.errors import ConfigError, ModelError
from diptych.encoders.detectors.facts import COCO, KEY, classes_named, facts_of, read_facts
from diptych.encoders.detectors.outputs import best_scores


def array(*values):
    return np.array(values, dtype=np.float32)


@pytest.mark.parametrize(
    "outputs",
    [
        {"d": array([0, 0, 9, 9, 0.5, 2], [0, 0, 9, 9, 0.75, 0], [1, 1, 5, 5, 0.25, 2], [0] * 6)[None]},
        {"boxes": np.zeros((3, 4)), "labels": np.array([2, 0, 2]), "scores": array(0.5, 0.75, 0.25)},
        {"detection_classes": array([2, 0, 2]), "detection_scores": array([0.5, 0.75, 0.25]), "num": array(3)},
        {"output0": np.concatenate([np.zeros((4, 2)), array([0, 0.75], [0, 0], [0.5, 0.25])])[None]},  # YOLO v8
        {"output0": array([0, 0, 0, 0, 0.5, 0, 0, 1], [0, 0, 0, 0, 1, 0.75, 0, 0.25])[None]},  # YOLO v5
        {"logits": np.log(array([0.75, 1e-9, 0.01, 0.24], [1e-9, 1e-9, 0.5, 0.5]))[None], "pred_boxes": np.zeros(1)},
        {"logits": array([np.log(3), -40, 0], [-40, -40, -9])[None], "pred_boxes": np.zeros(1)},  # RT-DETR
    ],
)
def test_each_layout_gives_the_best_score_of_each_class(outputs):
    np.testing.assert_allclose(best_scores(outputs, 3), [0.75, 0, 0.5], atol=1e-6)


def test_outputs_that_do_not_fit():
    with pytest.raises(ModelError, match=r"the detector gives d \(1, 5, 5\) for 3 classes; expected one of: scores"):
        best_scores({"d": np.zeros((1, 5, 5))}, 3)
    with pytest.raises(ModelError, match="found class number 7, but its list names 3, from number 0"):
        best_scores({"d": array([0, 0, 9, 9, 0.5, 7])[None]}, 3)
    with pytest.raises(ModelError, match="logits of 9 classes, but its list names 3"):
        best_scores({"logits": np.zeros((1, 2, 9)), "pred_boxes": np.zeros(1)}, 3)


def test_what_a_file_says_about_itself(tmp_path):
    model = tmp_path / "net.onnx"
    with pytest.raises(ModelError, match=r"net\.onnx does not say its classes; write .*net\.detector\.json"):
        read_facts(model, {})
    ultralytics = read_facts(model, {"names": "{0: 'person', 1: 'car'}", "license": "AGPL-3.0"})
    assert (ultralytics.classes, ultralytics.licence) == (("person", "car"), "AGPL-3.0")
    assert (ultralytics.preprocess.mode, ultralytics.preprocess.std) == ("longest", (255, 255, 255))
    ours = facts_of(("a", "b"), 0.25, "-1..1", "squash", "MIT")
    assert read_facts(model, {KEY: ours.to_json()}) == ours
    assert ours.preprocess.mean == ours.preprocess.std == (127.5, 127.5, 127.5)
    beside = tmp_path / "net.detector.json"
    beside.write_text(json.dumps({"classes": "coco", "threshold": 0.4, "preprocess": {"mode": "squash"}}))
    found = read_facts(model, {KEY: ours.to_json()})  # the file beside it goes first
    assert (found.classes, found.threshold, found.preprocess.mode) == (COCO, 0.4, "squash")
    assert found.preprocess.std == (255, 255, 255)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot use what is said about the detector"),
        ("[]", "must be a JSON object with classes, found list"),
        ('{"classes": []}', "must be names"),
        ('{"classes": ["a"], "threshold": 2}', "threshold must be above 0 and at most 1, found 2"),
        ('{"classes": ["a"], "labels": 1}', "unknown key 'labels'"),
        ('{"threshold": 0.5}', "classes"),
        ('{"classes": ["a"], "preprocess": 3}', "preprocess"),
    ],
)
def test_facts_that_cannot_be_used(tmp_path, content, message):
    (tmp_path / "net.detector.json").write_text(content)
    with pytest.raises(ModelError, match=message):
        read_facts(tmp_path / "net.onnx", {})


def test_lists_of_classes(tmp_path):
    assert classes_named("coco") == COCO
    assert len(COCO) == 80
    listed = tmp_path / "classes.txt"
    listed.write_text("dog\n cat \n")
    assert classes_named(str(listed)) == ("dog", "cat")
    listed.write_text("dog\n\ncat\n")
    with pytest.raises(ConfigError, match=r"line 2 of .* is empty; expected a class for every number"):
        classes_named(str(listed))
    listed.write_text("")
    with pytest.raises(ConfigError, match="names no class; expected a class a line"):
        classes_named(str(listed))
    with pytest.raises(ConfigError, match=r"cannot read the classes from cocoa: .*; expected coco or a text file"):
        classes_named("cocoa")
