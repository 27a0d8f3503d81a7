"""PyTorch towers as graphs: the same features in every family, precision, batch and length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporting needs the [train] extra")
from diptych.core.extras import is_installed  # noqa: E402

if not (is_installed("transformers") and is_installed("open_clip")):
    pytest.skip("needs the [hub] extra", allow_module_level=True)

from diptych.core.errors import ConfigError  # noqa: E402
from diptych.data.images import prepare  # noqa: E402
from diptych.encoders.graphs import write  # noqa: E402
from diptych.encoders.image.onnx import OnnxImageTower  # noqa: E402
from diptych.encoders.joint import joint_model  # noqa: E402
from diptych.encoders.text.onnx import OnnxTextTower  # noqa: E402
from diptych.encoders.text.portable import portable_tokens  # noqa: E402
from diptych.encoders.tower_graphs import image_graph, text_graph  # noqa: E402

from .. import joint_models as makers  # noqa: E402

FAMILIES: dict[str, tuple[str, Callable[..., Path]]] = {
    "clip": ("hf", makers.make_clip),
    "siglip": ("hf", makers.make_siglip),
    "naflex": ("hf", makers.make_naflex),
    "altclip": ("hf", makers.make_altclip),
    "chinese clip": ("hf", makers.make_chinese_clip),
    "open_clip": ("open_clip", makers.make_open_clip),
    "open_clip siglip": ("open_clip", makers.make_open_clip_siglip),
    "open_clip xlm": ("open_clip", makers.make_open_clip_xlm),
}
TEXTS = ["a photo of a red circle", "", "ein blauer Kreis " * 9, "狗", "two dogs run on the beach & a café 🙂", "x"]
SIZES = ((40, 70), (70, 40), (33, 33), (12, 90), (64, 48), (32, 32), (100, 30))


def centred_cosines(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """By hand: of each row, after the mean of the set is taken off."""
    one, other = found - found.mean(axis=0), wanted - wanted.mean(axis=0)
    return np.asarray((one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1))


def pixels_for(preprocess: Any) -> np.ndarray:
    """Images of several shapes as a tower takes them."""
    random = np.random.default_rng(0)
    return np.stack([prepare(random.integers(0, 256, (*size, 3), dtype=np.uint8), preprocess) for size in SIZES])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_features_are_the_original_ones(family: str, tmp_path: Path) -> None:
    library, make = FAMILIES[family]
    model = joint_model(f"{library}:{make(tmp_path / 'model')}", device="cpu")
    write(tmp_path, {"image_tower": image_graph(model.image, "fp32")}, "image_tower.safetensors")
    write(tmp_path, {"text_tower": text_graph(model.text, "fp32")}, "text_tower.safetensors")
    pixels = pixels_for(model.image.preprocess)
    images = OnnxImageTower(tmp_path / "image_tower.onnx", model.image.preprocess)
    assert images.dim == model.image.dim
    assert images.embed(pixels) == pytest.approx(model.image.embed(pixels), abs=1e-5)
    texts = OnnxTextTower(tmp_path / "text_tower.onnx", portable_tokens(model.text))
    assert texts.embed(TEXTS) == pytest.approx(model.text.embed(TEXTS), abs=1e-5)
    assert texts.embed(TEXTS[:1]) == pytest.approx(model.text.embed(TEXTS[:1]), abs=1e-5)
    assert texts.embed([]).shape == (0, model.text.dim)
    assert texts.max_tokens == model.text.max_tokens
    assert centred_cosines(images.embed(pixels), model.image.embed(pixels)).min() > 0.9999
    assert centred_cosines(images.embed(pixels[::-1].copy()), model.image.embed(pixels)).min() < 0.9  # it tells


def test_rows_end_with_the_longest_text_where_nothing_behind_it_is_read(
    clip_folder: Path, open_clip_folder: Path, tmp_path: Path
) -> None:
    for name, address in (("one", f"hf:{clip_folder}"), ("two", f"open_clip:{open_clip_folder}")):
        graph = text_graph(joint_model(address, device="cpu").text, "fp32")
        assert graph.proto.graph.input[0].type.tensor_type.shape.dim[1].dim_param == "length", name
    siglip = joint_model(f"hf:{makers.make_siglip(tmp_path / 'siglip')}", device="cpu").text
    assert text_graph(siglip, "fp32").proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value == siglip.max_tokens


class Wide(torch.nn.Module):
    """A table, a product and a convolution, all large enough to be stored in fewer bits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(400, 256)
        self.linear = torch.nn.Linear(256, 300)
        self.scale = torch.nn.Parameter(torch.full((600,), 1e6))  # beyond 16 bits

    def forward(self, ids: Any) -> Any:
        seen = ids >= 0
        states = self.linear(self.table(ids.where(seen, 0))) * seen.unsqueeze(-1)
        return states.sum(dim=1) * self.scale[:300] / 1e6


class WideTower:
    """What `text_graph` asks of a text tower."""

    any_length, max_tokens = True, 16

    def torch_module(self, *, copied: bool = True) -> Any:
        return Wide()


IDS = np.array([[3, 9, 250, 399, 7], [1, 2, -1, -1, -1]])


@pytest.mark.parametrize(
    ("precision", "table", "product", "least"),
    [
        ("fp32", "float32", "float32", 0.9999999),
        ("fp16", "float16", "float16", 0.999999),
        ("int8", "uint8", "uint8", 0.999),
    ],
)
def test_what_a_precision_stores(precision: str, table: str, product: str, least: float, tmp_path: Path) -> None:
    import onnxruntime
    from safetensors.numpy import load_file

    graph = text_graph(WideTower(), precision)
    write(tmp_path, {"text_tower": graph}, "text_tower.safetensors")
    stored = load_file(tmp_path / "text_tower.safetensors")
    types = {value.size: str(value.dtype) for value in stored.values()}
    assert types[400 * 256] == table
    assert types[256 * 300] == product
    assert types[600] == "float32"  # 16 bits cannot hold it
    session = onnxruntime.InferenceSession(str(tmp_path / "text_tower.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"ids": IDS})
    with torch.no_grad():
        wanted = Wide()(torch.from_numpy(IDS)).numpy()
    assert centred_cosines(np.vstack([found, -found[:1]]), np.vstack([wanted, -wanted[:1]])).min() > least
    if precision == "int8":
        assert {"MatMulInteger", "DynamicQuantizeLinear"} <= {node.op_type for node in graph.proto.graph.node}
        scale = stored["text_tower.table.weight/scale"]  # by hand: the largest of each row over 127
        rows = Wide().table.weight.detach().numpy()
        assert scale[:, 0] == pytest.approx(np.abs(rows).max(axis=1) / 127)


def test_an_unknown_precision_lists_the_choices() -> None:
    with pytest.raises(ConfigError, match="choose from fp16, fp32, int8"):
        text_graph(WideTower(), "int4")
