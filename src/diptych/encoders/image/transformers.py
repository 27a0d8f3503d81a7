"""Any image model of Hugging Face transformers, from a folder or the cache, as a frozen image tower."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diptych.core.errors import ModelError
from diptych.core.protocols import Preprocess
from diptych.core.registry import register
from diptych.encoders.inputs import by_channel
from diptych.encoders.pretrained import HubModel, features_of, load_hub_model, pretrained
from diptych.encoders.pytorch import TorchImageTower

POOLINGS = ("auto", "projected", "cls", "mean", "pooler")


@register.image_tower("hf", "any image model of transformers", arguments=("NAME_OR_FOLDER",))
class TransformersImageTower(TorchImageTower):
    """Pooled features of an image model.

    `pooling`: "projected" is a CLIP-like model's shared space; "cls" the first token; "mean" the mean
    of all tokens, or of the feature map; "pooler" the model's own pooling layer. "auto" takes
    "projected" if there is one, "cls" if the model has a class token, else "mean".

    Loaded by `diptych.encoders.pretrained`. Raises ModelError for a model that is not here or lacks
    weights, ConfigError for a pooling that the model does not have.
    """

    def __init__(
        self,
        name_or_folder: str | Path,
        *,
        pooling: str = "auto",
        device: str = "auto",
    ) -> None:
        self._model = load_hub_model(name_or_folder, device)
        self._module = self._model.module
        self._device = next(self._module.parameters()).device
        self.pooling = _choose_pooling(self._model, pooling)
        self._settings = (self.pooling,)
        self.preprocess = preprocess_of(self._model.folder)

    def _features(self, planes: Any) -> Any:
        if self.pooling == "projected":
            return features_of(self._module.get_image_features(pixel_values=planes))
        output = self._module(pixel_values=planes)
        if self.pooling == "pooler":
            return output.pooler_output.flatten(1)
        states = output.last_hidden_state
        if states.ndim == 4:  # a feature map (b, c, h, w)
            return states.mean(dim=(2, 3))
        return states[:, 0] if self.pooling == "cls" else states.mean(dim=1)


def _choose_pooling(model: HubModel, pooling: str) -> str:
    if model.check_pooling(pooling, POOLINGS) != "auto":
        return pooling
    if model.two_sided:
        return "projected"
    has_class_token = any(name.split(".")[-1] == "cls_token" for name, _ in model.module.named_parameters())
    return "cls" if has_class_token else "mean"


def preprocess_of(folder: Path) -> Preprocess:
    """How a model of transformers wants its images; ModelError when its folder does not say."""
    processor = pretrained("AutoImageProcessor", folder, f"the image preprocessing in {folder}")
    size, mode = _size(processor, folder)
    scale = 1 / float(processor.rescale_factor) if processor.do_rescale else 1.0
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ([0] * 3, [1] * 3)
    return Preprocess(size, mode, by_channel(mean, scale), by_channel(std, scale))


def _size(processor: Any, folder: Path) -> tuple[int, str]:
    """The side in pixels, and whether the image is squashed or cut to it."""
    cut = processor.crop_size if getattr(processor, "do_center_crop", False) else None
    mode = "squash" if cut is None and "height" in _sides(processor.size) else "crop"
    sides = set(_sides(cut if cut is not None else processor.size).values())
    if len(sides) != 1:
        raise ModelError(f"{folder} takes images that are not square: {processor.size}; expected one side")
    return sides.pop(), mode


def _sides(size: Any) -> dict[str, int]:
    """Sides by name, of a mapping or a size object, without those that are unset."""
    if isinstance(size, int):
        return {"shortest_edge": size}
    items = size.items() if isinstance(size, Mapping) else vars(size).items()
    wanted = ("height", "width", "shortest_edge")
    return {name: int(value) for name, value in items if name in wanted and value is not None}
