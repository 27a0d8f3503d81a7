"""What a sentence-transformers folder says about pooling, layers on top, length and case."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.core.errors import ModelError

_ACTIVATIONS = {"Tanh": "tanh", "Identity": "identity", "ReLU": "relu", "GELU": "gelu"}
_OLD_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}


@dataclass(frozen=True)
class Dense:
    """A linear layer after pooling: the folder of its weights and its activation."""

    folder: Path
    activation: str
    bias: bool


@dataclass(frozen=True)
class SentenceRecipe:
    """How a sentence-transformers folder turns token states into a sentence's features."""

    model: Path
    pooling: str
    dense: tuple[Dense, ...] = ()
    normalise: bool = False
    max_tokens: int | None = None
    lower_case: bool = False
    prompt: str = ""


def read_recipe(folder: Path) -> SentenceRecipe | None:
    """The recipe in `folder`, or None if it is not a sentence-transformers folder.

    Raises ModelError for a layer or pooling that is not known here: leaving it out would be wrong in silence.
    """
    if not (folder / "modules.json").is_file():
        return None
    model, pooling, dense, normalise, prompt = folder, "mean", [], False, _default_prompt(folder)
    for entry in _json(folder / "modules.json"):
        kind, part = str(entry["type"]).split(".")[-1], folder / entry["path"]
        if kind in ("Transformer", "CLIPModel"):
            model = part
            pooling = "projected" if kind == "CLIPModel" or _is_joint(part) else pooling
        elif kind == "Pooling":
            settings = _json(part / "config.json")
            pooling = _pooling(settings, part)
            if prompt and not settings.get("include_prompt", True):
                raise ModelError(f"{folder} leaves its prompt {prompt!r} out of the mean, which is not offered")
        elif kind == "Dense":
            dense.append(_dense(_json(part / "config.json"), part))
        elif kind == "Normalize":
            normalise = True
        else:
            raise ModelError(
                f"{folder} has a {kind} layer; known are Transformer, CLIPModel, Pooling, Dense, Normalize"
            )
    file = model / "sentence_bert_config.json"
    found = _json(file) if file.is_file() else {}
    if found.get("processing_kwargs"):
        raise ModelError(f"{file} has processing_kwargs {found['processing_kwargs']}, which are not known here")
    lower_case = bool(found.get("do_lower_case", False))
    return SentenceRecipe(model, pooling, tuple(dense), normalise, found.get("max_seq_length"), lower_case, prompt)


def _default_prompt(folder: Path) -> str:
    """What the package sets before every text unless told otherwise."""
    file = folder / "config_sentence_transformers.json"
    found = _json(file) if file.is_file() else {}
    return str((found.get("prompts") or {}).get(found.get("default_prompt_name")) or "")


def _is_joint(part: Path) -> bool:
    """Whether a model's own projection gives the features of texts, as that of a CLIP does."""
    settings = part / "sentence_bert_config.json"
    said = _json(settings).get("modality_config", {}) if settings.is_file() else {}
    return bool(said.get("text", {}).get("method") == "get_text_features")


def _pooling(settings: dict[str, Any], part: Path) -> str:
    modes = settings.get("pooling_mode")
    if modes is None:
        wanted = [key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True]
        modes = [_OLD_MODES.get(key, key) for key in wanted]
    modes = [modes] if isinstance(modes, str) else list(modes)
    modes = ["last" if mode == "lasttoken" else mode for mode in modes]
    if len(modes) != 1 or modes[0] not in _OLD_MODES.values():
        found = ", ".join(modes) or "none"
        raise ModelError(f"{part} pools by {found}; known is one of {', '.join(_OLD_MODES.values())}")
    return str(modes[0])


def _dense(settings: dict[str, Any], part: Path) -> Dense:
    name = str(settings.get("activation_function", "torch.nn.modules.activation.Tanh")).split(".")[-1]
    if name not in _ACTIVATIONS:
        raise ModelError(f"{part} has the activation {name}; known are {', '.join(_ACTIVATIONS)}")
    if not (part / "model.safetensors").is_file():
        raise ModelError(f"{part} has no model.safetensors for its dense layer")
    return Dense(part, _ACTIVATIONS[name], bool(settings.get("bias", True)))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
