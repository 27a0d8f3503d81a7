"""OpenCLIP's joint models."""

from __future__ import annotations

from typing import Any

from diptych.core.registry import Part, register
from diptych.encoders.joint import JointModel
from diptych.encoders.open_clip import OpenClipImageTower, OpenClipTextTower


@register.joint_model("open_clip", "any OpenCLIP model", arguments=("NAME_OR_FOLDER",))
def open_clip_model(name: str, *, device: str = "auto") -> JointModel:
    """A model of open_clip: ARCHITECTURE/TAG, ARCHITECTURE/FILE, hf-hub:ORG/NAME or a folder."""
    image, text = OpenClipImageTower(name, device=device), OpenClipTextTower(name, device=device)
    module: Any = image._module
    bias = getattr(module, "logit_bias", None)
    return JointModel(
        address=image.address,
        folder=image.found.folder,
        image=image,
        text=text,
        image_part=Part(image.address),
        text_part=Part(text.address),
        logit_scale=float(module.logit_scale.exp()),
        logit_bias=None if bias is None else float(bias),
    )
