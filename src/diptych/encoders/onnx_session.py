"""The one place that imports ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diptych.core.errors import ModelError, first_line


def start_session(path: Path, *, threads: int | None = None, weights: Path | None = None, spinning: bool = True) -> Any:
    """An InferenceSession of the graph at `path`, on the CPU.

    `threads` None leaves the number to ONNX Runtime. `weights` is the file with the graph's external data
    when it lies in another folder than the graph. Without `spinning`, idle workers leave the cores to others
    between batches. Raises ModelError when the file cannot be loaded.
    """
    import onnxruntime  # telemetry is off: `diptych` itself sees to it when it is imported

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: they are raised anyway
    if not spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads:
        options.intra_op_num_threads = threads
    model: str | bytes = str(path)
    if weights is not None:
        model = path.read_bytes()
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(weights.parent))
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no public base class
        raise ModelError(f"{path} cannot be loaded as an ONNX model: {first_line(error)}; copy it again") from error
