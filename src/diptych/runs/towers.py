"""Towers by their place in a config: registered ones, those trained on the texts at hand, or a saved model's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from diptych.core import registry
from diptych.core.config import Part
from diptych.core.errors import ConfigError
from diptych.core.protocols import ImageTower, TextTower
from diptych.core.registry import part_of
from diptych.encoders.text.features_and_tokens import FeaturesAndTokens
from diptych.encoders.text.joined import JOINED, JoinedTextTower
from diptych.encoders.text.onnx import OnnxTextTower
from diptych.models import folder as files
from diptych.models import load

OF_MODEL = "model:"


class _BundledTower:
    """The image tower of a saved model, with the folder that it can be copied from."""

    def __init__(self, tower: ImageTower, folder: Path) -> None:
        self.folder = folder
        self.dim, self.fingerprint = tower.dim, tower.fingerprint
        self.preprocess, self.embed = tower.preprocess, tower.embed


def image_tower(part: Part, device: str = "auto") -> ImageTower:
    """A registered tower, or the one inside a model ("model:base", "model:hf:ORG/NAME"), on a device."""
    if not part.name.startswith(OF_MODEL):
        tower: ImageTower = registry.build("image_tower", part, device=device)
        return tower
    model = load(part.name.removeprefix(OF_MODEL), device=device)
    if model.config.image.tower != files.BUNDLED:
        return model.image_tower
    return _BundledTower(model.image_tower, model.folder)


def text_tower(
    part: Part, texts: Callable[[], Iterable[str]], languages: Iterable[str] = (), device: str = "auto"
) -> TextTower:
    """A registered tower, a tokenizer trained on `texts()`, or the tower that a saved model uses ("model:base").

    Args:
        part: its name and options; a tokenizer takes `vocabulary`, `min_count`, `lower_case`, `max_tokens`.
        texts: of the training split; asked for only when a tokenizer is to be trained.
        languages: what these texts are in.
        device: where it runs.

    Raises ConfigError for the text tower of an exported model, which only that model's folder can hold.
    """
    if part.name.startswith(OF_MODEL):
        model = load(part.name.removeprefix(OF_MODEL), device=device)
        if isinstance(model.text_tower, OnnxTextTower):
            original = model.config.training.get(files.EXPORTED, {}).get("address", "the model it was made from")
            raise ConfigError(
                f"{model.name} is an exported model, and nothing can be trained over its text tower; in its place, "
                f"give {original}"
            )
        return model.text_tower
    if part.name == JOINED:
        named = [text_tower(each, texts, languages, device) for each in _joined(part)]
        part = Part(JOINED, {**part.options, "towers": named})
    tower: TextTower = registry.build(
        "text_tower", part, tokenizer=part.name, training_texts=texts, training_languages=languages, device=device
    )
    return tower


def _joined(part: Part) -> list[Part]:
    """The towers within a joined one; what is no list is refused when it is built."""
    named = part.options.get("towers", ())
    return [part_of(each, "a joined tower") for each in ([] if isinstance(named, str) else named)]


def _named(part: Part) -> Any:
    """A part as a config writes it within another."""
    return {"name": part.name, **part.options} if part.options else part.name


def trains_tokenizer(part: Part) -> bool:
    """Whether this text tower can only be made when the training texts are there."""
    if part.name.startswith(OF_MODEL):
        return False
    if part.name == JOINED:
        return any(map(trains_tokenizer, _joined(part)))
    return bool(registry.find("text_tower", part.name).facts.get("trained"))


def registered_part(part: Part, side: str, tower: ImageTower | TextTower) -> Part:
    """How a saved model names a tower: registered, though a config named it as some model's, and pinned.

    Args:
        part: what the config says.
        side: "image" or "text".
        tower: what was made of it; one from elsewhere has an `address`, with a full folder or a revision of the hub.
    """
    if part.name.startswith(OF_MODEL):
        found: files.SideConfig = getattr(load(part.name.removeprefix(OF_MODEL)).config, side)
        part = Part(found.source or found.tower, found.options)
    elif isinstance(tower, FeaturesAndTokens):
        features = tower.features.towers if isinstance(tower.features, JoinedTextTower) else [tower.features]
        frozen = [
            registered_part(*each) for each in zip(_joined(part)[:-1], ["text"] * len(features), features, strict=True)
        ]
        return Part(JOINED, {"towers": [*map(_named, frozen), files.BUNDLED]})
    return Part(getattr(tower, "address", part.name), part.options)
