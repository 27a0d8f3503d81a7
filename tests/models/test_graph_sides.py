"""Models that run without PyTorch, exported in smaller numbers: one graph for stem and tail, convolutions in 8 bits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporting needs the [train] extra")

from safetensors.numpy import load_file  # noqa: E402

from diptych.core.errors import ConfigError  # noqa: E402
from diptych.data.seen import read_seen  # noqa: E402
from diptych.encoders.graphs import read_graph  # noqa: E402
from diptych.models import load  # noqa: E402
from diptych.models.exporting import export_model  # noqa: E402

from ..conv_models import DIM, write_conv_model  # noqa: E402

TEXTS = ["a red circle", "two dogs", ""]


def smooth_images(count: int, seed: int = 0) -> np.ndarray:
    """Random blocks of colour, 33 x 33."""
    blocks = np.random.default_rng(seed).integers(0, 256, (count, 3, 3, 3), dtype=np.uint8)
    return blocks.repeat(11, axis=1).repeat(11, axis=2)


IMAGES = smooth_images(60)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_conv_model(tmp_path_factory.mktemp("conv"))


@pytest.fixture(scope="module")
def small(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8") / "out"
    export_model(load(original), folder, precision="int8", images=IMAGES)
    return folder


def test_stem_and_tail_become_one_graph_and_the_head_stays(original: Path, tmp_path: Path) -> None:
    before = load(original)
    config, nearness = export_model(before, tmp_path / "out")
    assert nearness == {"image_side": pytest.approx(1, abs=1e-5)}
    assert config.training["exported_from"]["precision"] == "fp16"  # as its weights were saved
    found = load(tmp_path / "out")
    assert (before.image_tower.dim, found.image_tower.dim) == (8 * 17 * 17, 32)
    assert (config.image.features, config.image.network, config.image.head) == (32, None, before.config.image.head)
    assert found.encode_pixels(IMAGES) == pytest.approx(before.encode_pixels(IMAGES), abs=1e-5)
    assert found.encode_texts(TEXTS) == pytest.approx(before.encode_texts(TEXTS), abs=1e-6)
    assert found.fingerprint != before.fingerprint
    assert read_seen(tmp_path / "out").trained.tolist() == [1, 2]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Made of random numbers." in card


def test_int8_is_near_and_says_on_how_many_images_it_was_measured(original: Path, small: Path) -> None:
    before, found = load(original), load(small)
    others = smooth_images(30, seed=1)
    one, other = (model.encode_pixels(others) for model in (before, found))
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    cosines = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert 0.95 < cosines.min() < 0.99999  # near, and not the original
    assert found.encode_texts(TEXTS) == pytest.approx(before.encode_texts(TEXTS), abs=2e-3)
    assert found.config.training["exported_from"]["images"] == 48  # of 60, one in five measured the nearness
    assert "measured on 48 images" in (small / "README.md").read_text()


def test_onnx_runtime_computes_in_bytes_though_the_weights_lie_in_another_file(small: Path, tmp_path: Path) -> None:
    import onnxruntime  # what it makes of the graph when it loads it

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(small / "image_tower.onnx"), options, providers=["CPUExecutionProvider"])
    import onnx

    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx", load_external_data=False).graph.node]
    assert kinds.count("QLinearConv") == 3
    assert sum(kind in ("Conv", "FusedConv") for kind in kinds) == 1  # that of the pixels
    assert not {"Pad", "BatchNormalization"} & set(kinds)
    weights = [each for each in load_file(small / "image_tower.safetensors").values() if each.ndim == 4]
    assert sorted(value.dtype.name for value in weights) == ["float32", *["int8"] * 3]
    (pointwise,) = (each[:, :, 0, 0].reshape(8, 4, 2).astype(int) for each in weights if each.shape == (8, 8, 1, 1))
    assert np.maximum(pointwise, 0).sum(axis=2).max() <= 128
    assert np.minimum(pointwise, 0).sum(axis=2).min() >= -128


def test_its_image_tower_can_be_copied_into_another_model(small: Path, tmp_path: Path) -> None:
    from diptych.encoders.graphs import write
    from diptych.encoders.image.onnx import OnnxImageTower

    write(tmp_path, {"image_tower": read_graph(small, "image_tower")})
    copied = OnnxImageTower(tmp_path / "image_tower.onnx", load(small).preprocess)
    assert np.array_equal(copied.embed(IMAGES[:5]), load(small).image_tower.embed(IMAGES[:5]))


def test_as_a_module_only_what_is_above_the_graph_learns(small: Path) -> None:
    module = load(small).torch()
    assert module.frozen == ("image", "text")
    with torch.no_grad():
        found = module.encode_image(module.image_inputs(list(IMAGES[:3]))).numpy()
    assert found == pytest.approx(load(small).encode_images(list(IMAGES[:3])), abs=1e-3)


def test_networks_over_pixels_and_ensembles_of_networks_become_a_tower(tmp_path: Path) -> None:
    for name, made in (("pixels", {"pixels": True}), ("ensemble", {"members": 2})):
        before = load(write_conv_model(tmp_path / name, **made))
        config, nearness = export_model(before, tmp_path / f"{name}-8", precision="int8", images=IMAGES)
        assert nearness["image_side"] > 0.9
        found = load(tmp_path / f"{name}-8")
        assert found.config.image.tower == "bundled"
        assert found.image_tower.dim == (32 if name == "pixels" else DIM)
        assert ("image_head.onnx" in config.files) == (name == "pixels")
        assert found.encode_pixels(IMAGES) == pytest.approx(before.encode_pixels(IMAGES), abs=0.2)


def test_without_images_int8_names_the_option_and_writes_nothing(original: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--images SOURCE"):
        export_model(load(original), tmp_path / "out", precision="int8")
    with pytest.raises(ConfigError, match="found 9, expected 10 or more"):
        export_model(load(original), tmp_path / "out", precision="int8", images=IMAGES[:9])
    assert not any(tmp_path.iterdir())


def test_an_export_is_no_original(small: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exported already; export what it was made from"):
        export_model(load(small), tmp_path / "out", precision="int8", images=IMAGES)
    assert json.loads((small / "config.json").read_text())["training"]["exported_from"]["precision"] == "int8"
