"""Any OpenCLIP model, by name and checkpoint or from a local folder: both towers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import fingerprint
from diptych.core.errors import ModelError, first_line
from diptych.core.extras import need
from diptych.core.protocols import Preprocess
from diptych.core.registry import nearest, register
from diptych.encoders.compat import import_torchvision
from diptych.encoders.hub import GET, OTHER_WEIGHTS, SAFE_WEIGHTS, hub_folder, offline, url_file, weights_file
from diptych.encoders.inputs import by_channel, without_surrogates
from diptych.encoders.pytorch import (
    TorchImageTower,
    TorchTextTower,
    choose_device,
    freeze,
    shared_model,
    state_fingerprint,
)
from diptych.encoders.text.portable import from_open_clip
from diptych.encoders.text.rules import TextRules

_PROBE = "A photo of two Dogs, 3 cats & a naïve café — 猫と犬 кот!"
_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors")


@register.image_tower("open_clip", "any OpenCLIP model", arguments=("NAME_OR_FOLDER", "CHECKPOINT"), split="@")
class OpenClipImageTower(TorchImageTower):
    """The image side of an OpenCLIP model.

    `name` is an architecture ("ViT-B-32") with `checkpoint` a weights file or a tag ("laion2b_s34b_b79k")
    whose weights are in the cache; or a folder with open_clip_config.json and its weights
    ("local-dir:FOLDER" or the path), or "hf-hub:ORG/NAME". Both sides of a model share one copy.

    Nothing is downloaded. Raises ModelError for what is not here or does not fit.
    """

    def __init__(
        self,
        name: str | Path,
        checkpoint: str | Path | None = None,
        *,
        device: str = "auto",
    ) -> None:
        self._device = choose_device(device)
        self._module = _load(name, checkpoint, self._device)
        self.preprocess = _preprocess(self._module, str(name))

    def _features(self, planes: Any) -> Any:
        return self._module.encode_image(planes)


@register.text_tower("open_clip", "any OpenCLIP model", arguments=("NAME_OR_FOLDER", "CHECKPOINT"), split="@")
class OpenClipTextTower(TorchTextTower):
    """The text side of an OpenCLIP model; for `name` and `checkpoint` see `OpenClipImageTower`."""

    def __init__(
        self,
        name: str | Path,
        checkpoint: str | Path | None = None,
        *,
        languages: Collection[str] = (),
        device: str = "auto",
    ) -> None:
        self._device = choose_device(device)
        self._module = _load(name, checkpoint, self._device)
        self._tokenizer = _tokenizer(name)
        self.languages = frozenset(languages)
        self.max_tokens: int | None = int(self._tokenizer.context_length)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights, the tokenizer's answer to a fixed text, and the length."""
        probe = self._tokenizer([_PROBE]).tolist()
        return fingerprint.combined([state_fingerprint(self._module), fingerprint.of_json(probe)])

    def _features(self, texts: Sequence[str]) -> Any:
        return self._module.encode_text(self._tokenizer([without_surrogates(text) for text in texts]).to(self._device))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each whole text, special ones counted, before any cut."""
        cleaned = [self._tokenizer.clean_fn(without_surrogates(text)) for text in texts]
        inner = getattr(self._tokenizer, "tokenizer", None)
        if inner is not None:  # a Hugging Face tokenizer inside
            return [len(ids) for ids in inner(cleaned, truncation=False)["input_ids"]] if cleaned else []
        return [len(self._tokenizer.encode(text)) + 2 for text in cleaned]  # start and end

    def portable_tokenizer(self) -> tuple[Any, TextRules]:
        """The tokenizer and what surrounds it, for `portable_tokens`."""
        side = getattr(self._module, "text", self._module)
        return from_open_clip(self._tokenizer, reads_padding=_reads_padding(side))


def _reads_padding(side: Any) -> bool:
    """Whether a text side of open_clip attends to the places after the closing token, or pools one of them."""
    if hasattr(side, "config"):  # a model of transformers inside, which masks them
        return False
    causal = getattr(side, "attn_mask", None) is not None and getattr(side, "cls_emb", None) is None
    return not causal or getattr(side, "text_pool_type", getattr(side, "pool_type", "")) not in ("argmax", "eos")


def _load(name: str | Path, checkpoint: str | Path | None, device: Any) -> Any:
    import_torchvision()
    open_clip = need("open_clip", "an OpenCLIP tower")
    folder = _folder(name)
    if folder is None:
        _check_name(open_clip, str(name))
        file = _checkpoint(open_clip, str(name), checkpoint)
        source, options = str(name), {"pretrained": str(file)}
    else:
        if weights_file(folder, *_NAMES) is None:
            raise ModelError(f"{folder} has no weights; expected {_NAMES[0]} in it")
        file, source, options = folder, f"local-dir:{folder}", {}

    def make() -> Any:
        model = open_clip.create_model(source, require_pretrained=True, weights_only=True, **options)
        return freeze(model, device)

    try:
        with offline():
            return shared_model(("open_clip", source, str(file.resolve()), str(device)), make)
    except Exception as error:  # open_clip raises whatever it meets while reading a checkpoint
        raise ModelError(f"open_clip cannot load {source!r} from {file}: {first_line(error)}") from error


def _folder(name: str | Path) -> Path | None:
    text = str(name)
    if text.startswith("hf-hub:"):
        return hub_folder(text.removeprefix("hf-hub:"), address=f"open_clip:{text}")
    path = Path(text.removeprefix("local-dir:")).expanduser()
    if text.startswith("local-dir:") or isinstance(name, Path) or path.is_dir():
        if not (path / "open_clip_config.json").is_file():
            raise ModelError(f"no open_clip_config.json in {path}; expected a folder as open_clip saves it")
        return path
    return None


def _check_name(open_clip: Any, name: str) -> None:
    known = open_clip.list_models()
    if name.replace("/", "-") not in known:
        raise ModelError(f"{name!r} is neither a folder nor an architecture that open_clip knows{nearest(name, known)}")


def _checkpoint(open_clip: Any, name: str, checkpoint: str | Path | None) -> Path:
    tags = open_clip.list_pretrained_tags_by_model(name)
    if checkpoint is None:
        choices = ", ".join(tags) or "none"
        raise ModelError(f"OpenCLIP's {name!r} needs a checkpoint: a file, or one of its tags ({choices})")
    file = Path(checkpoint).expanduser()
    if file.is_file():
        if file.suffix not in (*SAFE_WEIGHTS, *OTHER_WEIGHTS):
            raise ModelError(f"{file} is not a known kind of weights; expected .safetensors, .pt, .pth or .bin")
        return file
    if str(checkpoint) not in tags:
        raise ModelError(f"checkpoint {str(checkpoint)!r} is neither a file nor a tag of {name!r}: {', '.join(tags)}")
    return _tagged(open_clip, name, str(checkpoint))


def _tagged(open_clip: Any, name: str, tag: str) -> Path:
    found, address = open_clip.get_pretrained_cfg(name, tag), f"open_clip:{name}/{tag}"
    hub_id, _, filename = str(found.get("hf_hub", "")).rpartition("/")
    if hub_id:
        folder = hub_folder(hub_id, address=address)
        names = [filename] if filename else []
        file = weights_file(folder, *names, *_NAMES)
        if file is None:
            raise ModelError(f"the cached folder {folder} holds no weights of {name} {tag}; pass a checkpoint file")
        return file
    file = url_file(str(found.get("url", "")))
    if file.is_file():
        return file
    raise ModelError(
        f"the weights {tag!r} of {name!r} are not here (looked for {file}); pass a checkpoint file, or fetch them: "
        f"{GET} {address}"
    )


def _tokenizer(name: str | Path) -> Any:
    import open_clip

    folder = _folder(name)
    source = str(name) if folder is None else f"local-dir:{folder}"
    try:
        with offline():
            return open_clip.get_tokenizer(source)
    except Exception as error:  # whatever the tokenizer library meets
        raise ModelError(f"open_clip cannot load the tokenizer of {source!r}: {first_line(error)}") from error


def _preprocess(module: Any, name: str) -> Preprocess:
    found = module.visual.preprocess_cfg
    size = found["size"]
    sides = {int(side) for side in (size if isinstance(size, (tuple, list)) else (size,))}
    if len(sides) != 1:
        raise ModelError(f"OpenCLIP's {name!r} takes images of {size}; expected a square")
    fill = round(found.get("fill_color") or 0)
    return Preprocess(
        sides.pop(),
        found["resize_mode"],  # "shortest", "longest" or "squash", here as there
        by_channel(np.broadcast_to(found["mean"], 3)),
        by_channel(np.broadcast_to(found["std"], 3)),
        interpolation="bilinear" if found["interpolation"] == "bilinear" else "bicubic",  # "random" is for training
        fill=(fill, fill, fill),
        exact=True,
    )
