"""transformers image towers from tiny models made and saved here."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.core.errors import ConfigError, ModelError
from diptych.core.protocols import ImageTower

if find_spec("torch") is None or find_spec("transformers") is None:
    pytest.skip("needs the [hub] extra", allow_module_level=True)

import torch

from diptych.encoders.image.processors import preprocess_of
from diptych.encoders.image.transformers import TransformersImageTower
from diptych.encoders.pretrained import import_transformers

transformers = import_transformers()
MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 16,
}


def save(folder: Path, model: Any, **processor: Any) -> Path:
    model.save_pretrained(folder)
    said = {"image_processor_type": "ViTImageProcessor", "image_mean": MEAN, "image_std": STD, **processor}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    torch.manual_seed(0)
    model = transformers.ViTModel(transformers.ViTConfig(**SMALL)).eval()
    return save(tmp_path_factory.mktemp("vit"), model, size={"height": 32, "width": 32}), model


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    torch.manual_seed(0)
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = transformers.CLIPModel(
        transformers.CLIPConfig(text_config={**text, "vocab_size": 50}, vision_config=SMALL, projection_dim=12)
    ).eval()
    folder = tmp_path_factory.mktemp("clip")
    crop = {"do_center_crop": True, "crop_size": {"height": 32, "width": 32}, "size": {"shortest_edge": 32}}
    return save(folder, model, **{**crop, "image_processor_type": "CLIPImageProcessor"}), model


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def planes() -> Any:
    return torch.from_numpy((pixels() / 255 - np.array(MEAN)) / np.array(STD)).permute(0, 3, 1, 2).float()


def test_pooling_by_hand(vit: tuple[Path, Any]) -> None:
    folder, model = vit
    with torch.no_grad():
        output = model(planes())
    states = output.last_hidden_state
    expected = {"auto": states[:, 0], "cls": states[:, 0], "mean": states.mean(1), "pooler": output.pooler_output}
    for pooling, features in expected.items():
        tower = TransformersImageTower(folder, pooling=pooling, device="cpu")
        assert isinstance(tower, ImageTower)
        assert tower.dim == 16
        np.testing.assert_allclose(tower.embed(pixels()), features.numpy(), rtol=1e-3, atol=1e-4)
    assert tower.embed(pixels()[:0]).shape == (0, 16)


def test_preprocess_follows_the_processor(vit: tuple[Path, Any], clip: tuple[Path, Any]) -> None:
    squashed, cut = TransformersImageTower(vit[0]).preprocess, TransformersImageTower(clip[0]).preprocess
    assert (squashed.size, squashed.mode) == (32, "squash")
    assert (cut.size, cut.mode) == (32, "shortest")
    for prepared in (squashed, cut):
        assert prepared.mean == pytest.approx((25.5, 51.0, 76.5))
        assert prepared.std == pytest.approx((102.0, 127.5, 153.0))


def test_a_processor_that_only_rescales(vit: tuple[Path, Any], tmp_path: Path) -> None:
    folder = save(tmp_path, vit[1], size={"height": 32, "width": 32}, do_normalize=False)
    prepared = TransformersImageTower(folder).preprocess
    assert prepared.mean == (0.0, 0.0, 0.0)
    assert prepared.std == pytest.approx((255.0, 255.0, 255.0))


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        ({"do_resize": False}, "by ViTImageProcessor, which does not resize them"),
        ({"size": {"shortest_edge": 32}}, r"keeps proportions \({'shortest_edge': 32}\) and cuts nothing out"),
        ({"size": {"height": 32, "width": 48}}, r"not square: {'height': 32, 'width': 48}; expected one side"),
        ({"size": {"shortest_edge": 32, "longest_edge": 64}}, "expected height and width, or the shortest edge"),
        ({"do_pad": True, "pad_size": {"height": 40, "width": 40}}, "pads them after normalising"),
        (
            {"size": {"height": 24, "width": 24}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}},
            "a square of 32 cannot be cut from images resized to 24 pixels",
        ),
        ({"image_processor_type": "PoolFormerImageProcessor", "size": {"shortest_edge": 32}, "crop_pct": 0.5,
          "do_center_crop": True, "crop_size": {"height": 32, "width": 32}},
         "by PoolFormerImageProcessor, which does more than its settings say"),
        ({"image_processor_type": "Siglip2ImageProcessor", "max_num_patches": 20}, "at most 20 patches"),
        ({"image_processor_type": "GLPNImageProcessor", "size": None}, "GLPNImageProcessor, which resizes them to {}"),
    ],
)  # fmt: skip
def test_what_cannot_be_prepared_alike_is_refused(
    vit: tuple[Path, Any], tmp_path: Path, processor: dict[str, Any], message: str
) -> None:
    shutil.copytree(vit[0], tmp_path / "model")
    said = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, **processor}
    (tmp_path / "model" / "preprocessor_config.json").write_text(json.dumps(said))
    with pytest.raises(ModelError, match=message):
        TransformersImageTower(tmp_path / "model")


@pytest.mark.parametrize(("size", "expected"), [(96, ("shortest", 128)), (384, ("squash", 0))])
def test_convnext_cuts_small_images_and_squashes_large_ones(tmp_path: Path, size: int, expected: Any) -> None:
    said = {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": size}, "crop_pct": 0.75}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    found = preprocess_of(tmp_path)
    assert (found.mode, found.resize) == expected
    assert found.exact


def test_clip_gives_its_projected_features(clip: tuple[Path, Any]) -> None:
    folder, model = clip
    tower = TransformersImageTower(folder)
    with torch.no_grad():
        expected = model.visual_projection(model.vision_model(planes()).pooler_output)
    assert tower.pooling == "projected"
    assert tower.dim == 12
    np.testing.assert_allclose(tower.embed(pixels()), expected.numpy(), rtol=1e-3, atol=1e-4)


def test_a_convolutional_model_is_averaged_over_its_map(tmp_path: Path) -> None:
    torch.manual_seed(0)
    configuration = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    model = transformers.ResNetModel(configuration).eval()
    folder = save(tmp_path, model, size={"height": 32, "width": 32})
    with torch.no_grad():
        expected = model(planes()).pooler_output[:, :, 0, 0]
    for pooling in ("auto", "mean", "pooler"):
        found = TransformersImageTower(folder, pooling=pooling).embed(pixels())
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-4)


def test_fingerprints_follow_pooling_and_preprocessing(vit: tuple[Path, Any], tmp_path: Path) -> None:
    folder, model = vit
    first = TransformersImageTower(folder).fingerprint
    assert first == TransformersImageTower(str(folder), pooling="cls").fingerprint
    assert first != TransformersImageTower(folder, pooling="mean").fingerprint
    other = save(tmp_path, model, size={"height": 32, "width": 32}, do_normalize=False)
    assert first != TransformersImageTower(other).fingerprint


def test_a_pooler_that_was_never_saved_is_not_made_up(tmp_path: Path) -> None:
    model = transformers.ViTModel(transformers.ViTConfig(**SMALL), add_pooling_layer=False)
    folder = save(tmp_path, model, size={"height": 32, "width": 32})
    assert TransformersImageTower(folder).pooling == "cls"
    with pytest.raises(ConfigError, match="no weights for a pooling layer"):
        TransformersImageTower(folder, pooling="pooler")


def test_missing_weights_are_not_made_up(vit: tuple[Path, Any], tmp_path: Path) -> None:
    state = {name: value for name, value in vit[1].state_dict().items() if "layernorm" not in name}
    vit[1].save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ModelError, match="lacks weights for"):
        TransformersImageTower(tmp_path)


def test_code_in_the_folder_is_not_run(vit: tuple[Path, Any], tmp_path: Path) -> None:
    folder, touched = save(tmp_path / "evil", vit[1], size={"height": 32, "width": 32}), tmp_path / "touched"
    (folder / "modeling_evil.py").write_text(
        f"open({str(touched)!r}, 'w')\nclass EvilModel: ...\nclass EvilConfig: ..."
    )
    configuration = json.loads((folder / "config.json").read_text())
    configuration["model_type"] = "evil"
    configuration["auto_map"] = {
        "AutoConfig": "modeling_evil.EvilConfig",
        "AutoModel": "modeling_evil.EvilModel",
    }
    (folder / "config.json").write_text(json.dumps(configuration))
    with pytest.raises(ModelError, match="needs code of its own"):
        TransformersImageTower(folder)
    assert not touched.exists()


def test_what_does_not_fit_is_refused(vit: tuple[Path, Any], tmp_path: Path) -> None:
    folder, model = vit
    with pytest.raises(ConfigError, match="choose from auto, projected"):
        TransformersImageTower(folder, pooling="sum")
    with pytest.raises(ConfigError, match="not a CLIP-like model"):
        TransformersImageTower(folder, pooling="projected")
    with pytest.raises(ModelError, match=r"\(b, 32, 32, 3\)"):
        TransformersImageTower(folder).embed(pixels()[:, :16])
    with pytest.raises(ModelError, match="has no weights"):
        TransformersImageTower(tmp_path)
    model.save_pretrained(tmp_path / "bare")
    with pytest.raises(ModelError, match="cannot load the image preprocessing in"):
        TransformersImageTower(tmp_path / "bare")
    wide = save(tmp_path / "wide", model, size={"height": 32, "width": 64})
    with pytest.raises(ModelError, match="not square"):
        TransformersImageTower(wide)
