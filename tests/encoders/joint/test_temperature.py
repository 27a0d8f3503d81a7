"""Each family's own temperature and bias: its scores of images and texts are its `logits_per_image`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers", reason="needs the [hub] extra")

from tests import joint_models

from diptych import load
from diptych.core.errors import ModelError
from diptych.encoders.pretrained import import_transformers

FAMILIES = ["clip", "siglip", "siglip2", "naflex", "align", "altclip", "chinese_clip", "metaclip2"]
TOWER = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.mark.parametrize("family", FAMILIES)
def test_probabilities_are_those_of_the_models_own_logits(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    make: Callable[..., Path] = getattr(joint_models, f"make_{family}")
    first = load(f"hf:{make(tmp_path / family)}")
    module: Any = first.image_tower._module  # type: ignore[attr-defined]
    with torch.no_grad():
        for name, value in (("logit_scale", 1.7), ("temperature", 0.2), ("logit_bias", -0.6)):
            if isinstance(getattr(module, name, None), torch.nn.Parameter):
                getattr(module, name).fill_(value)  # another than the one that every family begins with
    given: dict[str, Any] = {}
    for side in ("image", "text"):
        own = getattr(module, f"get_{side}_features")
        monkeypatch.setattr(module, f"get_{side}_features", _recording(own, given))
    model = load(first.address)  # of the same module
    draw = np.random.default_rng(0)
    size = model.preprocess.size
    images = model.encode_images([draw.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(3)])
    texts = model.encode_texts(["a dog", "two cats on a mat"])
    with torch.no_grad():
        expected = module(**given).logits_per_image.numpy()
    scale, bias = model.config.logit_scale, model.config.logit_bias
    assert scale is not None
    np.testing.assert_allclose(scale * images @ texts.T + (bias or 0), expected, atol=1e-4)
    if family.startswith(("siglip", "naflex")):
        assert bias == pytest.approx(-0.6)
        probabilities = 1 / (1 + np.exp(-expected))
    else:
        assert bias is None
        probabilities = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.probability(images, texts), probabilities, atol=1e-5)


def _recording(own: Callable[..., Any], given: dict[str, Any]) -> Callable[..., Any]:
    def called(**arguments: Any) -> Any:
        given.update(arguments)
        return own(**arguments)

    return called


def test_a_temperature_and_a_bias_of_open_clip(open_clip_folder: Path) -> None:
    import torch

    first = load(f"open_clip:{open_clip_folder}")
    module: Any = first.image_tower._module  # type: ignore[attr-defined]
    planes, ids = torch.zeros(1, 3, 32, 32), torch.ones(1, 24, dtype=torch.long)
    with torch.no_grad():
        assert first.config.logit_scale == pytest.approx(float(module(planes, ids)[2]))
    assert first.config.logit_bias is None
    module.logit_bias = torch.nn.Parameter(torch.tensor(-0.6), requires_grad=False)
    assert load(first.address).config.logit_bias == pytest.approx(float(module(planes, ids)[3]))
    module.logit_bias = None  # the module is shared


@pytest.mark.parametrize(
    ("kind", "config", "reason"),
    [
        ("ClapModel", {"text_config": TOWER, "audio_config": {"depths": [1, 1], "num_attention_heads": [2, 2],
         "patch_embeds_hidden_size": 8, "hidden_size": 16, "spec_size": 64, "window_size": 4}},
         "is a ClapModel, which joins audio and texts, not images"),
        ("XCLIPModel", {"text_config": TOWER, "vision_config": {**TOWER, "image_size": 32, "patch_size": 16,
         "mit_hidden_size": 16, "mit_num_attention_heads": 2, "mit_intermediate_size": 32, "mit_num_hidden_layers": 1}},
         "is a XCLIPModel, which joins video and texts, not images"),
        ("CLIPVisionModel", {**TOWER, "image_size": 32, "patch_size": 16}, "has no text side or no image side"),
    ],
)  # fmt: skip
def test_a_model_without_images_and_texts_in_one_space_is_refused(
    kind: str, config: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    transformers = import_transformers()
    made = getattr(transformers, kind)(getattr(transformers, kind.replace("Model", "Config"))(**config))
    made.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=reason):
        load(f"hf:{tmp_path}")


def test_weights_without_a_text_side_are_refused(clip_folder: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(clip_folder, tmp_path / "half")
    state = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in state.items() if not name.startswith("text_model")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks weights for \d+ parameters of CLIPModel \(text_model"):
        load(f"hf:{folder}")
