"""Joint models of Hugging Face transformers: CLIP, SigLIP, ALIGN, AltCLIP, Chinese-CLIP and others of their kind."""

from __future__ import annotations

from typing import Any

from diptych.core.errors import ModelError
from diptych.core.registry import Part, register
from diptych.encoders.image.transformers import TransformersImageTower
from diptych.encoders.joint import JointModel
from diptych.encoders.pretrained import load_hub_model
from diptych.encoders.text.transformers import TransformersTextTower


@register.joint_model("hf", "any joint model of transformers: CLIP, SigLIP, ...", arguments=("NAME_OR_FOLDER",))
def hf_model(name: str, *, device: str = "auto") -> JointModel:
    """A model of transformers with image and text features in one space.

    `name` is a folder, or ORG/NAME in the cache, where "@REVISION" may follow.
    """
    found = load_hub_model(name, device)
    if not found.two_sided:
        raise ModelError(
            f"{name} is a {type(found.module).__name__}, which has no text side or no image side; give a joint model "
            "such as CLIP or SigLIP, or train heads over it as a tower (diptych train)"
        )
    scale, bias = (getattr(found.module, attribute, None) for attribute in ("logit_scale", "logit_bias"))
    return JointModel(
        address=f"hf:{found.folder.resolve()}",
        folder=found.folder,
        image=TransformersImageTower(name, device=device),
        text=TransformersTextTower(name, device=device),
        image_part=Part(f"hf:{name}"),
        text_part=Part(f"hf:{name}"),
        logit_scale=_number(scale, exponential=True),
        logit_bias=_number(bias),
    )


def _number(parameter: Any, *, exponential: bool = False) -> float | None:
    if parameter is None:
        return None
    return float(parameter.exp() if exponential else parameter)
