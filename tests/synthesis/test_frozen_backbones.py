"""Networks of timm and torchvision as frozen networks: their features against the packages' own."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

if find_spec("torch") is None or find_spec("timm") is None:
    pytest.skip("needs the [train] extra", allow_module_level=True)

import torch

from diptych.core.config import Part
from diptych.core.errors import ConfigError, ModelError
from diptych.encoders.compat import import_torchvision
from diptych.synthesis.frozen_features import frozen_network

torchvision = import_torchvision()  # before timm, which imports it
timm = pytest.importorskip("timm")

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def images(count=2, size=16):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(3)) * 2 - 1


def as_packages_want(made, size, mean=MEAN, std=STD):
    """Normalised on the scale of 0 to 1, and scaled."""
    pixels = ((made + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    return torch.nn.functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False)


def saved(net, path):
    torch.save(net.state_dict(), path)
    return str(path)


def test_the_features_of_a_timm_model_are_its_pooled_ones(tmp_path):
    torch.manual_seed(1)
    net = timm.create_model("test_resnet", pretrained=False).eval()
    frozen = frozen_network(Part("timm:test_resnet", {"size": 64, "weights": saved(net, tmp_path / "net.pth")}))
    mean, std = (torch.tensor(net.pretrained_cfg[name]) for name in ("mean", "std"))
    seen = frozen.extract(images())
    with torch.no_grad():
        maps = net.forward_features(as_packages_want(images(), 64, mean, std))
    assert torch.allclose(seen.features, maps.mean((2, 3)), atol=1e-4)
    assert [one.shape[-1] for one in seen.maps] == [16, 8, 4, 2]  # of a quarter of the size and less, finest first
    assert not frozen.is_random


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_the_maps_of_a_torchvision_model_are_its_own(tmp_path, name):
    torch.manual_seed(1)
    net = torchvision.models.get_model(name, weights=None).eval()
    frozen = frozen_network(Part(f"torchvision:{name}", {"size": 64, "weights": saved(net, tmp_path / "net.pth")}))
    pixels = as_packages_want(images(), 64)
    found: list[torch.Tensor] = []
    last = net.layer4 if name == "resnet18" else net.features
    last.register_forward_hook(lambda module, given, output: found.append(output))
    with torch.no_grad():
        net(pixels)
    seen = frozen.extract(images())
    assert torch.allclose(seen.features, found[0].mean((2, 3)), atol=1e-4)
    assert torch.allclose(seen.maps[-1], found[0], atol=1e-4)
    sides = [one.shape[-1] for one in seen.maps]
    assert sides == sorted(set(sides), reverse=True)
    assert sides[0] <= 16


@pytest.mark.parametrize("name", ["timm:test_resnet", "torchvision:squeezenet1_1"])
def test_random_weights_are_the_same_each_time_and_reach_the_image(name):
    part = Part(name, {"pretrained": False, "size": 32})
    torch.manual_seed(7)
    one = frozen_network(part)
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(torch.rand(1), drawn)  # the caller's random numbers are left alone
    torch.manual_seed(8)
    made = images().requires_grad_()
    features = one(made)
    assert torch.equal(features, frozen_network(part)(made))
    assert one.is_random
    features.sum().backward()
    assert made.grad is not None
    assert bool((made.grad != 0).any())
    assert all(each.grad is None for each in one.parameters())
    one.train()
    assert not any(part.training for part in one.modules())


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("torchvision:vgg91", {}, ModelError, "no classifier 'vgg91'; did you mean 'vgg19'"),
        ("torchvision:resnet18", {}, ModelError, r"resnet18' are not here: no .*pth; fetch https.*pretrained = false"),
        ("torchvision:squeezenet1_1", {"weights": "nowhere.pth"}, ModelError, "no weights file at nowhere"),
        ("torchvision:shufflenet_v2_x0_5", {"pretrained": False}, ConfigError, "no row of maps"),
        (
            "timm:vit_tiny_patch16_224",
            {"pretrained": False, "size": 32},
            ConfigError,
            "gives no feature maps of images of 32",
        ),
        ("timm:test_resnet", {"pretrained": False, "size": 40}, ConfigError, "multiple of 32, found 40"),
        ("timm:test_resnet", {"sise": 40}, ConfigError, "unknown option 'sise'"),
        ("timm", {}, ConfigError, "expected timm:NAME_OR_FOLDER"),
    ],
)
def test_what_cannot_be_had_is_refused(name, options, error, message, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(error, match=message):
        frozen_network(Part(name, options))


def test_weights_of_another_network_are_refused(tmp_path):
    other = saved(torchvision.models.squeezenet1_0(), tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"other\.pth holds no weights of torchvision's 'resnet18'"):
        frozen_network(Part("torchvision:resnet18", {"weights": other}))
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(ModelError, match="holds no weights"):
        frozen_network(Part("torchvision:resnet18", {"weights": str(tmp_path / "text.pth")}))
