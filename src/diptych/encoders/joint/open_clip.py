"""OpenCLIP's joint models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diptych.core.registry import Part, register
from diptych.encoders.joint import JointModel
from diptych.encoders.open_clip import OpenClipImageTower, OpenClipTextTower


@register.joint_model("open_clip", "any OpenCLIP model", arguments=("NAME_OR_FOLDER",))
def open_clip_model(name: str, *, device: str = "auto") -> JointModel:
    """A model of open_clip: ARCHITECTURE/TAG, ARCHITECTURE/FILE, hf-hub:ORG/NAME or a folder."""
    architecture, checkpoint = (name, None) if Path(name).is_dir() else _split(name)
    image = OpenClipImageTower(architecture, checkpoint, device=device)
    module: Any = image._module
    bias = getattr(module, "logit_bias", None)
    return JointModel(
        address=f"open_clip:{Path(name).resolve()}" if Path(name).is_dir() else f"open_clip:{name}",
        folder=Path(name),
        image=image,
        text=OpenClipTextTower(architecture, checkpoint, device=device),
        image_part=Part(f"open_clip:{name}"),
        text_part=Part(f"open_clip:{name}"),
        logit_scale=float(module.logit_scale.exp()),
        logit_bias=None if bias is None else float(bias),
    )


def _split(name: str) -> tuple[str, str | None]:
    if name.startswith(("hf-hub:", "local-dir:")) or "/" not in name:
        return name, None
    architecture, _, checkpoint = name.partition("/")
    return architecture, checkpoint
