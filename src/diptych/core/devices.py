"""The names of devices, as `--device` and `diptych.load(device=...)` take them."""

from __future__ import annotations

import re

from .errors import ConfigError

AUTO, CPU = "auto", "cpu"
# other devices of ONNX Runtime, and which package brings each
PACKAGES = {
    "openvino": "onnxruntime-openvino",
    "coreml": "onnxruntime on macOS, whose wheels have it",
    "directml": "onnxruntime-directml",
}
DEVICES = "auto, cpu, cuda, cuda:N, openvino, coreml, directml"
_NAME = re.compile(rf"auto|cpu|cuda(:\d+)?|{'|'.join(PACKAGES)}")


def check_device(name: str) -> str:
    """The name, where it is one. Raises ConfigError, with the choices, where it is not."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"unknown device {name!r}; choose from {DEVICES}")
    return name


def kind_and_number(name: str) -> tuple[str, int]:
    """ "cuda:1" as ("cuda", 1); the number is 0 where none is given. Raises ConfigError as `check_device`."""
    kind, _, number = check_device(name).partition(":")
    return kind, int(number or 0)
