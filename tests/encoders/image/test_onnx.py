"""Image towers in ONNX files made on the spot."""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from diptych.core.errors import ModelError
from diptych.core.protocols import ImageTower, Preprocess

onnx = pytest.importorskip("onnx", reason="needs the [train] extra to write ONNX files")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from diptych.encoders.image.onnx import PREPROCESS_KEY, OnnxImageTower  # noqa: E402

PREPARED = Preprocess(size=8, mean=(100.0, 120.0, 140.0), std=(50.0, 60.0, 70.0))
WEIGHT = np.random.default_rng(0).standard_normal((5, 3, 4, 4)).astype(np.float32)
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A convolution with 4 x 4 patches, its map as `tokens`, its mean over positions as `features`."""

    def make(*, batch: str | int = "b", metadata: dict[str, str] | None = None, external: bool = False) -> Path:
        nodes = [
            helper.make_node("Conv", ["pixels", "weight"], ["tokens"], strides=[4, 4]),
            helper.make_node("GlobalAveragePool", ["tokens"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["features"]),
        ]
        graph = helper.make_graph(
            nodes,
            "tower",
            [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [batch, 3, 8, 8])],
            [
                helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, 5]),
                helper.make_tensor_value_info("tokens", TensorProto.FLOAT, [batch, 5, 2, 2]),
            ],
            [numpy_helper.from_array(WEIGHT, "weight")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        helper.set_model_props(model, metadata or {})
        path = tmp_path / "tower.onnx"
        if external:
            onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
        else:
            onnx.save(model, path)
        return path

    return make


def pixels(count: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def by_hand(images: np.ndarray) -> np.ndarray:
    """The feature map (b, c, 2, 2)."""
    planes = ((images - np.array(PREPARED.mean)) / np.array(PREPARED.std)).transpose(0, 3, 1, 2)
    patches = planes.reshape(-1, 3, 2, 4, 2, 4)
    return np.einsum("bcyuxv,ocuv->boyx", patches, WEIGHT)


def test_features_by_hand(write: Write) -> None:
    tower = OnnxImageTower(write(), PREPARED, threads=1)
    assert isinstance(tower, ImageTower)
    assert tower.dim == 5
    features = tower.embed(pixels())
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, by_hand(pixels()).mean(axis=(2, 3)), atol=1e-4)


def test_tokens_are_positions_row_by_row(write: Write) -> None:
    tokens = OnnxImageTower(write(), PREPARED).tokens(pixels())
    expected = by_hand(pixels())
    assert tokens.shape == (3, 4, 5)
    for row, column in np.ndindex(2, 2):
        np.testing.assert_allclose(tokens[:, 2 * row + column], expected[:, :, row, column], atol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_any_batch(write: Write, count: int) -> None:
    assert OnnxImageTower(write(), PREPARED).embed(pixels(count)).shape == (count, 5)


def test_preprocess_from_the_metadata(write: Write) -> None:
    said = {"size": 8, "mode": "squash", "mean": list(PREPARED.mean), "std": list(PREPARED.std)}
    tower = OnnxImageTower(write(metadata={PREPROCESS_KEY: json.dumps(said)}))
    assert tower.preprocess == PREPARED
    np.testing.assert_allclose(tower.embed(pixels()), by_hand(pixels()).mean(axis=(2, 3)), atol=1e-4)


def test_no_preprocess_anywhere(write: Write) -> None:
    with pytest.raises(ModelError, match="pass a Preprocess"):
        OnnxImageTower(write()).embed(pixels())
    with pytest.raises(ModelError, match="broken 'diptych_preprocess'"):
        OnnxImageTower(write(metadata={PREPROCESS_KEY: "{}"})).embed(pixels())


def test_weights_beside_and_elsewhere(write: Write, tmp_path: Path) -> None:
    path = write(external=True)
    expected = by_hand(pixels()).mean(axis=(2, 3))
    beside = OnnxImageTower(path, PREPARED, weights=tmp_path / "weights.bin")
    np.testing.assert_allclose(beside.embed(pixels()), expected, atol=1e-4)
    np.testing.assert_allclose(OnnxImageTower(path, PREPARED).embed(pixels()), expected, atol=1e-4)
    fingerprint = beside.fingerprint
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "weights.bin").rename(elsewhere / "weights.bin")
    moved = OnnxImageTower(path, PREPARED, weights=elsewhere / "weights.bin")
    np.testing.assert_allclose(moved.embed(pixels()), expected, atol=1e-4)
    assert moved.fingerprint == fingerprint
    with pytest.raises(ModelError, match="cannot be loaded"):
        OnnxImageTower(path, PREPARED).embed(pixels())


def test_the_fingerprint_follows_file_weights_and_preprocessing(write: Write, tmp_path: Path) -> None:
    path = write()
    first = OnnxImageTower(path, PREPARED).fingerprint
    assert first == OnnxImageTower(path, PREPARED, threads=1).fingerprint
    assert first != OnnxImageTower(path, Preprocess(size=8)).fingerprint
    assert first != OnnxImageTower(write(metadata={"a": "b"}), PREPARED).fingerprint
    path, weights = write(external=True), tmp_path / "weights.bin"
    before = OnnxImageTower(path, PREPARED, weights=weights).fingerprint
    weights.write_bytes(bytes(weights.stat().st_size))
    assert before != OnnxImageTower(path, PREPARED, weights=weights).fingerprint


def test_errors_are_one_line(write: Write, tmp_path: Path) -> None:
    good = write()
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"<html>not a model</html>")
    cases = [
        (lambda: OnnxImageTower(tmp_path / "absent.onnx", PREPARED), "no model file at"),
        (lambda: OnnxImageTower(good, PREPARED, weights=tmp_path / "absent.bin"), "no model file at"),
        (lambda: OnnxImageTower(junk, PREPARED).embed(pixels()), "cannot be loaded as an ONNX model"),
        (lambda: OnnxImageTower(good, PREPARED, output="logits").dim, "no output 'logits'; it has features, tokens"),
        (lambda: OnnxImageTower(good, PREPARED, output="tokens").embed(pixels()), "expected \\(b, d\\)"),
        (lambda: OnnxImageTower(good, PREPARED, tokens="features").tokens(pixels()), "expected a map"),
        (lambda: OnnxImageTower(good, PREPARED).embed(pixels()[:, :4, :4]), "takes uint8 of shape"),
        (lambda: OnnxImageTower(good, Preprocess(size=4)).embed(pixels()[:, :4, :4]), "cannot take \\(3, 3, 4, 4\\)"),
        (lambda: OnnxImageTower(write(batch=2), PREPARED).embed(pixels(3)), "cannot take \\(3, 3, 8, 8\\)"),
    ]
    for call, message in cases:
        with pytest.raises(ModelError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_graph_with_another_input_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["ids"], ["features"])],
        "text",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["b", "n"])],
        [helper.make_tensor_value_info("features", TensorProto.INT64, ["b", "n"])],
    )
    path = tmp_path / "text.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    with pytest.raises(ModelError, match="expected one input 'pixels'"):
        OnnxImageTower(path, PREPARED).embed(pixels())


def test_threads_share_one_session(write: Write) -> None:
    tower = OnnxImageTower(write(), PREPARED)
    batches = [pixels(count) for count in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(tower.embed, batches))
    for batch, features in zip(batches, found, strict=True):
        np.testing.assert_allclose(features, by_hand(batch).mean(axis=(2, 3)), atol=1e-4)


def test_nothing_on_stdout_or_stderr_for_a_bad_file(tmp_path: Path) -> None:
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"x" * 100)
    code = (
        "import sys; from diptych.core.errors import ModelError; from diptych.encoders.image.onnx import *\n"
        "try: OnnxImageTower(sys.argv[1], Preprocess()).dim\n"
        "except ModelError: pass"
    )
    done = subprocess.run([sys.executable, "-c", code, str(junk)], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""
