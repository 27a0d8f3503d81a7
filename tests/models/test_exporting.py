"""Models of our own whose towers run on PyTorch, as graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporting needs the [train] extra")

from diptych.core.errors import ConfigError, ModelError  # noqa: E402
from diptych.core.extras import is_installed  # noqa: E402

if not is_installed("transformers"):
    pytest.skip("needs the [hub] extra", allow_module_level=True)

from diptych.core.config import Part  # noqa: E402
from diptych.encoders import image_tower, text_tower  # noqa: E402
from diptych.encoders.text.tokens import TokenTower, train_tokenizer  # noqa: E402
from diptych.models import load  # noqa: E402
from diptych.models.exporting import export_model  # noqa: E402
from diptych.models.heads import LinearHead  # noqa: E402
from diptych.models.save import TrainedSide, save  # noqa: E402
from diptych.models.side import build_side  # noqa: E402


@pytest.fixture(scope="module")
def trained_heads(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random linear heads over the two towers of a narrow CLIP, in a folder that names these by their address."""
    torch.manual_seed(1)
    sides = []
    for make in (image_tower, text_tower):
        tower = make(f"hf:{clip_folder}", device="cpu")
        sides.append(TrainedSide(tower, Part(f"hf:{clip_folder}"), Part("linear"), LinearHead(tower.dim, 8).eval()))
    folder = tmp_path_factory.mktemp("heads") / "model"
    save(folder, name="heads", image=sides[0], text=sides[1], dim=8, card="heads", training={}, licence="MIT")
    return folder


def test_heads_over_pretrained_towers_are_exported_with_them(trained_heads: Path, shapes: Path, tmp_path: Path) -> None:
    original = load(trained_heads)
    config, nearness = export_model(original, tmp_path / "out")
    assert min(nearness.values()) > 0.9999
    assert config.licence == "MIT"
    found = load(tmp_path / "out")
    images, texts = sorted(shapes.parent.glob("red-*.png")), ["a red circle", "ein Rund"]
    assert found.encode_images(images) == pytest.approx(original.encode_images(images), abs=1e-3)
    assert found.encode_texts(texts) == pytest.approx(original.encode_texts(texts), abs=1e-3)
    assert {"image_head.onnx", "text_head.onnx"} <= config.files.keys()


def test_a_tokenizer_beside_a_tower_goes_along_and_a_joined_tower_of_pytorch_is_refused(
    clip_folder: Path, tmp_path: Path
) -> None:
    images = f"hf:{clip_folder}"
    tokens = TokenTower(train_tokenizer(["a dog", "a cat"], "words", min_count=1), 6)
    network, head = Part("transformer", {"width": 8, "layers": 1}), Part("linear")
    for name, frozen in (("kept", "fake"), ("torch", images)):
        towers = image_tower(images, device="cpu"), text_tower("joined", towers=[frozen, tokens])
        sides = [
            TrainedSide(towers[0], Part(images), head, LinearHead(towers[0].dim, 8).eval()),
            TrainedSide(
                towers[1],
                Part("joined", {"towers": [frozen, "bundled"]}),
                head,
                build_side(network, head, towers[1], 8).eval(),
                network,
            ),
        ]
        save(tmp_path / name, name=name, image=sides[0], text=sides[1], dim=8, card=name, training={})
    original = load(tmp_path / "kept")
    export_model(original, tmp_path / "out")
    texts = ["a dog", "a cat and a dog"]
    assert load(tmp_path / "out").encode_texts(texts) == pytest.approx(original.encode_texts(texts), abs=1e-6)
    with pytest.raises(ConfigError, match="runs on PyTorch and is joined with others"):
        export_model(load(tmp_path / "torch"), tmp_path / "other")


def test_what_matters_for_the_fingerprint_is_the_content(clip_folder: Path, tmp_path: Path) -> None:
    import shutil

    moved = shutil.copytree(clip_folder, tmp_path / "moved")
    made = [
        export_model(load(f"hf:{one}"), tmp_path / f"{one.name}-out")[0].fingerprint for one in (clip_folder, moved)
    ]
    other, _ = export_model(load(f"hf:{moved}"), tmp_path / "half", precision="fp16")
    assert made[0] == made[1] != other.fingerprint


def test_a_graph_that_differs_from_the_original_is_not_written(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diptych.encoders import tower_graphs

    real = tower_graphs.text_graph

    def wrong(tower: object, precision: str) -> object:
        graph = real(tower, precision)
        weights = {name: value * 1.5 if value.ndim == 2 else value for name, value in graph.weights.items()}
        return type(graph)(graph.proto, weights, as_read=True)

    monkeypatch.setattr(tower_graphs, "text_graph", wrong)
    with pytest.raises(ModelError, match=r"differ from the original: found cosines .* expected 0.9999 or more"):
        export_model(load(f"hf:{clip_folder}"), tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_an_unknown_precision_is_refused_before_anything_is_written(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown precision 'int4'; choose from fp16, fp32, int8"):
        export_model(load(f"hf:{clip_folder}"), tmp_path / "out", precision="int4")
    assert not (tmp_path / "out").exists()


def test_further_training_says_what_to_train_instead(clip_folder: Path, tmp_path: Path) -> None:
    export_model(load(f"hf:{clip_folder}"), tmp_path / "out")
    module = load(tmp_path / "out").torch()
    assert module.frozen == ("image", "text")  # the graphs are a front outside
    texts = ["a red circle", "two dogs"]
    with torch.no_grad():
        found = module.encode_text(module.text_inputs(texts)).numpy()
    assert found == pytest.approx(load(tmp_path / "out").encode_texts(texts), abs=1e-6)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)
