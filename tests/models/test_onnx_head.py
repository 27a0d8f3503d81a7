"""A head's graph on ONNX Runtime."""

from pathlib import Path

import numpy as np
import pytest

from diptych.core.errors import ModelError
from diptych.models.dual import OnnxHead


@pytest.mark.parametrize("content", [b"", b"not a graph", None])
def test_what_is_no_graph_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "head.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"head\.onnx cannot be loaded as an ONNX model: .*; copy it again") as caught:
        OnnxHead(path)(np.zeros((1, 3), np.float32))
    assert "\n" not in str(caught.value)


def test_any_float_goes_in_and_single_precision_comes_out(small_model: Path) -> None:
    head = OnnxHead(small_model / "text_head.onnx", threads=1)
    features = np.random.default_rng(0).normal(size=(5, 32))
    single = head(features.astype(np.float32))
    assert single.dtype == np.float32
    assert np.array_equal(head(features), single)
    assert np.array_equal(head(np.asfortranarray(features)), single)
    assert np.linalg.norm(single, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
