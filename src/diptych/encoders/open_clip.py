"""Any OpenCLIP model, by its name or from a local folder: both towers."""

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
from diptych.core.registry import register
from diptych.encoders.compat import import_torchvision
from diptych.encoders.hub import hub_folder, offline
from diptych.encoders.inputs import by_channel, without_surrogates
from diptych.encoders.open_clip_names import PREFIX, Found, locate
from diptych.encoders.pytorch import (
    TorchImageTower,
    TorchTextTower,
    choose_device,
    freeze,
    frozen_fingerprint,
    shared_model,
    tokenising,
)
from diptych.encoders.text.portable import from_open_clip
from diptych.encoders.text.rules import TextRules
from diptych.encoders.weights import stamp

_PROBE = "A photo of two Dogs, 3 cats & a naïve café — 猫と犬 кот!"


@register.image_tower("open_clip", "any OpenCLIP model", arguments=("NAME_OR_FOLDER",))
class OpenClipImageTower(TorchImageTower):
    """The image side of an OpenCLIP model, by a name as `diptych.encoders.open_clip_names.locate` takes it.

    "ViT-B-32/laion2b_s34b_b79k" is one. Both sides of a model share one copy. Nothing is downloaded. Raises ModelError
    for what is not here or does not fit.
    """

    def __init__(self, name: str | Path, *, device: str = "auto") -> None:
        self.found = locate(name)
        self.address = f"{PREFIX}{self.found.name}"
        self._device = choose_device(device)
        self._module = _load(self.found, self._device)
        self.preprocess = _preprocess(self._module, str(name))

    def _features(self, planes: Any) -> Any:
        return self._module.encode_image(planes)


@register.text_tower("open_clip", "any OpenCLIP model", arguments=("NAME_OR_FOLDER",))
class OpenClipTextTower(TorchTextTower):
    """The text side of an OpenCLIP model; for `name` see `OpenClipImageTower`. Safe to use from several threads."""

    def __init__(self, name: str | Path, *, languages: Collection[str] = (), device: str = "auto") -> None:
        found = locate(name)
        self.address = f"{PREFIX}{found.name}"
        self._device = choose_device(device)
        self._module = _load(found, self._device)
        self._tokenizer = _tokenizer(found)
        self.languages = frozenset(languages)
        self.max_tokens: int | None = int(self._tokenizer.context_length)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights, the tokenizer's answer to a fixed text, and the length."""
        with tokenising:
            probe = self._tokenizer([_PROBE]).tolist()
        return fingerprint.combined([frozen_fingerprint(self._module), fingerprint.of_json(probe)])

    def _features(self, texts: Sequence[str]) -> Any:
        with tokenising:
            ids = self._tokenizer([without_surrogates(text) for text in texts])
        return self._module.encode_text(ids.to(self._device))

    @property
    def any_length(self) -> bool:
        """Whether nothing is read of what is behind a text's closing token."""
        return not _reads_padding(self._side)

    @property
    def _side(self) -> Any:
        return getattr(self._module, "text", self._module)

    def _of_ids(self, ids: Any) -> Any:
        padding = getattr(self._side, "pad_id", None)
        if hasattr(self._side, "config"):  # a model of transformers inside, which masks this id
            padding = self._side.config.pad_token_id
        return self._encoded(ids.where(ids >= 0, padding or 0))

    def _encoded(self, ids: Any) -> Any:
        """What open_clip's `encode_text` gives, of shorter rows too where what they leave out is not read."""
        side, length = self._side, ids.shape[1]
        if hasattr(side, "config") or not self.any_length:
            return self._module.encode_text(ids)
        from open_clip.transformer import text_global_pool

        states = side.token_embedding(ids) + side.positional_embedding[:length]
        states = side.ln_final(side.transformer(states, attn_mask=side.attn_mask[:length, :length]))
        pooling = getattr(side, "text_pool_type", None) or side.pool_type
        end = getattr(side, "text_eos_id", getattr(side, "eos_id", None))
        pooled = text_global_pool(states, ids, pooling, eos_token_id=end)
        projection = side.text_projection
        if projection is None:
            return pooled
        return projection(pooled) if callable(projection) else pooled @ projection

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each whole text, special ones counted, before any cut."""
        safe = [without_surrogates(text) for text in texts]
        inner = getattr(self._tokenizer, "tokenizer", None)
        if inner is None:
            return [len(self._tokenizer.encode(text)) + 2 for text in safe]  # start and end
        cleaned = [self._tokenizer.clean_fn(text) for text in safe]
        with tokenising:
            whole = inner(cleaned, truncation=False)["input_ids"] if safe else []
        more = self._tokenizer.tokenizer_mode == "clips"  # a class token in the last place
        return [len(ids) + more for ids in whole]

    def portable_tokenizer(self) -> tuple[Any, TextRules]:
        """The tokenizer and what surrounds it, for `portable_tokens`."""
        return from_open_clip(self._tokenizer, reads_padding=_reads_padding(self._side))


def _reads_padding(side: Any) -> bool:
    """Whether a text side of open_clip attends to the places after the closing token, or pools one of them."""
    if hasattr(side, "config"):  # a model of transformers inside, which masks them
        return False
    causal = getattr(side, "attn_mask", None) is not None and getattr(side, "cls_emb", None) is None
    return not causal or getattr(side, "text_pool_type", getattr(side, "pool_type", "")) not in ("argmax", "eos")


def _load(found: Found, device: Any) -> Any:
    import_torchvision()
    open_clip = need("open_clip", "an OpenCLIP tower")

    def make() -> Any:
        model = open_clip.create_model(found.source, require_pretrained=True, weights_only=True, **found.options)
        if not all(hasattr(model, side) for side in ("encode_image", "encode_text")):
            raise ModelError(
                f"{PREFIX}{found.name} is a {type(model).__name__}, which has no text side or no image side"
            )
        return freeze(model, device)

    try:
        with offline():
            return shared_model(("open_clip", found.name, stamp(found.folder), str(device)), make)
    except ModelError:
        raise
    except Exception as error:  # open_clip raises whatever it meets while reading a checkpoint
        raise ModelError(f"open_clip cannot load {found.source!r} from {found.file}: {first_line(error)}") from error


def _tokenizer(found: Found) -> Any:
    import open_clip

    try:
        with offline():
            return _repository_tokenizer(found) or open_clip.get_tokenizer(found.source)
    except ModelError:
        raise
    except Exception as error:  # whatever the tokenizer library meets
        raise ModelError(f"open_clip cannot load the tokenizer of {found.source!r}: {first_line(error)}") from error


def _repository_tokenizer(found: Found) -> Any:
    """As open_clip.get_tokenizer, for an architecture whose tokenizer is in a repository of the hub; else None.

    Where that is the repository of the weights, their revision is taken.
    """
    import open_clip

    config = None if found.in_folder else open_clip.get_model_config(found.source)
    text = (config or {}).get("text_cfg", {})
    if not (name := text.get("hf_tokenizer_name")):
        return None
    folder = found.folder if name == found.repository else hub_folder(name, address=f"{PREFIX}{found.name}")
    length = text.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH)
    mode, options = text.get("tokenizer_mode"), text.get("tokenizer_kwargs", {})
    return open_clip.HFTokenizer(str(folder), context_length=length, tokenizer_mode=mode, **options)


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
