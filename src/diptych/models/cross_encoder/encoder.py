"""The cross-encoder as it is used: images to region tokens once, then scores, captions and explanations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from diptych.core.config import unknown
from diptych.core.errors import ModelError
from diptych.core.protocols import CrossEncoder, ImageTower, MapTower, Preprocess
from diptych.core.shapes import Float, Float16, Float32, UInt8
from diptych.encoders.half_precision import half_on
from diptych.encoders.image.onnx import OnnxImageTower
from diptych.encoders.pytorch import choose_device
from diptych.models.loaded import LoadedModel

from . import folder as files
from . import vocabulary
from .blip import PREFIX, BlipCrossEncoder
from .network import CrossNetwork
from .scorer import Scorer
from .settings import TEXT_TO_IMAGE
from .vocabulary import Vocabulary

PRECISIONS = ("auto", "float32", "bfloat16")


class TrainedCrossEncoder(LoadedModel):
    """A trained cross-encoder ("Thinking Fast and Slow", arXiv 2103.16553). Needs PyTorch.

    `encode_images` is done once an image; `score` and `scores` then cost milliseconds a pair. Made by
    `load_trained_cross_encoder(folder)`.
    """

    config: files.CrossConfig

    def __init__(
        self, folder: Path, config: files.CrossConfig, *, device: str = "auto", precision: str = "auto"
    ) -> None:
        if precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
        self.folder = folder
        self.config = config
        self.device = device
        self._device = choose_device(device)
        self._half = half_on(str(self._device)).quicker if precision == "auto" else precision == "bfloat16"

    @property
    def address(self) -> str:
        """What it is loaded by."""
        return str(self.folder)

    @property
    def fingerprint(self) -> str:
        """Changes when weights, tower, tokenizer or scoring do."""
        return self.config.fingerprint

    @property
    def preprocess(self) -> Preprocess:
        """How images must be prepared for `encode_pixels`."""
        return self.config.image.preprocess

    @property
    def token_shape(self) -> tuple[int, int]:
        """(regions, width) of the tokens of one image, or of all frames of a video."""
        return self.network.fusion.count, self.config.network.width

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the regions of an image, or of a frame of a video."""
        return self.network.fusion.grid

    @cached_property
    def network(self) -> CrossNetwork:
        """The network, in evaluation mode."""
        return files.read_network(self._verified, self.config).to(self._device)

    @cached_property
    def words(self) -> Vocabulary:
        """Its word pieces."""
        return Vocabulary.read(self._verified / vocabulary.FILE)

    @cached_property
    def image_tower(self) -> ImageTower:
        """Pixels to feature maps."""
        side = self.config.image
        tower = self._image_tower(side, files.GRAPH)
        if not isinstance(tower, MapTower | OnnxImageTower):
            raise ModelError(f"the tower {side.tower!r} gives no feature maps; expected one such as fake-maps")
        return tower

    @cached_property
    def scorer(self) -> Scorer:
        """The batched scorer behind `score` and `scores`."""
        return Scorer(
            self.network,
            self.words,
            self.config.scoring,
            captioner=self.config.objective.name == "captioning",
            half=self._half,
        )

    def encode_pixels(self, pixels: UInt8[np.ndarray, "b hh ww 3"]) -> Float16[np.ndarray, "b r w"]:
        """Region tokens of images already prepared by `preprocess`, in half precision as they are stored."""
        if len(pixels) == 0:
            return np.zeros((0, *self.token_shape), dtype=np.float16)
        return self.fuse(self.image_tower.embed(pixels))

    def fuse(self, features: Float[np.ndarray, "b f"]) -> Float16[np.ndarray, "b r w"]:
        """Region tokens from the tower's features."""
        with torch.inference_mode():
            flat = torch.from_numpy(np.asarray(features, dtype=np.float32)).to(self._device)
            return np.asarray(self.network.fusion(flat).half().cpu().numpy())

    def score(
        self,
        image_tokens: Float[np.ndarray, "b r w"],
        texts: str | Sequence[str],
        direction: str = TEXT_TO_IMAGE,
    ) -> Float32[np.ndarray, " b"]:
        """Score of each image with its text, or with the one text given for all; higher is a better match.

        text_to_image: h, the sum of log-likelihoods of the text's words read forwards and backwards, given
        the image; compare images of one text by it. image_to_text: h without the text's own likelihood
        and for its length; compare texts of one image by it. Raises DataError for numbers that differ.
        """
        if isinstance(texts, str):
            return np.asarray(self.scorer.matrix(image_tokens, [texts], direction)[0])
        return self.scorer.pairs(image_tokens, texts, direction)

    def scores(
        self, image_tokens: Float[np.ndarray, "n r w"], texts: Sequence[str], direction: str = TEXT_TO_IMAGE
    ) -> Float32[np.ndarray, "m n"]:
        """Score of every text (row) with every image (column)."""
        return self.scorer.matrix(image_tokens, texts, direction)

    def __repr__(self) -> str:
        return f"TrainedCrossEncoder({self.name!r}, fingerprint={self.fingerprint[:8]})"


def load_trained_cross_encoder(
    folder: str | Path, *, device: str = "auto", precision: str = "auto"
) -> TrainedCrossEncoder:
    """Load a cross-encoder from its folder. Raises ModelError for a folder that is not one.

    `precision`: float32, bfloat16, or auto, which is bfloat16 where the processor has it.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ModelError(f"no model folder at {path}; diptych train configs/cross_encoder.toml makes one")
    return TrainedCrossEncoder(path, files.read_config(path), device=device, precision=precision)


def load_cross_encoder(spec: str | Path, *, device: str = "auto") -> CrossEncoder:
    """A cross-encoder of ours by its folder, or "blip:NAME_OR_FOLDER" for a BLIP model of transformers."""
    text = str(spec)
    if text.startswith(PREFIX):
        return BlipCrossEncoder(text.removeprefix(PREFIX), device=device)
    return load_trained_cross_encoder(spec, device=device)
