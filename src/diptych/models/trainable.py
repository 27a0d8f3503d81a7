"""A saved dual encoder as an `nn.Module`, for further training in a loop of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core.checks import of_type, several
from diptych.core.errors import ConfigError, ModelError
from diptych.core.registry import Part, build, require
from diptych.core.shapes import Float, Shaped
from diptych.data.image_inputs import ImageInput
from diptych.data.images import stream
from diptych.encoders import image_tower
from diptych.encoders.export import read_weights
from diptych.encoders.image.pixel_tower import pixels_for
from diptych.encoders.inputs import normalise_pixels
from diptych.encoders.joint import JointModel
from diptych.models import folder as files
from diptych.models.dual import DualEncoder
from diptych.models.side import Side, build_side


class DualEncoderModule(nn.Module):
    """The two sides of a dual encoder, heads and networks included, with parameters that can be trained further.

    `encode_image` and `encode_text` take what `image_inputs` and `text_inputs` give, and return embeddings of unit
    length, (b, d): the same as `DualEncoder.encode_images` and `encode_texts` within rounding.

    A tower is part of the module where its weights are PyTorch's; `image_tower` then maps normalised pixels, (b, 3, s,
    s), to features. Another one (ONNX, NumPy) stays a frozen front outside: its features are the inputs, and `frozen`
    names its side. All parameters start frozen in the towers and trainable above them. Of a pretrained joint model, and
    of one that was fine-tuned from it, both sides are networks over rows of pixels and of token ids, and trainable.

    Args:
        model: the saved model, or a pretrained joint one.

    Raises ModelError for weights that do not fit the parts that the model names.
    """

    def __init__(self, model: DualEncoder) -> None:
        super().__init__()
        config = model.config
        self._model = model
        self._dims = model.dim if model.dim < config.dim else None
        if model.joint:
            self.image_tower = None
            self._towers, (self.image, self.text) = _joint_sides(model.joint)
        else:
            files.verify(model.folder, config)
            self._towers = (model.image_tower, model.text_tower)
            self.image_tower = _image_tower(model)
            self.image = _side(model, config.image, model.image_tower, files.IMAGE_HEAD)
            self.text = _side(model, config.text, model.text_tower, files.TEXT_HEAD)
        query = model.config.query
        self.query = _side(model, query, model.text_tower, files.QUERY_HEAD) if query else None
        learns = (self.image_tower is not None or self._storage(0) == "uint8", self._storage(1) == "int32")
        self.frozen = tuple(name for name, can in zip(("image", "text"), learns, strict=True) if not can)

    def forward(
        self, images: Shaped[Tensor, "b ..."], texts: Shaped[Tensor, "c n"]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "c d"]]:
        """Embeddings of images and of texts, from the inputs of both."""
        return self.encode_image(images), self.encode_text(texts)

    def encode_image(self, inputs: Shaped[Tensor, "b ..."]) -> Float[Tensor, "b d"]:
        """Embeddings of images."""
        of_type(inputs, Tensor, "a tensor, as image_inputs gives it")
        rows = inputs if self.image_tower is None else self.image_tower(inputs)
        return self._kept(self.image(rows))

    def encode_text(self, inputs: Shaped[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """Embeddings of texts."""
        of_type(inputs, Tensor, "a tensor, as text_inputs gives it")
        return self._kept(self.text(inputs))

    def encode_query(self, inputs: Shaped[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """Embeddings of texts that ask, by their own side where the model has one."""
        of_type(inputs, Tensor, "a tensor, as text_inputs gives it")
        return self._kept((self.text if self.query is None else self.query)(inputs))

    def image_inputs(self, images: ImageInput | Sequence[ImageInput]) -> Tensor:
        """Paths, PIL images or arrays as `encode_image` takes them. Raises DataError for one that cannot be read."""
        preprocess = self._model.preprocess
        given: list[Any] = list(images) if isinstance(images, list | tuple) else [images]
        pixels = np.concatenate([_whole(batch) for batch in stream(given, preprocess)])
        if self.image_tower is None:
            return torch.from_numpy(self._towers[0].embed(pixels))
        return torch.from_numpy(normalise_pixels(pixels, preprocess))

    def text_inputs(self, texts: str | Sequence[str]) -> Tensor:
        """Texts as `encode_text` takes them: token ids, or the features of a frozen tower."""
        rows = self._towers[1].embed(several(texts, str, "a text, or a list of texts"))
        return torch.from_numpy(np.asarray(rows, dtype=np.int64 if self._storage(1) == "int32" else np.float32))

    def _storage(self, side: int) -> str:
        return getattr(self._towers[side], "storage", "")

    def _kept(self, embeddings: Tensor) -> Tensor:
        return embeddings if self._dims is None else functional.normalize(embeddings[:, : self._dims], dim=-1)


class _Tower(nn.Module):
    """Normalised pixels to features, through a module that may have further outputs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, planes: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b f"]:
        found = self.module(planes)
        features: Tensor = found[0] if isinstance(found, tuple) else found
        return features


def _image_tower(model: DualEncoder) -> nn.Module | None:
    """The image tower's module with frozen parameters; None where there is none."""
    side = model.config.image
    if side.tower != files.BUNDLED:
        tower: Any = model.image_tower
        module = tower.torch_module() if hasattr(tower, "torch_module") else None
        return None if module is None else _Tower(module).requires_grad_(False)
    try:  # the graph's weights are in the folder, the network around them in the package of its tower
        source: Any = image_tower(side.source, **side.options)
        module = source.torch_module()
    except (AttributeError, ConfigError):  # no such package, no PyTorch module, or not registered here
        return None
    try:
        module.load_state_dict(read_weights(model.folder, files.IMAGE_TOWER))
    except RuntimeError as error:
        raise ModelError(f"the image tower of {model.folder} is no {side.source!r}; copy the folder again") from error
    return _Tower(module).requires_grad_(False)


def _joint_sides(joint: JointModel) -> tuple[tuple[Any, Any], list[Side]]:
    """Rows of pixels and of token ids, and above them the sides of a pretrained joint model."""
    parts = pixels_for(joint.image.preprocess), Part(f"tokens:{joint.address}")
    towers = build("image_tower", parts[0]), build("text_tower", parts[1])
    networks = (Part(name, {"model": joint.address}) for name in ("joint_image", "joint_text"))
    sides = [
        build_side(network, Part("identity"), tower, joint.image.dim).eval()
        for network, tower in zip(networks, towers, strict=True)
    ]
    return towers, sides


def _side(model: DualEncoder, config: files.SideConfig, tower: Any, name: str) -> Side:
    require("head", config.head, model.folder)
    if config.network is not None:
        require("network", config.network, model.folder)
    side = build_side(config.network, config.head, tower, model.config.dim)
    if not files.has_graph(model.config, name):  # the head identity of an exported model
        return side.eval()
    try:
        (side if side.network is not None else side.head).load_state_dict(read_weights(model.folder, name))
    except RuntimeError as error:
        raise ModelError(f"the weights of {name} in {model.folder} do not fit the parts that it names") from error
    return side.eval()


def _whole(batch: Any) -> np.ndarray:
    for _, problem in batch.skipped:
        raise problem.error()
    return np.asarray(batch.pixels)
