"""The cross-encoder as it is used: images to region tokens once, then scores, captions and explanations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import numpy as np

from diptych.core.config import unknown
from diptych.core.devices import check_device
from diptych.core.errors import ModelError
from diptych.core.extras import is_installed, need
from diptych.core.protocols import CrossEncoder, ImageTower, MapTower, Preprocess
from diptych.core.shapes import Float, Float16, Float32, UInt8
from diptych.core.workers import SentModel
from diptych.encoders.image.onnx import OnnxImageTower
from diptych.models.loaded import LoadedModel

from . import folder as files
from . import shipped, vocabulary
from .backend import Backend
from .onnx_backend import OnnxBackend
from .scorer import Scorer
from .settings import BLIP, TEXT_TO_IMAGE, token_grid
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from .network import CrossNetwork

PRECISIONS = ("auto", "float32", "bfloat16")
_MOST_UNKNOWN = 0.25  # share of unknown word pieces above which a query is not understood
_MOST_CUT = 0.5  # share of words that are cut into pieces above which it is not: over 86 % of queries in German,
# French, Czech, Spanish or Portuguese are above it for a model of English, and at most 0.3 % of those in English


class TrainedCrossEncoder(LoadedModel):
    """A trained cross-encoder ("Thinking Fast and Slow", arXiv 2103.16553).

    `encode_images` is done once an image; `score` and `scores` then cost milliseconds a pair. Made by
    `load_trained_cross_encoder(folder)`.
    """

    config: files.CrossConfig
    tokens_fit_bytes = True  # each is normalised, so that 8 bits with a scale of its own hold it

    def __init__(
        self,
        folder: Path,
        config: files.CrossConfig,
        *,
        device: str = "auto",
        precision: str = "auto",
        graphs: bool = True,
    ) -> None:
        if precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
        self.folder = folder
        self.config = config
        self.device = check_device(device)
        self._precision = precision
        on_gpu = device.startswith("cuda") and is_installed("torch")
        self._on_graphs = config.has_graphs and graphs and precision != "bfloat16" and not on_gpu
        if not self._on_graphs:
            need("torch", f"the cross-encoder {folder}, which {self._why_torch()},")
            from diptych.encoders.pytorch import choose_device

            choose_device(device)  # before anything is read

    def _why_torch(self) -> str:
        if self.config.has_graphs:
            return "is to run on PyTorch"
        return (
            f"was saved without ONNX graphs (diptych models export {quote(str(self.folder))} --out FOLDER makes them)"
        )

    @property
    def address(self) -> str:
        """What it is loaded by."""
        return shipped.NAME if self.is_shipped else str(self.folder)

    def sent(self) -> SentModel[CrossEncoder]:
        """The same as workers on other machines load it."""
        name = self.address if self.is_shipped else str(self.folder.resolve())
        return SentModel(_load_there, name, self.fingerprint, self)

    @property
    def is_shipped(self) -> bool:
        """Whether it is the one in the package, whose folder is only read."""
        return self.folder == shipped.FOLDER

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
        frames = self.config.image.preprocess.frames
        return math.prod(self.grid) * frames, self.config.network.width

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the regions of an image, or of a frame of a video."""
        return token_grid(self.config.image.maps[0], self.config.network.tokens)

    @cached_property
    def network(self) -> CrossNetwork:
        """The network in PyTorch, in evaluation mode: what teaches, and what is exported."""
        need("torch", "the network of a cross-encoder")
        from diptych.encoders.pytorch import choose_device

        from .saving import read_network

        return read_network(self._verified, self.config).to(choose_device(self.device))

    @cached_property
    def backend(self) -> Backend:
        """What computes the network."""
        if self._on_graphs:
            return OnnxBackend(self._verified, self.config.network.max_tokens, device=self.device)
        from diptych.encoders.half_precision import half_on

        from .torch_backend import TorchBackend

        device = self.network.empty_image_token.device
        half = half_on(str(device)).quicker if self._precision == "auto" else self._precision == "bfloat16"
        return TorchBackend(self.network, half=half)

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
        return Scorer(self.backend, self.words, self.config.scoring, captioner=self.config.is_captioner)

    def unread(self, text: str) -> str | None:
        """What to know about a query of which it knows few words, or reads only the beginning; else None."""
        (pieces,) = self.words.encode([text], len(text) + 1)
        unknown, most = pieces.count(vocabulary.UNKNOWN), self.config.network.max_tokens
        if unknown > _MOST_UNKNOWN * len(pieces):
            return (
                f"the cross-encoder {self.name!r} does not know {unknown} of the {len(pieces)} word pieces of the "
                "query, so re-ranking by it may do harm; it knows the languages that it was trained on"
            )
        cut, words = self.words.cut(text)
        if len(cut) > _MOST_CUT * words:
            some = ", ".join(cut[:3]) + (", ..." if cut[3:] else "")
            return (
                f"the cross-encoder {self.name!r} knows {words - len(cut)} of the {words} words of the query as words, "
                f"and the others only in pieces ({some}), so re-ranking by it may do harm; it knows the languages "
                "that it was trained on"
            )
        if len(pieces) > most:
            return f"the cross-encoder {self.name!r} reads {most} of the {len(pieces)} word pieces of the query"
        return None

    def encode_pixels(self, pixels: UInt8[np.ndarray, "b hh ww 3"]) -> Float16[np.ndarray, "b r w"]:
        """Region tokens of images already prepared by `preprocess`, in half precision as they are stored."""
        if len(pixels) == 0:
            return np.zeros((0, *self.token_shape), dtype=np.float16)
        return self.fuse(self.image_tower.embed(pixels))

    def fuse(self, features: Float[np.ndarray, "b f"]) -> Float16[np.ndarray, "b r w"]:
        """Region tokens from the tower's features."""
        return self.backend.fuse(features).astype(np.float16)

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
    folder: str | Path, *, device: str = "auto", precision: str = "auto", graphs: bool = True
) -> TrainedCrossEncoder:
    """Load a cross-encoder from its folder, or the one that ships by its name, "base".

    It runs its ONNX graphs on ONNX Runtime, without PyTorch. On PyTorch it runs where it has no graphs, on CUDA (a
    `device` of that name) where PyTorch is installed, with `graphs` False, as a teacher does, and where `precision`
    is bfloat16. `precision` of PyTorch: float32, bfloat16, or auto, which is bfloat16 where the processor has it.

    Raises ModelError for a folder that is not one, MissingExtraError where it needs PyTorch and there is none.
    """
    path = shipped.find(folder)
    return TrainedCrossEncoder(path, files.read_config(path), device=device, precision=precision, graphs=graphs)


def load_cross_encoder(spec: str | Path, *, device: str = "auto") -> CrossEncoder:
    """A cross-encoder of ours by its folder, the one that ships by "base", or a BLIP model by "blip:NAME_OR_FOLDER"."""
    text = str(spec)
    if text.startswith(BLIP):
        need("torch", "a BLIP cross-encoder")
        from .blip import BlipCrossEncoder

        return BlipCrossEncoder(text.removeprefix(BLIP), device=device)
    return load_trained_cross_encoder(spec, device=device)


def _load_there(name: str, *, threads: int | None, device: str) -> CrossEncoder:
    return load_cross_encoder(name, device=device)
