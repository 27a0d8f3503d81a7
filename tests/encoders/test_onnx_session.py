"""Sessions of ONNX Runtime on the device that was asked for."""

from pathlib import Path

import numpy as np
import pytest

from diptych.core.devices import kind_and_number
from diptych.core.errors import ConfigError
from diptych.encoders.onnx_session import start_session
from diptych.models import load

onnxruntime = pytest.importorskip("onnxruntime")

PACKAGES = {
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "openvino": ("OpenVINOExecutionProvider", "onnxruntime-openvino"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime on macOS"),
    "directml": ("DmlExecutionProvider", "onnxruntime-directml"),
}


@pytest.fixture(scope="module")
def graph() -> Path:
    folder = load("base").folder
    return folder / "image_head.onnx"


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_graph_runs_on_the_devices_that_are_always_here(graph: Path, device: str) -> None:
    session = start_session(graph, device=device)
    (found,) = session.run(None, {"features": np.ones((2, 3920), dtype=np.float32)})
    assert found.shape[0] == 2
    assert session.get_providers()[-1] == "CPUExecutionProvider"  # takes what a device has no kernel for


@pytest.mark.parametrize("device", PACKAGES)
def test_an_absent_device_says_which_package_brings_it(graph: Path, device: str) -> None:
    provider, package = PACKAGES[device]
    if provider in onnxruntime.get_available_providers():
        pytest.skip(f"{provider} is installed here")
    with pytest.raises(ConfigError, match=package):
        start_session(graph, device=device)


def test_a_device_that_no_part_of_a_model_would_use_is_refused_all_the_same() -> None:
    if "OpenVINOExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("OpenVINO is installed here")
    with pytest.raises(ConfigError, match="onnxruntime-openvino"):
        load("base", device="openvino")


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cpu:1", ""])
def test_an_unknown_device_lists_the_choices(graph: Path, device: str) -> None:
    for start in (lambda: start_session(graph, device=device), lambda: load("base", device=device)):
        with pytest.raises(ConfigError, match="choose from auto, cpu, cuda, cuda:N, openvino, coreml, directml"):
            start()


def test_the_number_of_a_device() -> None:
    assert kind_and_number("cuda:3") == ("cuda", 3)
    assert kind_and_number("cuda") == ("cuda", 0)
