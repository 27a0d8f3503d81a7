"""Image, text and video towers that turn inputs into features, kept as they are in training; and translation models.

A tower is registered by its name for configs (`@register.image_tower("pixels")`), which may take something after a
colon: "timm:resnet18". `image_tower` and `text_tower` make one by its name, importing only what it needs; their classes
are here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diptych.core.lazy import lazy
from diptych.core.protocols import ImageTower, TextTower
from diptych.core.registry import Part, build

if TYPE_CHECKING:
    from .image.efficientnet_lite import EfficientNetLite0Tower
    from .image.onnx import OnnxImageTower
    from .image.timm import TimmImageTower
    from .image.transformers import TransformersImageTower
    from .open_clip import OpenClipImageTower, OpenClipTextTower
    from .text.joined import JoinedTextTower
    from .text.tokens import TokenTower
    from .text.transformers import TransformersTextTower
    from .text.use import UniversalSentenceEncoder

__all__ = [
    "EfficientNetLite0Tower",
    "JoinedTextTower",
    "OnnxImageTower",
    "OpenClipImageTower",
    "OpenClipTextTower",
    "TimmImageTower",
    "TokenTower",
    "TransformersImageTower",
    "TransformersTextTower",
    "UniversalSentenceEncoder",
    "image_tower",
    "text_tower",
]
__getattr__, __dir__ = lazy(__name__)


def image_tower(name: str, **options: Any) -> ImageTower:
    """The image tower of that name ("efficientnet-lite0", "timm:resnet18", "onnx:model.onnx", ...).

    `options` go to its class. Raises ConfigError for unknown names and options, MissingExtraError for
    packages that are not installed, ModelError for models that are not here.
    """
    tower: ImageTower = build("image_tower", Part(name, options))
    return tower


def text_tower(name: str, **options: Any) -> TextTower:
    """The text tower of that name ("use", "hf:FOLDER", ...); otherwise as `image_tower`."""
    tower: TextTower = build("text_tower", Part(name, options))
    return tower
