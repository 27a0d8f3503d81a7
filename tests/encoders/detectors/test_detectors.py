"""Detectors that really run: ONNX graphs of several inputs, and torchvision's with random weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests import tfjs_models

from diptych.core.errors import ConfigError, ModelError
from diptych.encoders.detectors import open_detector
from diptych.encoders.detectors.facts import KEY, facts_of
from diptych.evaluation.generative import ScoringDetector

onnx = pytest.importorskip("onnx", reason="needs the [fit] extra")

from diptych.encoders.detectors.tfjs import convert  # noqa: E402


def colours():
    """Red, blue, green."""
    images = np.full((3, 20, 30, 3), 255, dtype=np.uint8)
    for row, colour in enumerate(((255, 0, 0), (0, 0, 255), (0, 200, 0))):
        images[row, 4:16, 5:25] = colour
    return images


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    proto = convert(tfjs_models.colour_detector(folder))
    entry = proto.metadata_props.add()
    entry.key, entry.value = KEY, facts_of(("red", "blue"), 0.5, "0..255", "squash", "MIT").to_json()
    file = folder / "colours.onnx"
    file.write_bytes(proto.SerializeToString())
    return file


def test_a_converted_detector_finds_what_it_was_made_for(detector):
    found = open_detector(f"onnx:{detector}")
    assert isinstance(found, ScoringDetector)
    assert found.classes == ("red", "blue")
    assert found.name == "colours.onnx, 2 classes, from a score of 0.5 (licence: MIT)"
    np.testing.assert_allclose(found.scores(colours()), [[1, 0], [0, 1], [0, 0]], atol=0.02)
    assert found.detect(colours()).tolist() == [[True, False], [False, True], [False, False]]
    assert found.detect(colours()[:0]).shape == (0, 2)
    half = colours()
    half[0, half[0, ..., 1] == 0] = (153, 0, 0)  # a score of 0.6
    assert open_detector(f"onnx:{detector}", 0.7).detect(half)[:, 0].tolist() == [False, False, False]


@pytest.mark.parametrize("shape", [(1, 3, "h", "w"), (3, 8, 8), (1, 8, 8, 3)])
@pytest.mark.parametrize("kind", ["FLOAT", "UINT8"])
def test_inputs_of_every_order_and_type(tmp_path, shape, kind):
    """A graph whose scores are the means of red, green and blue: it must get the channels in the right order."""
    names = ("n", "c", "h", "w") if shape[1] == 3 else ("c", "h", "w") if len(shape) == 3 else ("n", "h", "w", "c")
    axes = [place for place, name in enumerate(names) if name != "c"]
    helper = onnx.helper
    constants = [
        onnx.numpy_helper.from_array(np.array(axes), "axes"),
        onnx.numpy_helper.from_array(np.float32(1 if kind == "FLOAT" else 255), "full"),
        onnx.numpy_helper.from_array(np.arange(3), "labels"),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "full"], ["scores"]),
    ]
    value = helper.make_tensor_value_info
    outputs = [value("scores", onnx.TensorProto.FLOAT, [3]), value("labels", onnx.TensorProto.INT64, [3])]
    given = [value("image", getattr(onnx.TensorProto, kind), shape)]
    graph = helper.make_graph(nodes, "means", given, outputs, constants)
    file = tmp_path / "means.onnx"
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    file.write_bytes(proto.SerializeToString())
    facts = {"classes": ["red", "green", "blue"], "preprocess": {"mode": "squash", "size": 16}}
    (tmp_path / "means.detector.json").write_text(json.dumps(facts))
    image = np.full((1, 12, 10, 3), (255, 51, 102), dtype=np.uint8)
    np.testing.assert_allclose(open_detector(f"onnx:{file}").scores(image), [[1, 0.2, 0.4]], atol=1e-5)


def test_detectors_that_cannot_be_opened(detector, tmp_path):
    with pytest.raises(ModelError, match=r"no detector at .*gone\.onnx; expected an ONNX file"):
        open_detector(f"onnx:{tmp_path / 'gone.onnx'}")
    with pytest.raises(ConfigError, match="unknown detector 'nothing'; choose from imagenet, onnx:FILE, torchvision:"):
        open_detector("nothing")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be loaded as an ONNX model"):
        open_detector(f"onnx:{broken}")
    with pytest.raises(ConfigError, match="threshold must be above 0 and at most 1, found 3"):
        open_detector(f"onnx:{detector}", 3)
    with pytest.raises(ConfigError, match="the detector imagenet has no threshold; leave it out"):
        open_detector("imagenet", 0.3)
    from diptych.models import load

    (tmp_path / "head.detector.json").write_text('{"classes": ["a"]}')
    (tmp_path / "head.onnx").write_bytes((load("base").folder / "text_head.onnx").read_bytes())
    for file in load("base").folder.glob("*.safetensors"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match=r"takes .* of shape .*; expected one input of images"):
        open_detector(f"onnx:{tmp_path / 'head.onnx'}")


SMALL = "ssdlite320_mobilenet_v3_large"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch = pytest.importorskip("torch", reason="needs the [train] extra")
    from diptych.encoders.compat import import_detection

    torchvision = import_detection()
    torch.manual_seed(0)
    model = torchvision.models.get_model(SMALL, weights=None, weights_backbone=None, num_classes=3)
    file = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(model.state_dict(), file)
    file.with_suffix(".detector.json").write_text('{"classes": ["background", "dog", "cat"], "threshold": 0.01}')
    return file, model.eval()


def test_a_torchvision_detector_scores_as_torchvision_does(weights):
    import torch

    file, model = weights
    found = open_detector(f"torchvision:{SMALL}:{file}")
    assert (found.classes, found.threshold) == (("background", "dog", "cat"), 0.01)
    image = np.random.default_rng(0).integers(0, 256, (1, 60, 80, 3), dtype=np.uint8)
    with torch.inference_mode():
        boxes = model([torch.from_numpy(image[0]).permute(2, 0, 1) / 255])[0]
    expected = [0] + [max(boxes["scores"][boxes["labels"] == label].tolist(), default=0) for label in (1, 2)]
    np.testing.assert_allclose(found.scores(image)[0], expected, rtol=1e-5)
    assert max(expected) > 0.01


def test_torchvision_detectors_that_cannot_be_opened(weights, tmp_path, monkeypatch):
    file, _ = weights
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        ModelError, match=r"no weights at .*ssdlite320_.*; fetch https://.* to there, or name a file as"
    ):
        open_detector(f"torchvision:{SMALL}")
    with pytest.raises(ConfigError, match="unknown torchvision detector 'ssdlite'; choose from fasterrcnn_"):
        open_detector("torchvision:ssdlite")
    other = tmp_path / "other.pth"
    other.write_bytes(file.read_bytes())
    with pytest.raises(
        ModelError, match=r"does not fit ssdlite320_.* with 91 classes: .*; for weights with other classes"
    ):
        open_detector(f"torchvision:{SMALL}:{other}")
    other.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be read as weights"):
        open_detector(f"torchvision:{SMALL}:{other}")


def test_boxes_that_overlap_are_dropped_worst_first():
    torch = pytest.importorskip("torch", reason="needs the [train] extra")
    from diptych.encoders.compat import nms

    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 10, 4]])
    assert nms(boxes, torch.tensor([0.5, 0.9, 0.1, 0.4]), 0.5).tolist() == [1, 3, 2]  # overlaps 0.9, 0.44
    assert nms(boxes[:0], torch.zeros(0), 0.5).tolist() == []
