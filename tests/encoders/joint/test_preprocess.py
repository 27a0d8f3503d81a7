"""Images prepared exactly as each library prepares them for its joint models: values, then embeddings."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from diptych import load
from diptych.core.protocols import Preprocess
from diptych.data.images import as_image, decode, prepared
from diptych.encoders.compat import import_torchvision
from diptych.encoders.image.transformers import TransformersImageTower
from diptych.encoders.inputs import normalise_pixels
from diptych.encoders.open_clip import OpenClipImageTower
from diptych.encoders.pretrained import features_of, import_transformers
from diptych.models import DualEncoder

from ...joint_models import FAMILIES, make_open_clip
from ...odd_images import odd_images

if find_spec("transformers") is None or find_spec("open_clip") is None:
    pytest.skip("needs the [hub] extra", allow_module_level=True)

import torch

NEAR = 2.01  # grey levels of 255: Pillow and torchvision round differently
ALIKE = 0.9999  # cosine of embeddings whose mean over the set was subtracted
EACH = 0.999  # of each image, where the library resizes with torchvision: narrow random models magnify its rounding

Theirs = Callable[[PIL.Image.Image], dict[str, Any]]


@functools.cache
def images() -> dict[str, tuple[bytes, bool]]:
    return odd_images()


def opened(data: bytes, alike: bool) -> PIL.Image.Image:
    """What a library starts from: the file, or our pixels where it would read the file in its own way."""
    return PIL.Image.open(io.BytesIO(data)) if alike else PIL.Image.fromarray(decode(data))


def levels(data: bytes, alike: bool, preprocess: Preprocess, theirs: Theirs) -> float:
    """The largest difference of a prepared image's values, in grey levels."""
    pixels = prepared(data, preprocess)
    ours = np.moveaxis(normalise_pixels(pixels[None], preprocess)[0], 0, -1)
    inputs = theirs(opened(data, alike))
    values = inputs["pixel_values"][0].numpy()
    if preprocess.mode == "patches":
        rows, columns = inputs["spatial_shapes"][0].tolist()
        assert as_image(pixels, preprocess).shape == (rows * preprocess.patch, columns * preprocess.patch, 3)
        count = rows * columns
        ours = ours[: preprocess.size].reshape(-1, preprocess.patch**2, 3)[:count]
        values = values[:count].reshape(ours.shape)
    else:
        values = np.moveaxis(values, 0, -1)
    return float((np.abs(ours - values) * np.asarray(preprocess.std)).max())


def require_cosines(one: np.ndarray, other: np.ndarray, each: float = ALIKE) -> None:
    """Over the set, and of each image, after both were brought to unit length and their mean was subtracted."""
    one, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (one, other))
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    products = (one * other).sum(axis=1)
    assert products.sum() / np.linalg.norm(one) / np.linalg.norm(other) >= ALIKE
    assert (products / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)).min() >= each


def require_alike(
    model: DualEncoder, theirs: Theirs, features: Callable[[dict[str, Any]], Any], each: float = ALIKE
) -> None:
    found = {name: levels(*image, model.preprocess, theirs) for name, image in images().items()}
    assert {name: most for name, most in found.items() if most > NEAR} == {}
    with torch.inference_mode():
        rows = [features(theirs(opened(*image))).numpy()[0] for image in images().values()]
    ours = model.encode_images([data for data, _ in images().values()])
    require_cosines(ours, np.stack(rows), each)


def test_the_images_are_of_all_kinds() -> None:
    assert len(images()) == 98
    assert sum(alike for _, alike in images().values()) > 50


@pytest.mark.parametrize("family", FAMILIES)
def test_families_of_transformers(family_folder: Callable[[str], Path], family: str) -> None:
    transformers = import_transformers()
    folder = family_folder(family)
    module = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)

    def theirs(image: PIL.Image.Image) -> dict[str, Any]:
        return dict(processor(images=[image], return_tensors="pt", input_data_format="channels_last"))

    def features(inputs: dict[str, Any]) -> Any:
        return features_of(module.get_image_features(**inputs))

    require_alike(load(f"hf:{folder}"), theirs, features, EACH)


MODES: list[dict[str, Any]] = [
    {"resize_mode": mode, "interpolation": interpolation, "fill_color": fill}
    for mode, interpolation, fill in (
        ("shortest", "bicubic", 0), ("shortest", "bilinear", 0), ("squash", "bicubic", 0), ("squash", "bilinear", 0),
        ("longest", "bicubic", 0), ("longest", "bilinear", 127),
    )
]  # fmt: skip


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: f"{mode['resize_mode']}-{mode['interpolation']}")
def test_modes_of_open_clip(tmp_path: Path, mode: dict[str, Any]) -> None:
    import_torchvision()
    import open_clip

    folder = make_open_clip(tmp_path / "model", **mode)
    module, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")

    def theirs(image: PIL.Image.Image) -> dict[str, Any]:
        return {"pixel_values": transform(image)[None]}

    require_alike(
        load(f"open_clip:{folder}"), theirs, lambda inputs: module.eval().encode_image(inputs["pixel_values"])
    )


# What is changed in the model's own preprocessing, and the family whose check must find it.
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("clip", {"interpolation": "bilinear"}),
    ("clip", {"interpolation": "nearest"}),
    ("clip", {"interpolation": "lanczos"}),
    ("clip", {"mode": "squash"}),
    ("clip", {"mode": "crop"}),
    ("clip", {"mode": "longest"}),
    ("clip", {"resize": 36}),
    ("clip", {"rounding": "even"}),
    ("siglip", {"mode": "shortest"}),
    ("siglip", {"exact": False}),
    ("siglip2", {"interpolation": "bicubic"}),
    ("align", {"resize": 0}),
    ("align", {"mean": (0.0, 0.0, 0.0)}),
    ("naflex", {"interpolation": "bicubic"}),
    ("open_clip", {"fill": (1, 1, 1)}),
    ("open_clip", {"rounding": "down", "mode": "shortest"}),
]


@pytest.mark.parametrize(("family", "wrong"), WRONG, ids=str)
def test_the_comparison_finds_what_is_wrong(
    family_folder: Callable[[str], Path], tmp_path: Path, family: str, wrong: dict[str, Any]
) -> None:
    if family == "open_clip":
        import open_clip

        mode = "shortest" if wrong.get("mode") == "shortest" else "longest"
        folder = make_open_clip(tmp_path / "model", resize_mode=mode)
        transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")[2]
        right = load(f"open_clip:{folder}").preprocess

        def theirs(image: PIL.Image.Image) -> dict[str, Any]:
            return {"pixel_values": transform(image)[None]}
    else:
        folder = family_folder(family)
        processor = import_transformers().AutoImageProcessor.from_pretrained(folder)
        right = load(f"hf:{folder}").preprocess

        def theirs(image: PIL.Image.Image) -> dict[str, Any]:
            return dict(processor(images=[image], return_tensors="pt", input_data_format="channels_last"))

    changed = dataclasses.replace(right, **wrong)
    assert changed != right
    found = [levels(*image, changed, theirs) for name, image in images().items() if name.startswith(("odd", "shape"))]
    assert max(found) > 2 * NEAR or wrong.get("fill")  # a fill that is off by one level is seen as one level
    assert max(found) >= 1
    assert max(levels(*image, right, theirs) for image in list(images().values())[:20]) <= NEAR


def test_images_of_sentence_transformers(family_folder: Callable[[str], Path], tmp_path: Path) -> None:
    """A CLIP as sentence-transformers loads it sees what `hf:` sees."""
    sentence_transformers = pytest.importorskip("sentence_transformers", exc_type=ImportError)
    folder = family_folder("clip")
    shutil.copytree(folder, tmp_path / "0_CLIPModel")
    module = {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
    (tmp_path / "modules.json").write_text(json.dumps([module]))
    shown = [opened(*image).convert("RGB") for image in images().values()]
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path)).encode(shown, convert_to_numpy=True)
    ours = load(f"hf:{folder}").encode_images([data for data, _ in images().values()])
    require_cosines(ours, theirs, EACH)


def photos() -> dict[str, tuple[bytes, bool]]:
    return {name: image for name, image in images().items() if name.startswith(("photo", "odd", "turned"))}


@pytest.mark.slow
def test_open_clip_at_full_size(tmp_path: Path) -> None:
    """ViT-B-32 with random weights, from a file of weights behind the architecture's name."""
    import_torchvision()
    import open_clip

    torch.manual_seed(0)
    weights = tmp_path / "weights.pt"
    torch.save(open_clip.create_model("ViT-B-32").state_dict(), weights)
    module, _, transform = open_clip.create_model_and_transforms("ViT-B-32", pretrained=str(weights))
    tower = OpenClipImageTower(f"ViT-B-32/{weights}")
    assert (tower.preprocess.size, tower.preprocess.mode) == (224, "shortest")

    def theirs(image: PIL.Image.Image) -> dict[str, Any]:
        return {"pixel_values": transform(image)[None]}

    require_tower_alike(tower, theirs, lambda inputs: module.eval().encode_image(inputs["pixel_values"]))


@pytest.mark.slow
def test_siglip_at_full_size(tmp_path: Path) -> None:
    """SigLIP's base configuration at 224 pixels, random weights."""
    transformers = import_transformers()
    torch.manual_seed(0)
    text = {"num_hidden_layers": 1, "vocab_size": 100, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    module = transformers.SiglipModel(transformers.SiglipConfig(text_config=text)).eval()
    module.save_pretrained(tmp_path)
    processor = transformers.SiglipImageProcessor()
    processor.save_pretrained(tmp_path)
    tower = TransformersImageTower(tmp_path)
    assert (tower.preprocess.size, tower.preprocess.mode) == (224, "squash")

    def theirs(image: PIL.Image.Image) -> dict[str, Any]:
        return dict(processor(images=[image], return_tensors="pt"))

    require_tower_alike(tower, theirs, lambda inputs: features_of(module.get_image_features(**inputs)))


def require_tower_alike(tower: Any, theirs: Theirs, features: Callable[[dict[str, Any]], Any]) -> None:
    assert max(levels(*image, tower.preprocess, theirs) for image in photos().values()) <= NEAR
    with torch.inference_mode():
        rows = [features(theirs(opened(*image))).numpy()[0] for image in photos().values()]
    pixels = np.stack([prepared(data, tower.preprocess) for data, _ in photos().values()])
    require_cosines(tower.embed(pixels), np.stack(rows))
