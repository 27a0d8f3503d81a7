"""The head of CkNN as arrays, in ONNX Runtime and in PyTorch, against a loop written out."""

from pathlib import Path

import numpy as np
import pytest

from diptych.encoders.graphs import write
from diptych.models.dual import OnnxHead
from diptych.models.linear_map import LinearMap
from diptych.models.nearest_texts import NearestTexts

pytest.importorskip("onnx", reason="writing graphs needs the [fit] extra")
DRAW = np.random.default_rng(0)
ROWS = DRAW.normal(2, 5, (7, 40)).astype(np.float32)


def draw(*shape: int) -> np.ndarray:
    return DRAW.normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def head() -> NearestTexts:
    images = draw(90, 16)
    below = LinearMap(draw(40), abs(draw(40)) + 1, draw(16, 40), draw(16))
    return NearestTexts(below, images / np.linalg.norm(images, axis=1, keepdims=True), draw(90, 16), 4)


def test_an_image_is_the_mean_of_what_is_said_of_its_nearest_training_images(head: NearestTexts) -> None:
    for row, found in zip(ROWS, head(ROWS), strict=True):
        place = head.map(row[None])[0]
        nearest = sorted(range(90), key=lambda at: -float(place @ head.images[at]))[:4]
        mean = sum(head.texts[at] for at in nearest) / 4
        assert found == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


def test_its_graph_computes_what_it_does(head: NearestTexts, tmp_path: Path) -> None:
    write(tmp_path, {"image_head": head.graph()})
    found = OnnxHead(tmp_path / "image_head.onnx", 1)(ROWS)
    assert found == pytest.approx(head(ROWS), abs=2e-3)  # the matrices are stored in half precision


def test_its_weights_are_those_of_the_module_which_is_not_trained(head: NearestTexts, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="heads need the [train] extra")
    from diptych.core.errors import ConfigError
    from diptych.core.registry import build
    from diptych.encoders.export import read_weights

    module = build("head", head.part, features=40, dim=16).eval()
    write(tmp_path, {"image_head": head.graph()})
    module.load_state_dict(read_weights(tmp_path, "image_head"))
    assert module(torch.from_numpy(ROWS)).numpy() == pytest.approx(head(ROWS), abs=2e-3)
    with pytest.raises(ConfigError, match='cannot be trained; set fit = "cknn"'):
        module.train()
