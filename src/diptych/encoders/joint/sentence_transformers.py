"""Joint models of sentence-transformers: CLIP and its kind, and multilingual texts bound to the images of another."""

from __future__ import annotations

import warnings

from diptych.core.errors import ModelError
from diptych.core.registry import Part, register
from diptych.encoders.joint import BoundWarning, JointModel, bind, texts_alone
from diptych.encoders.joint.hf import require_both_sides, temperature
from diptych.encoders.pretrained import load_hub_model
from diptych.encoders.sentence_transformers import PREFIX, folder_and_recipe, image_tower, repository, text_tower

# texts that were trained to lie in the space of another model's images, by their model cards
IMAGE_SIDES = {"sentence-transformers/clip-ViT-B-32-multilingual-v1": "sentence-transformers:clip-ViT-B-32"}


@register.joint_model(
    "sentence-transformers", "CLIP, texts bound to its images, texts alone", arguments=("NAME_OR_FOLDER",)
)
def sentence_transformers_model(name: str, *, device: str = "auto") -> JointModel:
    """A model of sentence-transformers that embeds images and texts, texts whose image side is known, or texts alone.

    `name` is a folder, or [ORG/]NAME in the cache, where "@REVISION" may follow.
    """
    folder, recipe = folder_and_recipe(name)
    address = f"{PREFIX}{name}"
    if recipe.pooling != "projected":
        image_side = IMAGE_SIDES.get(repository(name).partition("@")[0])
        if image_side is None:
            return texts_alone(address, text_tower(name, device=device), folder)
        made = bind(image_side, address, device=device)
        message = f"{address} embeds texts alone; images are embedded by {made.facts['image side']}"
        warnings.warn_explicit(message, BoundWarning, "diptych", 0)  # one line, without the place of this call
        return made
    if recipe.dense:
        raise ModelError(
            f"{address} has dense layers above a CLIP, which is not known here; give its CLIP alone as hf:"
        )
    found = load_hub_model(recipe.model, device)
    require_both_sides(found, address)
    image, text = image_tower(name, device=device), text_tower(name, device=device)
    scale, bias = temperature(found.module)
    return JointModel(
        address=image.address,
        folder=folder,
        image=image,
        text=text,
        image_part=Part(image.address),
        text_part=Part(text.address),
        logit_scale=scale,
        logit_bias=bias,
    )
