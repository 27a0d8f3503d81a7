"""A whole backbone from pixels, and the pixels' tower below it."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need the [train] extra")
if find_spec("timm") is None:
    pytest.skip("needs the [train] extra", allow_module_level=True)

from diptych.core.config import Part  # noqa: E402
from diptych.core.errors import ConfigError, ModelError  # noqa: E402
from diptych.encoders.compat import import_torchvision  # noqa: E402
from diptych.encoders.export import GraphSpec, write_graphs  # noqa: E402
from diptych.encoders.image.pixel_tower import PixelTower  # noqa: E402
from diptych.encoders.image.timm import TimmImageTower  # noqa: E402
from diptych.models.dual import OnnxHead  # noqa: E402
from diptych.models.heads import LinearHead  # noqa: E402
from diptych.models.networks import build_network  # noqa: E402
from diptych.models.side import Side  # noqa: E402

PART = Part("backbone", {"model": "resnet10t", "pretrained_weights": False, "frozen_norms": True, "rate": 0.5})


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


def test_it_sees_what_the_frozen_tower_sees(pixels: np.ndarray) -> None:
    torch.manual_seed(0)
    frozen = TimmImageTower("resnet10t", pretrained=False, device="cpu")
    torch.manual_seed(0)
    network = build_network(PART, PixelTower(64)).eval()
    tower = PixelTower(64)
    rows = tower.embed(pixels)
    assert rows.dtype == np.uint8
    with torch.no_grad():
        found = network(torch.from_numpy(rows)).numpy()
        wanted = frozen._module(network_input(pixels, frozen)).numpy()
    assert found == pytest.approx(wanted, abs=1e-4)


def network_input(pixels: np.ndarray, tower: TimmImageTower) -> torch.Tensor:
    mean, std = (np.array(values, dtype=np.float32) for values in (tower.preprocess.mean, tower.preprocess.std))
    return torch.from_numpy(((pixels.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2).copy())


def test_its_norms_keep_still_and_its_filters_learn(pixels: np.ndarray) -> None:
    network = build_network(PART, PixelTower(64)).train()
    norms = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert not any(norm.training for norm in norms)
    before = [norm.running_mean.clone() for norm in norms]
    network(torch.from_numpy(PixelTower(64).embed(pixels))).square().sum().backward()
    assert all(torch.equal(norm.running_mean, old) for norm, old in zip(norms, before, strict=True))
    assert next(network.body.parameters()).grad.abs().sum() > 0
    moving = build_network(Part("backbone", {**PART.options, "frozen_norms": False}), PixelTower(64)).train()
    assert any(part.training for part in moving.modules() if isinstance(part, torch.nn.BatchNorm2d))


def test_random_features_do_not_standardise_the_head_and_random_norms_learn(pixels: np.ndarray) -> None:
    rows = torch.from_numpy(PixelTower(64).embed(pixels))
    torch.manual_seed(0)
    side = Side(
        build_network(Part("backbone", {"model": "resnet10t", "pretrained_weights": False}), PixelTower(64)),
        LinearHead(512, 4),
    )
    side.fit_statistics(rows)
    assert torch.equal(side.head.standardise.mean, torch.zeros(512))
    assert torch.equal(side.head.standardise.std, torch.ones(512))
    side.train()
    assert all(part.training for part in side.modules() if isinstance(part, torch.nn.BatchNorm2d))


def test_the_exported_graph_computes_the_same(pixels: np.ndarray, tmp_path: Path) -> None:
    torch.manual_seed(0)
    side = Side(build_network(PART, PixelTower(64)), LinearHead(512, 4)).eval()
    rows = PixelTower(64).embed(pixels)
    write_graphs(tmp_path, {"image_head": GraphSpec(side.for_export(), torch.zeros(2, rows.shape[1]))})
    with torch.no_grad():
        wanted = side(torch.from_numpy(rows)).numpy()
    assert OnnxHead(tmp_path / "image_head.onnx", 1)(rows) == pytest.approx(wanted, abs=5e-3)


def test_torchvision_weights_from_a_file_give_torchvision_features(pixels: np.ndarray, tmp_path: Path) -> None:
    import_torchvision()
    from torchvision.models import resnet50

    torch.manual_seed(0)
    reference = resnet50(weights=None)
    torch.save(reference.state_dict(), tmp_path / "resnet50.pth")
    part = Part("backbone", {"model": "resnet50", "weights": str(tmp_path / "resnet50.pth")})
    network = build_network(part, PixelTower(64)).eval()
    reference.fc = torch.nn.Identity()
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    planes = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        found = network(torch.from_numpy(PixelTower(64).embed(pixels)))
        assert found.numpy() == pytest.approx(reference.eval()(planes).numpy(), abs=1e-3)
    saved = network.saved(part)  # the file may be gone when the model is opened
    assert saved.options == {"frozen_norms": True, "model": "resnet50", "pretrained_weights": False}
    with pytest.raises(ConfigError, match="leave out pretrained_weights = false, or weights"):
        build_network(Part("backbone", {**part.options, "pretrained_weights": False}), PixelTower(64))


def test_rows_that_are_no_pictures_and_models_that_are_not_here() -> None:
    from diptych.encoders.fake import FakeImageTower

    with pytest.raises(ConfigError, match="takes pixels, found 32 features"):
        build_network(PART, FakeImageTower(32))
    with pytest.raises(ModelError, match="neither a folder nor a model that timm knows"):
        build_network(Part("backbone", {"model": "resnext9000"}), PixelTower(64))
    with pytest.raises(ModelError, match="this tower takes uint8"):
        PixelTower(64).embed(np.zeros((1, 32, 32, 3), np.uint8))
