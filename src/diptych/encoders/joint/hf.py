"""Joint models of Hugging Face transformers: CLIP, SigLIP, ALIGN, AltCLIP, Chinese-CLIP and others of their kind."""

from __future__ import annotations

from typing import Any

from diptych.core.errors import ModelError
from diptych.core.registry import Part, register
from diptych.encoders.image.transformers import TransformersImageTower
from diptych.encoders.joint import JointModel, texts_alone
from diptych.encoders.pretrained import HubModel, load_hub_model
from diptych.encoders.text.sentence_transformers import read_recipe
from diptych.encoders.text.transformers import TransformersTextTower


@register.joint_model("hf", "any joint model of transformers: CLIP, SigLIP, ...", arguments=("NAME_OR_FOLDER",))
def hf_model(name: str, *, device: str = "auto") -> JointModel:
    """A model of transformers with image and text features in one space, or a sentence encoder of texts alone.

    `name` is a folder, or ORG/NAME in the cache, where "@REVISION" may follow.
    """
    found = load_hub_model(name, device)
    if not found.two_sided and read_recipe(found.folder) is not None:  # a sentence encoder
        return texts_alone(f"hf:{name}", TransformersTextTower(name, device=device), found.folder)
    require_both_sides(found, f"hf:{name}")
    image, text = TransformersImageTower(name, device=device), TransformersTextTower(name, device=device)
    scale, bias = temperature(found.module)
    return JointModel(
        address=image.address,
        folder=found.folder,
        image=image,
        text=text,
        image_part=Part(image.address),
        text_part=Part(text.address),
        logit_scale=scale,
        logit_bias=bias,
    )


def require_both_sides(found: HubModel, address: str) -> None:
    """Raise ModelError for a model that does not embed images and texts in one space, with the reason."""
    kind = type(found.module).__name__
    if not found.two_sided:
        others = {"get_audio_features": "audio", "get_video_features": "video"}
        other = next((what for method, what in others.items() if hasattr(found.module, method)), "")
        why = f"joins {other} and texts, not images" if other else "has no text side or no image side"
        raise ModelError(
            f"{address} is a {kind}, which {why}; give a joint model such as CLIP or SigLIP, or train heads over it as "
            "a tower (diptych train)"
        )
    if not found.has_pooler:
        raise ModelError(f"{address} is a {kind} without the weights of its pooling layer; copy the whole model again")


def temperature(module: Any) -> tuple[float | None, float | None]:
    """What a model multiplies the cosine by, and what it adds then, as its `logits_per_image` do; None for neither.

    ALIGN keeps the temperature itself, the others the logarithm of its inverse; AIMv2 limits it.
    """
    scale, bias = getattr(module, "logit_scale", None), getattr(module, "logit_bias", None)
    if scale is not None:
        most = getattr(module, "max_logit_scale", None)
        scale = (scale if most is None else scale.clamp(0, most)).exp()
    elif (own := getattr(module, "temperature", None)) is not None:
        scale = 1 / own
    return None if scale is None else float(scale), None if bias is None else float(bias)
