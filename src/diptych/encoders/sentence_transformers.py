"""Models of sentence-transformers, by name or from a local folder: texts, and the images of a CLIP."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from diptych.core.errors import ModelError
from diptych.core.registry import register
from diptych.encoders.hub import hub_folder, lasting
from diptych.encoders.image.transformers import TransformersImageTower
from diptych.encoders.text.sentence_transformers import SentenceRecipe, read_recipe
from diptych.encoders.text.transformers import TransformersTextTower

PREFIX = "sentence-transformers:"


def repository(name: str) -> str:
    """ORG/NAME on the hub; names without an organisation are of sentence-transformers itself. A folder stays one."""
    return name if "/" in name or Path(name).expanduser().is_dir() else f"sentence-transformers/{name}"


def folder_and_recipe(name: str) -> tuple[Path, SentenceRecipe]:
    """Where the model is, and what its folder says. Raises ModelError for one that is not here, or no such folder."""
    folder = hub_folder(repository(name), address=f"{PREFIX}{name}")
    recipe = read_recipe(folder)
    if recipe is None:
        raise ModelError(
            f"no modules.json in {folder}; expected a folder as sentence-transformers saves it, or give it as hf:{name}"
        )
    return folder, recipe


@register.image_tower("sentence-transformers", "a CLIP of sentence-transformers", arguments=("NAME_OR_FOLDER",))
def image_tower(name: str, *, device: str = "auto") -> TransformersImageTower:
    """The image side of a CLIP of sentence-transformers. Raises ModelError for a model of texts alone."""
    folder, recipe = folder_and_recipe(name)
    if recipe.pooling != "projected":
        raise ModelError(f"{PREFIX}{name} embeds texts alone; expected a CLIP, such as {PREFIX}clip-ViT-B-32")
    tower = TransformersImageTower(recipe.model, device=device)
    tower.address = f"{PREFIX}{lasting(name, folder)}"
    return tower


@register.text_tower("sentence-transformers", "any model of sentence-transformers", arguments=("NAME_OR_FOLDER",))
def text_tower(
    name: str, *, prefix: str = "", languages: Collection[str] = (), device: str = "auto"
) -> TransformersTextTower:
    """Texts as sentence-transformers embeds them: nothing is cleaned before its tokenizer."""
    folder, _ = folder_and_recipe(name)
    tower = TransformersTextTower(folder, prefix=prefix, exact=True, languages=languages, device=device)
    tower.address = f"{PREFIX}{lasting(name, folder)}"
    return tower
