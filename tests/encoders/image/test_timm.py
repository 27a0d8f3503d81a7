"""timm towers from tiny models made and saved here."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from diptych.core.errors import ConfigError, ModelError
from diptych.core.protocols import ImageTower, MapTower

if find_spec("torch") is None or find_spec("timm") is None:
    pytest.skip("needs the [train] extra", allow_module_level=True)

from diptych.encoders.compat import import_torchvision

import_torchvision()
import timm  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from diptych.data.images import prepare  # noqa: E402
from diptych.encoders.image.timm import TimmImageTower, TimmMapTower, preprocess_of  # noqa: E402
from diptych.encoders.inputs import normalise_pixels  # noqa: E402

TINY: dict[str, Any] = {"layers": (1, 1, 1, 1), "channels": (8, 8, 16, 16), "stem_width": 8}
CONFIG: dict[str, Any] = {
    "input_size": (3, 64, 64),
    "mean": (0.1, 0.2, 0.3),
    "std": (0.4, 0.5, 0.6),
    "crop_mode": "squash",
    "num_classes": 7,
}


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    return timm.create_model("resnet18", num_classes=7, pretrained_cfg_overlay=CONFIG, **TINY).eval()


@pytest.fixture(scope="module")
def saved(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As timm's save_for_hf writes it."""
    folder = tmp_path_factory.mktemp("timm") / "tiny"
    timm.models.save_for_hf(model, folder, model_config=CONFIG, model_args=TINY, safe_serialization=True)
    return folder


def pixels(size: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)


def test_a_folder_gives_the_models_own_features(model: Any, saved: Path) -> None:
    tower = TimmImageTower(saved, device="cpu")
    assert isinstance(tower, ImageTower)
    assert (tower.preprocess.size, tower.preprocess.mode) == (64, "squash")
    assert tower.preprocess.mean == pytest.approx((25.5, 51.0, 76.5))
    assert tower.preprocess.std == pytest.approx((102.0, 127.5, 153.0))
    planes = (torch.from_numpy(pixels()).permute(0, 3, 1, 2) / 255 - torch.tensor(CONFIG["mean"])[:, None, None]) / (
        torch.tensor(CONFIG["std"])[:, None, None]
    )
    with torch.no_grad():
        expected = model.forward_features(planes).mean(dim=(2, 3)).numpy()
    assert tower.dim == expected.shape[1]
    np.testing.assert_allclose(tower.embed(pixels()), expected, rtol=1e-3, atol=1e-4)


def test_maps_are_those_of_the_models_own_stages_finest_first(model: Any, saved: Path) -> None:
    tower = TimmMapTower(saved, device="cpu")
    assert isinstance(tower, MapTower)
    assert tower.maps == ((8, 8, 8), (16, 4, 4), (16, 2, 2))
    planes = torch.from_numpy(normalise_pixels(pixels(), tower.preprocess))
    with torch.no_grad():
        x = model.maxpool(model.act1(model.bn1(model.conv1(planes))))
        second = model.layer2(model.layer1(x))
        third = model.layer3(second)
        expected = torch.cat([each.flatten(1) for each in (second, third, model.layer4(third))], 1).numpy()
    np.testing.assert_allclose(tower.embed(pixels()), expected, rtol=1e-3, atol=1e-4)
    assert tower.address == f"timm-maps:{saved}"
    assert TimmMapTower(saved, levels=2).maps == tower.maps[1:]
    assert len({each.fingerprint for each in (tower, TimmMapTower(saved, levels=2), TimmImageTower(saved))}) == 3


@pytest.mark.parametrize("name", ["test_vit", "swin_tiny_patch4_window7_224", "efficientnet_lite0"])
def test_every_family_gives_channels_before_rows(name: str) -> None:
    tower = TimmMapTower(name, pretrained=False, levels=2)
    channels = [each["num_chs"] for each in timm.create_model(name, pretrained=False).feature_info][-2:]
    assert [each[0] for each in tower.maps] == channels
    assert all(rows == columns for _, rows, columns in tower.maps)


def test_random_maps_are_the_same_each_time_and_leave_the_random_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    found = [TimmMapTower("test_resnet", pretrained=False, levels=1).fingerprint for _ in range(2)]
    assert found[0] == found[1]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_levels_that_a_model_lacks(saved: Path) -> None:
    with pytest.raises(ModelError, match="no feature maps of 9 levels; choose fewer levels"):
        TimmMapTower(saved, levels=9)
    with pytest.raises(ConfigError, match="levels must be at least 1"):
        TimmMapTower(saved, levels=0)


@pytest.mark.parametrize("prefix", ["", "local-dir:"])
def test_a_folder_by_its_path_as_text(saved: Path, prefix: str) -> None:
    assert TimmImageTower(f"{prefix}{saved}").fingerprint == TimmImageTower(saved).fingerprint


def test_a_batch_is_its_pictures_one_by_one(saved: Path) -> None:
    tower = TimmImageTower(saved)
    alone = np.concatenate([tower.embed(picture[None]) for picture in pixels()])
    np.testing.assert_allclose(tower.embed(pixels()), alone, atol=1e-4)
    assert tower.embed(pixels()[:0]).shape == (0, tower.dim)


def test_pickled_weights_load_as_weights_only(saved: Path, model: Any, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    shutil.copy(saved / "config.json", folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    np.testing.assert_allclose(TimmImageTower(folder).embed(pixels()), TimmImageTower(saved).embed(pixels()), atol=1e-5)


class Evil:
    """Touches a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (open, (str(self.path), "w"))


def test_a_pickle_that_runs_code_is_refused(saved: Path, tmp_path: Path) -> None:
    folder, touched = tmp_path / "evil", tmp_path / "touched"
    folder.mkdir()
    shutil.copy(saved / "config.json", folder)
    torch.save({"weight": Evil(touched)}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot build"):
        TimmImageTower(folder)
    assert not touched.exists()


def test_a_name_with_a_file_of_weights(tmp_path: Path) -> None:
    torch.manual_seed(1)
    small = timm.create_model("test_resnet.r160_in1k", pretrained=False).eval()
    file = tmp_path / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in small.state_dict().items()}, file)
    tower = TimmImageTower("test_resnet.r160_in1k", weights=file)
    random = TimmImageTower("test_resnet.r160_in1k", pretrained=False)
    assert tower.fingerprint != random.fingerprint
    size = tower.preprocess.size
    planes = torch.from_numpy(pixels(size)).permute(0, 3, 1, 2).float()
    mean, std = (torch.tensor(v)[:, None, None] for v in (tower.preprocess.mean, tower.preprocess.std))
    small.reset_classifier(0)
    with torch.no_grad():
        expected = small((planes - mean) / std).numpy()
    np.testing.assert_allclose(tower.embed(pixels(size)), expected, rtol=1e-3, atol=1e-4)
    assert tower.dim == expected.shape[1]


def test_a_cached_name_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants", reason="needs the [hub] extra")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--timm--test_resnet.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("b" * 40)
    snapshot = repository / "snapshots" / ("b" * 40)
    snapshot.mkdir(parents=True)
    torch.manual_seed(2)
    small = timm.create_model("test_resnet.r160_in1k", pretrained=False)
    save_file({name: value.contiguous() for name, value in small.state_dict().items()}, snapshot / "model.safetensors")
    tower = TimmImageTower("test_resnet.r160_in1k")
    weights = snapshot / "model.safetensors"
    assert tower.fingerprint == TimmImageTower("test_resnet.r160_in1k", weights=weights).fingerprint


def test_pictures_of_other_sizes_are_refused(saved: Path) -> None:
    with pytest.raises(ModelError, match=r"\(b, 64, 64, 3\)"):
        TimmImageTower(saved).embed(pixels(32))


def test_what_does_not_fit_is_refused(saved: Path, model: Any, tmp_path: Path) -> None:
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("layer4")}
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(ModelError, match=r"Missing key\(s\)") as caught:
        TimmImageTower(saved, weights=tmp_path / "part.safetensors")
    assert "\n" not in str(caught.value)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(ModelError, match=r"with the weights of .*text\.pth; they are of another model, or damaged"):
        TimmImageTower(saved, weights=tmp_path / "text.pth")


def test_absent_things_are_named(saved: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    unweighted = tmp_path / "unweighted"
    unweighted.mkdir()
    shutil.copy(saved / "config.json", unweighted)
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (tmp_path / "absent", {}, "no model folder"),
        ("./absent/model", {}, "no model folder"),
        (empty, {}, "no config.json"),
        (unweighted, {}, "has no weights"),
        ("resnet17", {}, "did you mean .*resnet1"),
        (saved, {"weights": tmp_path / "absent.bin"}, "no weights file"),
        (saved, {"weights": saved / "config.json"}, "expected .safetensors"),
    ]
    for name, options, message in cases:
        with pytest.raises(ModelError, match=message):
            TimmImageTower(name, **options)
    assert TimmImageTower(unweighted, pretrained=False).dim == 16


@pytest.mark.parametrize(
    "config",
    [
        {"crop_pct": 0.875, "crop_mode": "center", "interpolation": "bicubic"},
        {"crop_pct": 0.9, "crop_mode": "center", "interpolation": "bilinear"},
        {"crop_pct": 0.9, "crop_mode": "squash", "interpolation": "bicubic"},
        {"crop_pct": 1.0, "crop_mode": "border", "interpolation": "bicubic"},
        {"crop_pct": 0.8, "crop_mode": "border", "interpolation": "lanczos"},
    ],
    ids=lambda config: f"{config['crop_mode']}-{config['crop_pct']}",
)
def test_images_are_prepared_as_timm_does_it(config: dict[str, Any]) -> None:
    model = timm.create_model("resnet18", pretrained_cfg_overlay={**CONFIG, **config}, **TINY).eval()
    preprocess = preprocess_of(timm, model)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    draw = np.random.default_rng(0)
    for height, width in ((64, 64), (64, 97), (97, 64), (200, 71), (71, 200), (33, 20), (90, 91), (1, 50), (150, 3)):
        rows = draw.integers(0, 256, (-(-height // 3), -(-width // 3), 3), dtype=np.uint8)
        image = np.ascontiguousarray(rows.repeat(3, 0).repeat(3, 1)[:height, :width])
        theirs = transform(PIL.Image.fromarray(image)).numpy()
        ours = normalise_pixels(prepare(image, preprocess)[None], preprocess)[0]
        levels = np.abs(ours - theirs) * np.asarray(preprocess.std)[:, None, None]
        assert levels.max() < 0.01, (height, width)


def test_a_filter_that_pillow_does_not_have() -> None:
    model = timm.create_model("resnet18", pretrained_cfg_overlay={**CONFIG, "interpolation": "random"}, **TINY)
    with pytest.raises(ModelError, match="cannot be prepared as timm does it: unknown interpolation 'random'"):
        preprocess_of(timm, model)
