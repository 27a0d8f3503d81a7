"""The models that ship inside the package, and loading by name or folder."""

from __future__ import annotations

from pathlib import Path

from diptych.core.checks import PATH, of_type
from diptych.core.errors import ModelError
from diptych.core.registry import nearest
from diptych.encoders.joint import is_joint, joint_model
from diptych.models.dual import DualEncoder
from diptych.models.folder import CONFIG, read_config
from diptych.models.joint import joint_encoder

_HERE = Path(__file__).parent
SHIPPED = {"base": "Flickr8k captions, 16 languages, no PyTorch needed"}


def load(name: str | Path = "base", *, threads: int | None = None, device: str = "auto") -> DualEncoder:
    """Load a shipped model by name, a saved one by folder, or a pretrained joint model by its address.

    Args:
        name: "base", a folder with config.json, or an address: "open_clip:ViT-B-32/laion2b_s34b_b79k",
            "hf:google/siglip2-base-patch16-224", "sentence-transformers:clip-ViT-B-32", or a folder behind a prefix.
        threads: threads of each session; None lets ONNX Runtime use all cores.
        device: where it runs: auto, cpu, cuda, cuda:N.

    Raises ModelError for a name that is none of these, or a folder that is not a sound model.
    """
    text = str(of_type(name, PATH, "the name of a shipped model, or a model's folder"))
    if is_joint(text):
        return joint_encoder(joint_model(text, device=device), threads=threads)
    if not text:
        raise ModelError(f"found no name of a model; expected {' or '.join(sorted(SHIPPED))}, or a model's folder")
    if text.removeprefix("diptych-") in SHIPPED and not (Path(text) / CONFIG).exists():
        folder = _HERE / text.removeprefix("diptych-")
    else:
        folder = Path(name).expanduser()
        if not folder.exists():
            listed = ", ".join(sorted(SHIPPED))
            raise ModelError(
                f"no model {text!r}: it is neither a folder nor one of the shipped models ({listed})"
                + nearest(text, SHIPPED)
            )
    return DualEncoder(folder, read_config(folder), threads=threads, device=device)


def as_model(model: DualEncoder | str | Path) -> DualEncoder:
    """A model as it is, or the one that a shipped name or a folder stands for. Raises ModelError as `load`."""
    return load(model) if isinstance(model, str | Path) else model


def lasting_name(model: DualEncoder | str | Path) -> str:
    """What to load a model by later, from any folder: the full path of its folder, or a shipped model's name."""
    if isinstance(model, DualEncoder) and model.joint:
        return model.address
    folder = model.folder if isinstance(model, DualEncoder) else Path(model).expanduser()
    if folder.parent == _HERE:
        return folder.name
    return str(folder.resolve()) if folder.is_dir() else str(model)
