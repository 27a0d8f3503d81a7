"""A linear head as arrays: the same numbers in NumPy, in ONNX Runtime and in PyTorch."""

from pathlib import Path

import numpy as np
import pytest

from diptych.core.errors import ModelError
from diptych.encoders.graphs import write
from diptych.models.dual import OnnxHead
from diptych.models.linear_map import LinearMap

pytest.importorskip("onnx", reason="writing graphs needs the [fit] extra")
DRAW = np.random.default_rng(0)
ROWS = DRAW.normal(2, 5, (7, 40)).astype(np.float32)


def linear_map(scale: float = 1.0) -> LinearMap:
    def draw(*shape: int) -> np.ndarray:
        return DRAW.normal(size=shape).astype(np.float32)

    return LinearMap(draw(40), abs(draw(40)) + 1, draw(16, 40) * np.float32(scale), draw(16))


def test_its_graph_computes_what_it_does(tmp_path: Path) -> None:
    head = linear_map()
    write(tmp_path, {"image_head": head.graph()})
    found = OnnxHead(tmp_path / "image_head.onnx", 1)(ROWS)
    assert found == pytest.approx(head(ROWS), abs=2e-3)  # the matrix is stored in half precision
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(7), abs=1e-5)


def test_its_weights_are_those_of_a_linear_head(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="heads to train need the [train] extra")
    from diptych.encoders.export import read_weights
    from diptych.models.heads import LinearHead

    head, module = linear_map(), LinearHead(40, 16).eval()
    write(tmp_path, {"image_head": head.graph()})
    module.load_state_dict(read_weights(tmp_path, "image_head"))
    with torch.no_grad():
        assert module(torch.from_numpy(ROWS)).numpy() == pytest.approx(head(ROWS), abs=2e-3)


@pytest.mark.filterwarnings("ignore:overflow")
def test_weights_beyond_half_precision_are_refused() -> None:
    with pytest.raises(ModelError, match=r"linear\.weight is not finite in half precision"):
        linear_map(1e9).graph()
