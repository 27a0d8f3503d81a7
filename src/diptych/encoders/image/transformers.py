"""Any image model of Hugging Face transformers, from a folder or the cache, as a frozen image tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diptych.core.registry import register
from diptych.encoders.hub import lasting
from diptych.encoders.image.patches import patch_inputs
from diptych.encoders.image.processors import preprocess_of
from diptych.encoders.pretrained import HubModel, features_of, load_hub_model
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
        self.address = f"hf:{lasting(str(name_or_folder), self._model.folder)}"
        self._module = self._model.module
        self._device = next(self._module.parameters()).device
        self.pooling = _choose_pooling(self._model, pooling)
        self._settings = (self.pooling,)
        self.preprocess = preprocess_of(self._model.folder)

    def _features(self, planes: Any) -> Any:
        packed = self.preprocess.mode == "patches"
        inputs = patch_inputs(planes, self.preprocess) if packed else {"pixel_values": planes}
        if self.pooling == "projected":
            return features_of(self._module.get_image_features(**inputs))
        output = self._module(**inputs)
        if self.pooling == "pooler":
            return output.pooler_output.flatten(1)
        states = output.last_hidden_state
        if packed and self.pooling == "mean":  # of the patches that there are
            mask = inputs["pixel_attention_mask"].unsqueeze(-1)
            return (states * mask).sum(dim=1) / mask.sum(dim=1)
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
