"""From PyTorch modules to ONNX graphs. Needs the [train] extra."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core.errors import ModelError
from diptych.core.protocols import ImageTower, TextTower
from diptych.data.spoken import hears
from diptych.encoders.graphs import SCALE, Graph, require_finite, stored, weights_of, write
from diptych.encoders.inputs import grey_pixels


@dataclass(frozen=True)
class GraphSpec:
    """One module to export: its example input (or inputs, as named) fixes all sizes but those of the `free` axes."""

    module: nn.Module
    example: Tensor | tuple[Tensor, ...]
    input: str | tuple[str, ...] = "features"
    outputs: tuple[str, ...] = ("embedding",)
    # axes of the inputs whose size may change; of the outputs it is the batch alone. Or each input's, with their names
    free: tuple[int, ...] | Mapping[str, Mapping[int, str]] = (0,)
    compact: bool = False  # large matrices in 8 bits: half the size, cosine to the original above 0.999


def export_graphs(folder: Path, graphs: Mapping[str, GraphSpec | Graph]) -> None:
    """Write `<name>.onnx` for each graph and one `model.safetensors` for all, as a whole folder.

    The folder appears in one step; an existing one is left untouched and the new one dropped.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        write_graphs(temporary, graphs)
        try:
            temporary.rename(folder)
        except OSError:  # another process was quicker
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_graphs(folder: Path, graphs: Mapping[str, GraphSpec | Graph]) -> None:
    """Write the graphs and their common weights into an existing folder."""
    write(folder, {name: trace(spec) if isinstance(spec, GraphSpec) else spec for name, spec in graphs.items()})


def trace(spec: GraphSpec) -> Graph:
    """Export a module in evaluation mode; weights keep the names of its `state_dict`."""
    import onnx

    module = spec.module.eval().cpu()
    stream = io.BytesIO()
    inputs = [spec.input] if isinstance(spec.input, str) else list(spec.input)
    quick = torch.backends.mha.get_fastpath_enabled()  # attention as one operator, which ONNX does not have
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad(), warnings.catch_warnings(), contextlib.ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, quick)
        warnings.simplefilter("ignore")  # the exporter warns that a newer one exists
        torch.onnx.export(
            module,
            (spec.example,) if isinstance(spec.example, Tensor) else spec.example,
            stream,  # type: ignore[arg-type]  # accepted, though not in the stubs
            input_names=inputs,
            output_names=list(spec.outputs),
            dynamic_axes={**_free(spec, inputs), **{name: {0: "batch"} for name in spec.outputs}},
            opset_version=17,
            dynamo=False,
            # keep BatchNorm apart and names as they are; ONNX Runtime fuses when it loads
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )
    proto = onnx.load_model_from_string(stream.getvalue())
    weights = {}
    for initializer in proto.graph.initializer:
        value = onnx.numpy_helper.to_array(initializer)
        weights.update(stored(initializer.name, value, spec.compact))
    # the exporter keeps one of several equal tensors; a state_dict has to have them all
    for key, tensor in module.state_dict().items():
        if key not in weights and tensor.is_floating_point():
            weights.update(stored(key, tensor.numpy(), spec.compact))
    for key, buffer in module.named_buffers():  # statistics of the data may be larger than 16 bits hold
        if key in weights and not np.isfinite(weights[key]).all():
            weights[key] = buffer.numpy()
    require_finite(weights)
    del proto.graph.initializer[:]
    for node in proto.graph.node:
        node.ClearField("doc_string")
    return Graph(proto, weights)


def _free(spec: GraphSpec, inputs: list[str]) -> dict[str, dict[int, str]]:
    """The axes of each input whose size may change, with their names."""
    if isinstance(spec.free, Mapping):
        return {name: dict(axes) for name, axes in spec.free.items()}
    return {name: {axis: f"axis_{axis}" if axis else "batch" for axis in spec.free} for name in inputs}


def trace_head(module: nn.Module, tower: ImageTower | TextTower, *, compact: bool = False) -> Graph:
    """A head's graph; its input is what the tower gives: features, token ids, or pixels.

    Rows with token ids may end before their padding where all networks in the module say that they take `any_length`.
    """
    dtype = torch.int64 if getattr(tower, "storage", "") == "int32" else torch.float32
    example = torch.zeros(2, tower.dim, dtype=dtype)
    if getattr(tower, "storage", "") == "uint8" and not hears(tower):
        # an image, for a network that asks how many patches there are
        grey = tower.embed(grey_pixels(tower.preprocess))  # type: ignore[union-attr, arg-type]
        example = torch.from_numpy(grey).float().expand(2, -1)
    stated = [part.any_length for part in module.modules() if hasattr(part, "any_length")]
    return trace(GraphSpec(module, example, free=(0, 1) if stated and all(stated) else (0,), compact=compact))


def read_weights(folder: Path, name: str) -> dict[str, Tensor]:
    """The weights of one graph as a float32 `state_dict` for its module. Raises ModelError when damaged."""
    from safetensors import SafetensorError, safe_open

    prefix = f"{name}."
    try:
        with safe_open(weights_of(folder, name), framework="pt") as stored:
            keys = [key for key in stored.keys() if key.startswith(prefix)]
            found = {key.removeprefix(prefix): stored.get_tensor(key) for key in keys}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read {weights_of(folder, name)}: {error}; copy the whole folder again") from error
    scales = {key.removesuffix(SCALE): found.pop(key) for key in list(found) if key.endswith(SCALE)}
    found.update({key: found[key].float() * scale for key, scale in scales.items()})
    return {key: value.float() if value.is_floating_point() else value for key, value in found.items()}
