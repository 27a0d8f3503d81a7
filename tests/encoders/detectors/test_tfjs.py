"""TF.js graphs as ONNX: every operation against NumPy, and files that cannot be converted."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the [fit] extra")

from tests import tfjs_models
from tests.tfjs_models import convolution, numbers, text

from diptych.core.errors import ModelError
from diptych.encoders.detectors.tfjs import convert

RANDOM = np.random.default_rng(0)


def run(model, images):
    import onnxruntime

    session = onnxruntime.InferenceSession(convert(model).SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images.astype(np.float32)}), strict=True))


def windows(image, kernel, stride, padding, fill):
    """TensorFlow's windows of (h, w, c): {(row, column): (kernel, kernel, c)}; SAME pads more at the end."""
    height, width = image.shape[:2]
    if padding == "SAME":
        rows, columns = -(-height // stride), -(-width // stride)
        down = max((rows - 1) * stride + kernel - height, 0)
        right = max((columns - 1) * stride + kernel - width, 0)
        around = ((down // 2, down - down // 2), (right // 2, right - right // 2), (0, 0))
        image = np.pad(image, around, constant_values=fill)
    else:
        rows, columns = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    return {
        (r, c): image[r * stride : r * stride + kernel, c * stride : c * stride + kernel]
        for r in range(rows)
        for c in range(columns)
    }, (rows, columns)


def slow_convolution(image, weight, bias, stride, padding, *, depthwise=False):
    found, (rows, columns) = windows(image, weight.shape[0], stride, padding, 0.0)
    out = np.zeros((rows, columns, weight.shape[2] * weight.shape[3] if depthwise else weight.shape[3]))
    for (r, c), window in found.items():
        if depthwise:
            out[r, c] = np.einsum("hwc,hwcm->cm", window, weight).ravel()
        else:
            out[r, c] = np.einsum("hwc,hwco->o", window, weight)
    return out + bias


@pytest.mark.parametrize(("stride", "padding"), [(1, "SAME"), (2, "SAME"), (2, "VALID")])
def test_convolutions_and_pooling_pad_as_tensorflow_does(tmp_path, stride, padding):
    weight, bias = RANDOM.normal(size=(3, 3, 3, 4)), RANDOM.normal(size=4)
    deep, deep_bias = RANDOM.normal(size=(3, 3, 3, 2)), RANDOM.normal(size=6)
    pool = {"ksize": numbers(1, 3, 3, 1), "strides": numbers(1, stride, stride, 1), "padding": text(padding)}
    biased = convolution(stride, padding)
    plain = {key: value for key, value in biased.items() if key != "fused_ops"}
    model = tfjs_models.write(
        tmp_path,
        [
            ("full", "_FusedConv2D", ["images", "weight", "bias"], convolution(stride, padding, ("BiasAdd", "Relu6"))),
            ("deep", "FusedDepthwiseConv2dNative", ["images", "deep_weight", "deep_bias"], biased),
            ("plain", "Conv2D", ["images", "weight"], plain),
            ("pooled", "MaxPool", ["images"], pool),
        ],
        {"weight": weight, "bias": bias, "deep_weight": deep, "deep_bias": deep_bias},
        image=(1, 7, 8, 3),
        outputs=("full", "deep", "plain", "pooled"),
    )  # fmt: skip
    image = RANDOM.normal(size=(7, 8, 3))
    found = run(model, image[None])
    plain_convolution = slow_convolution(image, weight, 0, stride, padding)
    np.testing.assert_allclose(found["plain"][0], plain_convolution, atol=1e-4)
    np.testing.assert_allclose(found["full"][0], np.clip(plain_convolution + bias, 0, 6), atol=1e-4)
    deep_convolution = slow_convolution(image, deep, deep_bias, stride, padding, depthwise=True)
    np.testing.assert_allclose(found["deep"][0], deep_convolution, atol=1e-4)
    seen, (rows, columns) = windows(image, 3, stride, padding, -np.inf)
    best = np.array([[seen[r, c].max(axis=(0, 1)) for c in range(columns)] for r in range(rows)])
    np.testing.assert_allclose(found["pooled"][0], best, atol=1e-6)


def slow_resize(image, height, width, half_pixel):
    """Bilinear, with TensorFlow's two ways to place the pixels."""

    def places(size, old):
        at = (np.arange(size) + 0.5) * old / size - 0.5 if half_pixel else np.arange(size) * old / size
        at = np.clip(at, 0, old - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, old - 1), at - low

    top, bottom, down = places(height, image.shape[0])
    left, right, across = places(width, image.shape[1])
    rows = image[top] * (1 - down)[:, None, None] + image[bottom] * down[:, None, None]
    return rows[:, left] * (1 - across)[None, :, None] + rows[:, right] * across[None, :, None]


@pytest.mark.parametrize("half_pixel", [False, True])
def test_resizing(tmp_path, half_pixel):
    attributes = {"align_corners": {"b": False}, "half_pixel_centers": {"b": half_pixel}}
    model = tfjs_models.write(
        tmp_path, [("big", "ResizeBilinear", ["images", "size"], attributes)], {"size": np.array([8, 9])},
        image=(1, 4, 3, 3), outputs=("big",),
    )  # fmt: skip
    image = RANDOM.normal(size=(4, 3, 3))
    np.testing.assert_allclose(run(model, image[None])["big"][0], slow_resize(image, 8, 9, half_pixel), atol=1e-5)


def test_picking_the_best_as_detectors_do(tmp_path):
    flat, open_ended = np.array([1, 12]), {"begin_mask": {"i": "2"}, "end_mask": {"i": "1"}}
    nodes = [
        ("flat", "Reshape", ["images", "flat_shape"], {}),
        ("best", "TopKV2", ["flat", "three"], {}),
        ("column", "FloorMod", ["best:1", "width"], {}),
        ("row", "FloorDiv", ["best:1", "width"], {}),
        ("row_value", "Cast", ["row"], {"DstT": {"type": "DT_FLOAT"}}),
        ("halved", "Mul", ["row_value", "half"], {}),
        ("stacked", "ExpandDims", ["halved", "last"], {}),
        ("table", "Reshape", ["images", "table_shape"], {}),
        ("places", "Reshape", ["best:1", "minus_one"], {}),
        ("gathered", "GatherV2", ["table", "places", "first"], {"batch_dims": {"i": "0"}}),
        ("tail", "StridedSlice", ["gathered", "start", "stop", "step"], open_ended),
        ("mean", "Mean", ["images", "sides"], {"keep_dims": {"b": True}}),
        ("is_best", "Equal", ["images", "images"], {}),
        ("one", "Cast", ["is_best"], {"DstT": {"type": "DT_FLOAT"}}),
        ("score", "Identity", ["best"], {}),
    ]  # fmt: skip
    constants = {
        "flat_shape": flat, "three": np.array(3), "width": np.array(4), "half": np.array(0.5), "last": np.array(2),
        "table_shape": np.array([12, 1]), "minus_one": np.array([-1]), "first": np.array(0), "sides": np.array([1, 2]),
        "start": np.array([1, 5]), "stop": np.array([9, 1]), "step": np.array([1, 1]),
    }  # fmt: skip
    outputs = ("score", "column", "stacked", "tail", "mean", "one")
    model = tfjs_models.write(tmp_path, nodes, constants, image=(1, 3, 4, 1), outputs=outputs)
    values = RANDOM.permutation(12).astype(float)
    found = run(model, values.reshape(1, 3, 4, 1))
    places = np.argsort(-values)[:3]
    assert found["score"].tolist() == [[11, 10, 9]]
    assert found["column"].tolist() == [(places % 4).tolist()]
    assert found["stacked"][..., 0].tolist() == [(places // 4 / 2).tolist()]
    assert found["stacked"].shape == (1, 3, 1)
    assert found["tail"].tolist() == [[10], [9]]  # from row 1 on, to the end by the mask
    assert found["mean"].shape == (1, 1, 1, 1)
    assert found["mean"].item() == pytest.approx(5.5)
    assert found["one"].min() == 1


def test_weights_are_unpacked(tmp_path):
    model = tfjs_models.write(
        tmp_path,
        [("one", "Add", ["images", "half"], {}), ("two", "Mul", ["one", "byte"], {})],
        {"half": np.array([0.5, 1, 2]), "byte": np.array([-1.0, 0.0, 4.0])},
        image=(1, 1, 1, 3), outputs=("two",),
        packed={"half": {"dtype": "float16"}, "byte": {"dtype": "uint8", "scale": 0.5, "min": -1.0}},
    )  # fmt: skip
    assert run(model, np.ones((1, 1, 1, 3)))["two"].ravel().tolist() == [-1.5, 0, 12]


def test_files_that_cannot_be_converted(tmp_path):
    def refused(change, message):
        file = tfjs_models.colour_detector(tmp_path / "model")
        graph = json.loads(file.read_text())
        change(graph)
        file.write_text(json.dumps(graph))
        with pytest.raises(ModelError, match=message):
            convert(file)

    def node(graph, name):
        return next(each for each in graph["modelTopology"]["node"] if each["name"] == name)

    refused(lambda graph: graph.pop("signature"), "is no TF.js graph model: expected format 'graph-model'")
    refused(lambda graph: node(graph, "red").update(op="Einsum"), "has the operation 'Einsum' at 'red'")
    refused(lambda graph: node(graph, "red").update(input=["gone"]), "has no node 'gone'")
    refused(lambda graph: node(graph, "red").update(input=["detections"]), "has a loop")
    refused(lambda graph: node(graph, "red")["attr"].update(padding=text("EXPLICIT")), "has the padding 'EXPLICIT'")
    refused(lambda graph: graph["weightsManifest"][0]["weights"][0].update(shape=[99999]), "are cut short")
    refused(lambda graph: graph["weightsManifest"][0]["weights"].pop(), "has no weights")
    refused(
        lambda graph: graph["weightsManifest"][0].update(paths=["gone.bin"]), "needs its weights gone.bin beside it"
    )
    with pytest.raises(ModelError, match="is no JSON"):
        convert(tmp_path / "model" / "weights.bin")
    with pytest.raises(ModelError, match="cannot open"):
        convert(tmp_path / "gone.json")
