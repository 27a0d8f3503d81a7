"""Pretrained joint models of other libraries: two towers whose features already lie in one space.

An address names the library and the model: "open_clip:ViT-B-32/laion2b_s34b_b79k",
"hf:google/siglip2-base-patch16-224", "sentence-transformers:clip-ViT-B-32", or a folder behind the same prefix.
"@REVISION" behind a name of the hub pins a commit, branch or tag. IMAGE+TEXT binds the texts of one model to the image
side of another. `joint_model` loads one. A library is one file here with a line `@register.joint_model("prefix", ...)`.
`diptych.models.load` makes a `DualEncoder` of the result.
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.core.errors import ModelError
from diptych.core.protocols import ImageTower, TextTower
from diptych.core.registry import Part, build, entries
from diptych.encoders.cached import facts_of
from diptych.encoders.none import NONE, NoImages


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


class BoundWarning(UserWarning):
    """The address of a text side alone was bound to the image side that its model card names, or to none."""


def is_joint(address: str) -> bool:
    """Whether an address names the library of a joint model."""
    prefix, colon, _ = address.partition(":")
    return bool(colon) and prefix in entries("joint_model")


def joint_model(address: str, *, device: str = "auto") -> JointModel:
    """The joint model at an address; IMAGE+TEXT binds a text tower to the image side of a joint model.

    Sentence encoders of texts alone are models without an image side. Raises ModelError for one that is not here, is
    not whole, needs code from its folder, or has one side only;
    MissingExtraError without its library.
    """
    if sides := bound_sides(address):
        return bind(*sides, device=device)
    made: JointModel = build("joint_model", Part(address), device=device)
    facts = facts_of(made.folder)
    return dataclasses.replace(made, licence=str(facts.get("licence", "")), facts={**facts, **made.facts})


def bind(image: str, text: str, *, device: str = "auto") -> JointModel:
    """The image side of a joint model with a text tower of another, which was trained to give that space.

    "sentence-transformers:clip-ViT-B-32" and "sentence-transformers:clip-ViT-B-32-multilingual-v1" are such two. The
    temperature is that of the image side's model. Raises ModelError where the two have other widths.
    """
    model = joint_model(image, device=device)
    if model.image_part.name == NONE:
        raise ModelError(f"{image} embeds texts alone, so no texts are bound to its images; give a model such as CLIP")
    tower: TextTower = build("text_tower", Part(text, {"device": device} if is_joint(text) else {}))
    text = getattr(tower, "address", text)
    return dataclasses.replace(
        model, address=f"{model.address}+{text}", text=tower, text_part=Part(text), facts={"image side": model.address}
    )


def texts_alone(address: str, text: TextTower, folder: Path) -> JointModel:
    """A model that embeds texts alone as one without an image side: for texts found by texts. A warning says so."""
    message = (
        f"{address} embeds texts alone, so it finds texts by texts; to bind it to the image side of the joint model "
        f"whose space it was trained for, write IMAGE+TEXT, such as sentence-transformers:clip-ViT-B-32+{address}"
    )
    warnings.warn_explicit(message, BoundWarning, "diptych", 0)  # one line, without the place of this call
    lasting = getattr(text, "address", address)
    none = Part(NONE, {"dim": text.dim})
    return JointModel(
        address=lasting, folder=folder, image=NoImages(text.dim), text=text, image_part=none, text_part=Part(lasting)
    )


def bound_sides(address: str) -> tuple[str, str] | None:
    """Both sides of IMAGE+TEXT; None for the address of one model. A + in a folder's name binds nothing."""
    for place in [match.start() for match in re.finditer(r"\+", address)]:
        image, text = address[:place], address[place + 1 :]
        if text.partition(":")[0] in entries("text_tower") and not Path(address.partition(":")[2]).exists():
            return image, text
    return None
