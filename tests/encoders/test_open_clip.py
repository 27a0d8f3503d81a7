"""OpenCLIP towers from a tiny model made and saved here."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.core.errors import ModelError
from diptych.core.protocols import ImageTower, TextTower

if find_spec("torch") is None or find_spec("open_clip") is None:
    pytest.skip("needs the [hub] extra", allow_module_level=True)

from diptych.encoders.compat import import_torchvision

import_torchvision()
import open_clip  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from diptych.encoders.open_clip import OpenClipImageTower, OpenClipTextTower  # noqa: E402

MODEL: dict[str, Any] = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    return open_clip.CLIP(**MODEL).eval()


@pytest.fixture(scope="module")
def saved(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("open_clip")
    prepared = {"size": 32, "mean": MEAN, "std": STD, "resize_mode": "squash"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": prepared}))
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def test_images_by_hand(model: Any, saved: Path) -> None:
    tower = OpenClipImageTower(saved, device="cpu")
    assert isinstance(tower, ImageTower)
    assert (tower.preprocess.size, tower.preprocess.mode) == (32, "squash")
    planes = torch.from_numpy((pixels() / 255 - np.array(MEAN)) / np.array(STD)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        expected = model.encode_image(planes).numpy()
    assert tower.dim == 12
    np.testing.assert_allclose(tower.embed(pixels()), expected, rtol=1e-3, atol=1e-4)
    assert tower.embed(pixels()[:0]).shape == (0, 12)


def test_texts_by_hand(model: Any, saved: Path) -> None:
    tower = OpenClipTextTower(saved, device="cpu", languages=["en"])
    assert isinstance(tower, TextTower)
    assert tower.languages == {"en"}
    texts = ["a dog", "", "two cats on a mat"]
    ids = open_clip.SimpleTokenizer(context_length=16)(texts)
    with torch.no_grad():
        expected = model.encode_text(ids).numpy()
    np.testing.assert_allclose(tower.embed(texts), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(tower.embed(["two \n cats\0 on a mat"])[0], expected[2], rtol=1e-3, atol=1e-4)
    assert tower.embed([]).shape == (0, 12)


def test_tokens_are_counted_before_the_cut(saved: Path) -> None:
    tower = OpenClipTextTower(saved)
    assert tower.max_tokens == 16
    assert tower.count_tokens(["", "a dog", "dog " * 30]) == [2, 4, 32]
    np.testing.assert_array_equal(tower.embed(["dog " * 30]), tower.embed(["dog " * 31]))


def test_both_sides_share_one_copy(saved: Path) -> None:
    image, text = OpenClipImageTower(f"local-dir:{saved}"), OpenClipTextTower(str(saved))
    assert image._module is text._module
    assert image.fingerprint != text.fingerprint
    assert image.fingerprint == OpenClipImageTower(saved).fingerprint


def test_a_name_with_a_checkpoint(model: Any, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = tmp_path / "Tiny-Test.json"
    configuration.write_text(json.dumps(MODEL))
    open_clip.add_model_config(configuration)
    try:
        pickled = tmp_path / "weights.pt"
        torch.save(model.state_dict(), pickled)
        for file in (pickled, saved / "open_clip_model.safetensors"):
            text = OpenClipTextTower(f"Tiny-Test/{file}")
            np.testing.assert_allclose(text.embed(["a dog"]), OpenClipTextTower(saved).embed(["a dog"]), atol=1e-5)
            image = OpenClipImageTower(f"Tiny-Test/{file}")
            assert image.preprocess.mode == "shortest"  # OpenCLIP's default: shorter side, then the centre
            assert image.preprocess.mean == pytest.approx([255 * v for v in open_clip.OPENAI_DATASET_MEAN])
            assert image.address == f"open_clip:Tiny-Test/{file}"
        with pytest.raises(ModelError, match="names no weights; expected Tiny-Test/TAG or Tiny-Test/FILE"):
            OpenClipImageTower("Tiny-Test")
        with pytest.raises(ModelError, match="neither a file nor a tag"):
            OpenClipImageTower("Tiny-Test/laion2b")
    finally:
        configuration.unlink()
        open_clip.factory._MODEL_CONFIG_PATHS.remove(configuration)
        open_clip.factory._rescan_model_configs()


def test_what_is_not_here_or_does_not_fit(model: Any, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"did you mean .*ViT-B-32"):
        OpenClipImageTower("ViT-B-33/openai")
    with pytest.raises(ModelError, match=r"no open_clip_config\.json"):
        OpenClipImageTower(tmp_path)
    with pytest.raises(ModelError, match=r"neither a file nor a tag .*laion2b_s34b_b79k"):
        OpenClipImageTower("ViT-B-32/laion3b")
    (tmp_path / "open_clip_config.json").write_text((saved / "open_clip_config.json").read_text())
    with pytest.raises(ModelError, match="has no weights"):
        OpenClipImageTower(tmp_path)
    state = {name: value.contiguous() for name, value in model.state_dict().items() if "visual" not in name}
    save_file(state, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(ModelError, match="cannot load") as caught:
        OpenClipImageTower(tmp_path)
    assert "\n" not in str(caught.value)
