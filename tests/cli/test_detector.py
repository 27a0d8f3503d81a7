"""`diptych detector` as a user meets it: a TF.js detector converted, checked, and used for SOA."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from tests import tfjs_models

pytest.importorskip("onnx", reason="needs the [fit] extra")


@pytest.fixture(scope="module")
def tfjs(tmp_path_factory):
    """The model and its list of classes."""
    folder = tmp_path_factory.mktemp("tfjs")
    (folder / "classes.txt").write_text("red\nblue\n")
    return tfjs_models.colour_detector(folder), folder / "classes.txt"


@pytest.fixture
def detector(diptych, tfjs, tmp_path):
    model, classes = tfjs
    code, out, _ = diptych(
        "detector", "convert", model, tmp_path / "colours.onnx", "--classes", classes, "--threshold", 0.6, "--json"
    )
    told = json.loads(out)
    assert (code, told["classes"], told["nodes"] > 5) == (0, 2, True)
    return f"onnx:{tmp_path / 'colours.onnx'}"


def test_a_detector_is_checked_against_captions(diptych, detector, shapes, tmp_path):
    code, out, _ = diptych(
        "detector", "eval", shapes, "--detector", detector, "--out", tmp_path / "d.json",
        "--markdown", tmp_path / "d.md", "--least", 9, "--quiet",
    )  # fmt: skip
    assert code == 0
    told = json.loads((tmp_path / "d.json").read_text())
    assert (told["images"], told["kind"], told["telling"]) == (45, "detector", ["red", "blue"])
    red = told["classes"]["red"]
    assert (red["named"], red["both"]) == (9, 9)
    assert "| red | 9 | 9 | 100.0 |" in out
    assert "1 images cannot be read and are left out (bad.png" in out


@pytest.fixture
def measured(diptych, shapes, tmp_path):
    """`diptych generator eval` of images in which every red thing is red, and every other one grey."""
    rows = [json.loads(line) for line in shapes.read_text(encoding="utf-8").splitlines()]
    for colour in ("red", "grey"):
        Image.new("RGB", (32, 32), colour).save(tmp_path / f"{colour}.png")
    lines = [
        {"image": f"{'red' if 'red' in row['text'] else 'grey'}.png", "text": row["text"]}
        for row in rows
        if row["split"] == "val"
    ]
    (tmp_path / "made.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return lambda *more: diptych(
        "generator", "eval", shapes, "--generator", f"images:{tmp_path / 'made.jsonl'}", "--model", "", "--features",
        "fake", "--maps", "", "--train-split", "", "--noises", 1, "--bootstrap", 50, "--quiet", "--json", *more,
    )  # fmt: skip


def test_objects_of_texts_are_looked_for_in_generated_images(measured, detector):
    code, out, _ = measured("--detector", detector)
    told = json.loads(out)
    measures = {one["key"]: one for one in told["measures"]}
    assert code == 0
    assert told["by_class"]["red"] == {
        "found": 1.0,
        "real": 1.0,
        "elsewhere": 0.0,
        "texts": told["by_class"]["red"]["texts"],
    }
    assert told["by_class"]["blue"]["found"] == 0.0
    assert (measures["soa_c"]["value"], measures["soa_c"]["real"], measures["soa_c"]["chance"]) == (0.5, 1.0, 0.0)
    assert measures["soa_i"]["low"] <= 0.5 <= measures["soa_i"]["high"]
    assert "of the 2 classes of the detector" in " ".join(told["remarks"])
    assert "says nothing" not in " ".join(told["remarks"])
    code, _, err = measured("--detector", detector, "--languages", "de")
    assert (code, "the objects that English texts name, and the texts are in de" in err) == (2, True)
    assert measured("--detector", detector, "--detector-threshold", 2)[0] == 2
    code, out, _ = measured("--detector", detector, "--detector-threshold", 1)
    assert json.loads(out)["by_class"]["red"]["found"] == 1.0


def test_a_detector_that_fails_on_real_images_is_no_measure(measured, detector, tmp_path):
    """Its classes are in the wrong order. The file beside it goes before what it says itself."""
    facts = {"classes": ["blue", "red"], "preprocess": {"mode": "squash", "std": [1, 1, 1]}}
    (tmp_path / "colours.detector.json").write_text(json.dumps(facts))
    code, out, _ = measured("--detector", detector)
    assert code == 0
    assert json.loads(out)["remarks"][-1].endswith("SOA by this detector says nothing about such images")


def test_a_detector_that_knows_nothing_that_texts_name(diptych, tfjs, shapes, tmp_path):
    (tmp_path / "other.txt").write_text("zebra\ngiraffe\n")
    out = tmp_path / "zoo.onnx"
    assert diptych("detector", "convert", tfjs[0], out, "--classes", tmp_path / "other.txt")[0] == 0
    code, _, err = diptych("detector", "eval", shapes, "--detector", f"onnx:{out}", "--quiet")
    assert (code, "no caption names one of the 2 classes of zoo.onnx" in err) == (3, True)
    (tmp_path / "german.jsonl").write_text(
        json.dumps({"image": str(shapes.parent / "bad.png"), "text": "x", "lang": "de"})
    )
    code, _, err = diptych("detector", "eval", tmp_path / "german.jsonl", "--detector", f"onnx:{out}", "--quiet")
    assert (code, "no record has an image and an English caption" in err) == (3, True)


def test_bad_input(diptych, tfjs, shapes, tmp_path):
    model, classes = tfjs
    code, _, err = diptych("detector", "convert", model, tmp_path / "x.txt", "--classes", classes)
    assert (code, "expected a file name that ends in .onnx" in err) == (2, True)
    code, _, err = diptych("detector", "convert", classes, tmp_path / "x.onnx", "--classes", classes)
    assert (code, "is no JSON; expected a TF.js graph model's model.json" in err) == (4, True)
    code, _, err = diptych("detector", "convert", model, tmp_path / "x.onnx", "--classes", "cocoa")
    assert (code, "expected coco or a text file" in err) == (2, True)
    (tmp_path / "one.txt").write_text("one\n")
    assert diptych("detector", "convert", model, tmp_path / "x.onnx", "--classes", tmp_path / "one.txt")[0] == 0
    code, _, err = diptych("detector", "eval", shapes, "--detector", f"onnx:{tmp_path / 'x.onnx'}", "--quiet")
    assert (code, "found class number 1, but its list names 1, from number 0" in err) == (4, True)
    code, _, err = diptych("detector", "eval", shapes, "--detector", "onnx:gone.onnx")
    assert (code, "no detector at gone.onnx; expected an ONNX file" in err) == (4, True)
