"""The models that ship inside the package, and loading by name, folder or address."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

from diptych.core.checks import PATH, of_type
from diptych.core.devices import check_device
from diptych.core.errors import ModelError
from diptych.core.registry import names, nearest
from diptych.encoders.joint import is_joint, joint_model
from diptych.encoders.onnx_session import require_provider
from diptych.models.dual import DualEncoder
from diptych.models.folder import CONFIG, read_config
from diptych.models.joint import joint_encoder

_HERE = Path(__file__).parent
SHIPPED = {"base": "photos and drawings, 19 languages, no PyTorch needed"}


def load(name: str | Path = "base", *, threads: int | None = None, device: str = "auto") -> DualEncoder:
    """Load a shipped model by name, a saved one by folder, or a pretrained joint model by its address.

    Args:
        name: "base", a folder with config.json, or an address: "open_clip:ViT-B-32/laion2b_s34b_b79k",
            "hf:google/siglip2-base-patch16-224", "sentence-transformers:clip-ViT-B-32", or a folder behind a prefix.
        threads: threads of each session; None lets ONNX Runtime use all cores.
        device: where it runs: "auto" (CUDA where there is one, else the CPU), "cpu", "cuda", "cuda:N"; on ONNX Runtime
            also "openvino", "coreml" and "directml".

    Raises ModelError for a name that is none of these, or a folder or address of no sound model; ConfigError for a
    device that is not here.
    """
    check_device(device)
    text = str(of_type(name, PATH, "the name of a shipped model, a model's folder or address"))
    if not text:
        raise ModelError(
            f"found no name of a model; expected {' or '.join(sorted(SHIPPED))}, a model's folder, or an address "
            "such as hf:ORG/NAME"
        )
    if text.removeprefix("diptych-") in SHIPPED and not (Path(text) / CONFIG).exists():
        folder = _HERE / text.removeprefix("diptych-")
    else:
        folder = Path(name).expanduser()
        if not folder.exists():
            if is_joint(text):
                return joint_encoder(joint_model(text, device=device), threads=threads)
            raise ModelError(_no_model(text))
        if prefix := _library_of(folder):
            raise ModelError(f"{folder} is a model of another library; give it as {prefix}:{folder}")
    require_provider(device)
    return DualEncoder(folder, read_config(folder), threads=threads, device=device)


def _library_of(folder: Path) -> str:
    """The source of models whose library saved this folder; "" for none that is known."""
    config: Any = {}
    with contextlib.suppress(OSError, ValueError):
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if not isinstance(config, dict) or "format" in config:  # one of ours
        return ""
    for file, prefix in (("open_clip_config.json", "open_clip"), ("modules.json", "sentence-transformers")):
        if (folder / file).is_file():
            return prefix
    return "hf" if "model_type" in config else ""


def _no_model(text: str) -> str:
    """What a name that is no model may have been meant for."""
    prefix, colon, _ = text.partition(":")
    sources = names("joint_model")
    if colon and re.fullmatch(r"[\w-]+", prefix) and len(prefix) > 1:
        close = nearest(prefix, sources)
        return f"no model {text!r}: {prefix!r} is no source of models; choose from {', '.join(sources)}{close}"
    meant = f"; did you mean 'hf:{text}'?" if re.fullmatch(r"[\w.-]+/[\w.-]+", text) else nearest(text, SHIPPED)
    listed = ", ".join(sorted(SHIPPED))
    addresses = ", ".join(f"{each}:NAME" for each in sources)
    return (
        f"no model {text!r}: it is neither a folder, nor one of the shipped models ({listed}), nor an address "
        f"({addresses}){meant}"
    )


def as_model(model: DualEncoder | str | Path) -> DualEncoder:
    """A model as it is, or the one that a shipped name, a folder or an address stands for. Raises as `load`."""
    return load(model) if isinstance(model, str | Path) else model


def lasting_name(model: DualEncoder) -> str:
    """What to load a model by later, from any folder.

    The name of a shipped model, the full path of a folder, or a joint model's address with its revision.
    """
    if model.joint:
        return model.address
    return model.folder.name if model.folder.parent == _HERE else model.address
