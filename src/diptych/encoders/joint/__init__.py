"""Pretrained joint models of other libraries: two towers whose features already lie in one space.

An address names the library and the model: "open_clip:ViT-B-32/laion2b_s34b_b79k",
"hf:google/siglip2-base-patch16-224", "sentence-transformers:clip-ViT-B-32", or a folder behind the same prefix.
`joint_model` loads one. A library is one file here with a line `@register.joint_model("prefix", ...)`.
`diptych.models.load` makes a `DualEncoder` of the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.core.errors import ModelError
from diptych.core.protocols import ImageTower, TextTower
from diptych.core.registry import Part, build, entries


@dataclass(frozen=True, kw_only=True)
class JointModel:
    """Two towers of one space, as their library gives them.

    Args:
        address: what loads exactly these weights later: with a full folder, or with the revision of the hub ("@...").
        folder: where the weights are.
        image, text: the towers; their features are embeddings before they are brought to unit length.
        image_part, text_part: how a config names each tower.
        logit_scale: what the model multiplies the cosine by (1 / temperature); None where it has none.
        logit_bias: what is added then; None where probabilities are a softmax over the texts at hand (CLIP). With a
            bias each pair has a probability of its own, by the sigmoid (SigLIP).
        licence: of the weights, as their card states it; "" where it does not.
        facts: what the card and the hub tell: revision, files with their sizes and hashes, ...
    """

    address: str
    folder: Path
    image: ImageTower
    text: TextTower
    image_part: Part
    text_part: Part
    logit_scale: float | None = None
    logit_bias: float | None = None
    licence: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.image.dim != self.text.dim:
            raise ModelError(
                f"{self.address} gives images {self.image.dim} features and texts {self.text.dim}, so the two are not "
                "in one space; give a joint model such as CLIP or SigLIP, or train heads over both (diptych train)"
            )


def is_joint(address: str) -> bool:
    """Whether an address names the library of a joint model."""
    prefix, colon, _ = address.partition(":")
    return bool(colon) and prefix in entries("joint_model")


def joint_model(address: str, *, device: str = "auto") -> JointModel:
    """The joint model at an address.

    Raises ModelError for one that is not here, is not whole, needs code from its folder, or has one side only;
    MissingExtraError without its library.
    """
    made: JointModel = build("joint_model", Part(address), device=device)
    return made
