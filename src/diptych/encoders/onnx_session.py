"""The one place that imports ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diptych.core.devices import AUTO, CPU, PACKAGES, kind_and_number
from diptych.core.errors import ConfigError, ModelError, first_line

_CPU_PROVIDER = "CPUExecutionProvider"
_PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
_PACKAGES = {"cuda": "onnxruntime-gpu", **PACKAGES}
_OPTIONS = {"coreml": {"ModelFormat": "MLProgram"}}


def start_session(
    path: Path,
    *,
    threads: int | None = None,
    weights: Path | None = None,
    spinning: bool = True,
    device: str = AUTO,
) -> Any:
    """An InferenceSession of the graph at `path`.

    `threads` None leaves the number to ONNX Runtime. `weights` is the file with the graph's external data
    when it lies in another folder than the graph. Without `spinning`, idle workers leave the cores to others
    between batches. `device` is auto (CUDA where there is one, else the CPU), cpu, cuda, cuda:N, openvino, coreml or
    directml; what a device has no kernel for runs on the CPU.

    Raises ModelError when the file cannot be loaded, ConfigError for a device that is not here.
    """
    import onnxruntime  # telemetry is off: `diptych` itself sees to it when it is imported

    kind, number = kind_and_number(device)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4 if kind == AUTO else 3  # errors are raised anyway; auto tries what may not be here
    if not spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads:
        options.intra_op_num_threads = threads
    if kind == "directml":  # which takes neither
        options.enable_mem_pattern = False
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    model: str | bytes = str(path)
    if weights is not None:
        model = path.read_bytes()
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(weights.parent))
    provider = _provider(kind)
    try:
        session = onnxruntime.InferenceSession(model, options, providers=_providers(provider, kind, number))
    except Exception as error:  # ONNX Runtime's errors share no public base class
        raise ModelError(f"{path} cannot be loaded as an ONNX model: {first_line(error)}; copy it again") from error
    if kind != AUTO and provider not in session.get_providers():
        raise ConfigError(
            f"the device {device!r} is not here: {_PACKAGES[kind]} is installed, and found no such device or not the "
            "libraries that it needs; choose --device cpu"
        )
    return session


def quantisation() -> Any:
    """ONNX Runtime's tools that make graphs of smaller numbers; they need onnx."""
    import onnxruntime.quantization.shape_inference

    return onnxruntime.quantization


def require_provider(device: str) -> None:
    """Raise ConfigError for a device of ONNX Runtime alone that the installed one cannot use."""
    if device in PACKAGES:
        _provider(device)


def _provider(kind: str) -> str:
    """The name of a device's provider. Raises ConfigError where the installed ONNX Runtime has it not."""
    import onnxruntime

    found = onnxruntime.get_available_providers()
    if kind == AUTO:
        return _PROVIDERS["cuda"] if _PROVIDERS["cuda"] in found else _CPU_PROVIDER
    if kind == CPU:
        return _CPU_PROVIDER
    if _PROVIDERS[kind] not in found:
        raise ConfigError(
            f"the ONNX Runtime that is installed cannot use the device {kind!r}; it comes with {_PACKAGES[kind]} "
            "(to install in place of onnxruntime), or choose --device cpu"
        )
    return _PROVIDERS[kind]


def _providers(provider: str, kind: str, number: int) -> list[Any]:
    """In the order in which they take the graph's nodes: the device's, then the CPU's for what it has no kernel for."""
    if provider == _CPU_PROVIDER:
        return [_CPU_PROVIDER]
    options = {"device_id": number} if kind == "cuda" else _OPTIONS.get(kind, {})
    return [(provider, options), _CPU_PROVIDER]
