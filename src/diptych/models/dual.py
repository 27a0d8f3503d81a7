"""The dual encoder: an image tower and a text tower with heads into one space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.core import fingerprint
from diptych.core.batched import batched
from diptych.core.checks import several
from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError, DataError, ModelError
from diptych.core.extras import need
from diptych.core.notes import Note, cut_note
from diptych.core.protocols import SILENT, ImageTower, Preprocess, Progress, TextTower
from diptych.core.registry import Part, build_saved
from diptych.core.shapes import Float, Float32, Shaped, UInt8
from diptych.core.similarity import is_like_cosine, similarity_of
from diptych.data.image_inputs import ImageInput
from diptych.data.spoken import SPOKEN
from diptych.encoders.none import NO_IMAGES, NONE
from diptych.encoders.onnx_session import start_session
from diptych.encoders.text.by_length import by_length
from diptych.encoders.text.features_and_tokens import named_fingerprint
from diptych.encoders.text.joined import JOINED
from diptych.encoders.text.onnx import OnnxTextTower
from diptych.encoders.text.tokens import read_tokens
from diptych.models import familiarity
from diptych.models import folder as files
from diptych.models.familiarity import Familiarity
from diptych.models.loaded import LoadedModel, require_fingerprint

if TYPE_CHECKING:
    from diptych.encoders.joint import JointModel
    from diptych.models.trainable import DualEncoderModule

_TEXT_BATCH = 256


class DualEncoder(LoadedModel):
    """Embeds images and texts into one space; each side loads when it is first asked for.

    Runs on ONNX Runtime and NumPy: no PyTorch unless a tower needs it. Made by `diptych.load("base")`,
    `diptych.load(folder)` or, of a pretrained joint model, `diptych.load("hf:google/siglip2-base-patch16-224")`.
    """

    config: files.ModelConfig

    def __init__(
        self,
        folder: Path,
        config: files.ModelConfig,
        *,
        threads: int | None = None,
        device: str = "auto",
        dims: int | None = None,
        joint: JointModel | None = None,
    ) -> None:
        self.folder = folder
        self.config = config
        self.joint = joint  # the pretrained model of another library that this is, whose folder is none of ours
        self._threads = threads
        self.device = device
        self._dims = dims

    def truncated(self, dims: int) -> DualEncoder:
        """The same model by the first `dims` dimensions of its embeddings, brought back to unit length.

        Made for models trained with the matryoshka loss, whose first dimensions are useful on their own;
        others lose more. Raises ConfigError for more dimensions than there are, or fewer than 1.
        """
        if not 1 <= dims <= self.config.dim:
            raise ConfigError(f"dims must be from 1 to {self.config.dim}, the model's width; found {dims}")
        return DualEncoder(
            self.folder, self.config, threads=self._threads, device=self.device, dims=dims, joint=self.joint
        )

    @property
    def address(self) -> str:
        """What loads this model later, from any folder: its full folder, or a joint model's pinned address."""
        return self.joint.address if self.joint else str(self.folder.resolve())

    @property
    def dim(self) -> int:
        """Width of the shared space."""
        return self._dims or self.config.dim

    @property
    def fingerprint(self) -> str:
        """Changes when weights, towers or preprocessing do, and with the dimensions that are kept."""
        if self._dims is None:
            return self.config.fingerprint
        return fingerprint.of_json([self.config.fingerprint, self._dims])

    @property
    def compares_by(self) -> str:
        """Name of the similarity that the model was trained for: "cosine", "l2" or "order"."""
        return self.config.similarity

    @property
    def cosine_scale(self) -> float | None:
        """What the model multiplies the cosine by (1 / temperature); None where it learnt none, or for no cosine."""
        return self.config.logit_scale if self.compares_by == "cosine" else None

    @property
    def preprocess(self) -> Preprocess:
        """How images must be prepared for `encode_pixels`; of no meaning for a model without an image side."""
        if self.config.image.preprocess is not None:
            return self.config.image.preprocess
        return self.image_tower.preprocess

    @property
    def hears_texts(self) -> bool:
        """Whether its texts are files of sound, by their names."""
        return self.config.text.tower == SPOKEN

    @property
    def languages(self) -> frozenset[str]:
        """Languages that the text tower was made for; empty means unknown."""
        return self.text_tower.languages

    @cached_property
    def familiarity(self) -> Familiarity | None:
        """How near images are to those of the training; None for a model that does not say, or a truncated one."""
        return None if self._dims is not None or self.joint else familiarity.read(self.folder)

    def unfamiliar(self, vectors: Float[np.ndarray, "n d"]) -> tuple[Note, ...]:
        """A note where embeddings of images are far from those of the training images, as a whole."""
        return () if self.familiarity is None else self.familiarity.notes(vectors, self.name)

    def cut_texts(self, texts: Sequence[str], what: str = "texts") -> tuple[Note, ...]:
        """A note where texts are longer than the model reads: the rest of each does not count. `what` they are."""
        return cut_note(texts, self.text_tower.count_tokens, self.text_tower.max_tokens, what)

    @cached_property
    def image_tower(self) -> ImageTower:
        """Pixels to features."""
        if self.joint:
            return self.joint.image
        return self._image_tower(self.config.image, f"{files.IMAGE_TOWER}.onnx", self._threads)

    @cached_property
    def text_tower(self) -> TextTower:
        """Texts to features."""
        if self.joint:
            return self.joint.text
        side = self.config.text
        if side.tower == files.BUNDLED:
            tokens = read_tokens(self._verified)
            if not files.has_graph(self.config, files.TEXT_TOWER):
                return tokens
            return OnnxTextTower(
                self._verified / f"{files.TEXT_TOWER}.onnx", tokens, threads=self._threads, device=self.device
            )
        part = Part(side.tower, side.options)
        if side.tower == JOINED and files.BUNDLED in (named := side.options["towers"]):
            part = Part(
                JOINED, {"towers": [read_tokens(self._verified) if each == files.BUNDLED else each for each in named]}
            )
        tower: TextTower = build_saved("text_tower", part, self.folder, device=self.device)
        require_fingerprint(side, named_fingerprint(tower))
        return tower

    @property
    def has_images(self) -> bool:
        """Whether it has an image side; a model that was trained on texts alone has none."""
        return self.config.image.tower != NONE

    @cached_property
    def image_head(self) -> Callable[[Any], Float32[np.ndarray, "b d"]]:
        """Image features to embeddings."""
        return self._head(files.IMAGE_HEAD)

    @cached_property
    def text_head(self) -> Callable[[Any], Float32[np.ndarray, "b d"]]:
        """Text features to embeddings."""
        return self._head(files.TEXT_HEAD)

    @cached_property
    def query_head(self) -> Callable[[Any], Float32[np.ndarray, "b d"]]:
        """Text features of queries to embeddings: the text head, unless queries have one of their own."""
        return self._head(files.QUERY_HEAD) if self.config.query else self.text_head

    def _head(self, name: str) -> Callable[[Any], Float32[np.ndarray, "b d"]]:
        sides = {files.IMAGE_HEAD: self.config.image, files.TEXT_HEAD: self.config.text}
        side = sides.get(name) or self.config.query or self.config.text
        if self.joint or (side.head.name == "identity" and not files.has_graph(self.config, name)):
            return normalise
        device = self.device if side.network else "cpu"  # a head alone is done before a device has its input
        return OnnxHead(self._verified / f"{name}.onnx", self._threads, device)

    def encode_pixels(self, pixels: UInt8[np.ndarray, "b hh ww 3"]) -> Float32[np.ndarray, "b d"]:
        """Embeddings, L2-normalised, of RGB images already prepared by `preprocess`.

        Raises ModelError for a model without an image side.
        """
        if not self.has_images:
            raise ModelError(NO_IMAGES)
        if len(pixels) == 0:
            return np.zeros((0, self.dim), dtype=np.float32)
        return self._kept(self.image_head(self.image_tower.embed(pixels)))

    def reading(self, images: Sequence[ImageInput]) -> tuple[Preprocess, Callable[[Any], Float32[np.ndarray, "b d"]]]:
        """How these images are prepared, and what encodes them then.

        Where videos are among them, and the model reads one image at a time: the mean of several frames' vectors, of
        unit length again, as `index --videos` does.
        """
        from diptych.data.images import is_video  # a search by words decodes no image

        return reading(self, has_videos=any(map(is_video, images)))

    def encode_texts(self, texts: str | Sequence[str], *, progress: Progress = SILENT) -> Float32[np.ndarray, "n d"]:
        """Embeddings, L2-normalised, of one text or several."""
        return self._encoded(texts, self.text_head, progress)

    def encode_queries(self, texts: str | Sequence[str], *, progress: Progress = SILENT) -> Float32[np.ndarray, "n d"]:
        """Embeddings, L2-normalised, of texts that ask for others.

        The same as `encode_texts`, unless the model was trained with a side of their own for queries.
        """
        return self._encoded(texts, self.query_head, progress)

    def _encoded(
        self, texts: str | Sequence[str], head: Callable[[Any], Float32[np.ndarray, "b d"]], progress: Progress
    ) -> Float32[np.ndarray, "n d"]:
        all_texts = several(texts, str, "a text, or a list of texts")
        rows = [np.zeros((0, self.dim), dtype=np.float32)]
        chunks = batched(all_texts, _TEXT_BATCH)
        for chunk in progress.track(chunks, "batches of texts", total=-(-len(all_texts) // _TEXT_BATCH)):
            rows.append(self._kept(head(self.text_tower.embed(chunk))))
        return np.concatenate(rows)

    def _kept(self, rows: Float32[np.ndarray, "n full"]) -> Float32[np.ndarray, "n d"]:
        return rows if self._dims is None else normalise(rows[:, : self._dims])

    def torch(self) -> DualEncoderModule:
        """The two sides as an `nn.Module`, whose parameters can be trained further. Needs PyTorch.

        module = model.torch()
        loss(module.encode_image(module.image_inputs(files)), module.encode_text(module.text_inputs(texts)))
        """
        need("torch", "DualEncoder.torch")
        from diptych.models.trainable import DualEncoderModule

        return DualEncoderModule(self)

    def similarity(
        self,
        left: Float[np.ndarray, "n d"] | None = None,
        right: Float[np.ndarray, "m d"] | None = None,
        *,
        images: Float[np.ndarray, "n d"] | None = None,
        texts: Float[np.ndarray, "m d"] | None = None,
    ) -> Float32[np.ndarray, "n m"]:
        """What the model was trained to compare by; higher is nearer.

        Either `images=` and `texts=` by name, which every model takes: a row for each image, a column for each text.
        Or two arrays of any kind in any order, where the model compares by the cosine (in [-1, 1]) or by l2 (minus the
        distance, in [-2, 0]), which are the same both ways. The order similarity is not: it must be told which are the
        images.

        Raises ConfigError for unnamed arrays where the model compares by another similarity, or for anything but two
        arrays; DataError for one that is no matrix of this model's width.
        """
        named = images is not None or texts is not None
        one, other = (images, texts) if named else (left, right)
        if one is None or other is None or (named and (left is not None or right is not None)):
            raise ConfigError("similarity takes images= and texts=, both by name, or two arrays without names")
        same_both_ways = is_like_cosine(self.compares_by)
        if not named and not same_both_ways:
            raise ConfigError(
                f"the model {self.name!r} compares by {self.compares_by}, which is another number when images and "
                "texts change places; name them: similarity(images=..., texts=...)"
            )
        for side in (one, other):
            if np.ndim(side) != 2 or np.shape(side)[1] != self.dim:
                raise DataError(f"expected embeddings of shape (n, {self.dim}), found {np.shape(side)}")
        if same_both_ways:
            one, other = normalise(one), normalise(other)
        found: Float32[np.ndarray, "n m"] = similarity_of(self.compares_by)(one, other)
        return found

    def probability(
        self, images: Float[np.ndarray, "n d"], texts: Float[np.ndarray, "m d"]
    ) -> Float32[np.ndarray, "n m"]:
        """Probability that image and text belong together, by the model's own temperature.

        With a bias (SigLIP), each pair's own: sigmoid(scale * cosine + bias). Without one (CLIP), which of the `texts`
        belongs to an image: the softmax of scale * cosine over them, so a row adds up to 1.

        Raises ConfigError for a model that keeps no temperature.
        """
        scale = self.config.logit_scale
        if scale is None:
            raise ConfigError(f"the model {self.name!r} keeps no temperature, so its scores are no probabilities")
        similarity = self.similarity(images=images, texts=texts)
        if self.config.logit_bias is not None:
            return self.pair_probability(similarity)
        logits = np.float64(scale) * similarity.astype(np.float64)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)

    @property
    def judges_pairs(self) -> bool:
        """Whether the model itself says how likely one image and one text belong together: it has a bias (SigLIP).

        Not when it is truncated: its temperature and bias are of whole embeddings.
        """
        return self.config.logit_scale is not None and self.config.logit_bias is not None and self._dims is None

    def pair_probability(self, similarity: Float[np.ndarray, "*pairs"]) -> Float32[np.ndarray, "*pairs"]:
        """sigmoid(scale * similarity + bias) of each image with a text: the model's own probability of that pair.

        Raises ConfigError for a model without a temperature and a bias.
        """
        scale, bias = self.config.logit_scale, self.config.logit_bias
        if scale is None or bias is None:
            raise ConfigError(f"the model {self.name!r} has no temperature and bias of its own, so it judges no pair")
        logits = np.float64(scale) * np.asarray(similarity, dtype=np.float64) + bias
        return np.asarray(1 / (1 + np.exp(-np.clip(logits, -700, 700))), dtype=np.float32)

    def __repr__(self) -> str:
        return f"DualEncoder({self.name!r}, dim={self.dim}, fingerprint={self.fingerprint[:8]})"


class OnnxHead:
    """Features (or token ids, or pixels) in, L2-normalised embeddings out; the session is made at the first call."""

    def __init__(self, path: Path, threads: int | None = None, device: str = "cpu") -> None:
        self.path = path
        self._threads, self._device = threads, device

    @cached_property
    def _session(self) -> Any:
        return start_session(self.path, threads=self._threads, device=self._device)

    @cached_property
    def _input_type(self) -> type[np.generic]:
        return np.int64 if self._session.get_inputs()[0].type == "tensor(int64)" else np.float32

    @cached_property
    def _any_length(self) -> bool:
        """Whether rows of token ids may end before their padding."""
        return not isinstance(self._session.get_inputs()[0].shape[1], int)

    def __call__(self, features: Shaped[np.ndarray, "b f"]) -> Float32[np.ndarray, "b d"]:
        """Embeddings of unit length."""
        if not self._any_length or not len(features):
            return self._run(features)
        found: Any = None
        for chosen, rows in by_length(features):
            embedded = self._run(rows)
            if found is None:
                found = np.empty((len(features), embedded.shape[1]), dtype=np.float32)
            found[chosen] = embedded
        return np.asarray(found)

    def _run(self, features: Shaped[np.ndarray, "b f"]) -> Float32[np.ndarray, "b d"]:
        (embedding,) = self._session.run(None, {"features": np.ascontiguousarray(features, dtype=self._input_type)})
        return np.asarray(embedding, dtype=np.float32)


def require_cosine(model: Any, what: str) -> None:
    """Raise ConfigError for a model that compares by what gives another order, where `what` ranks by the cosine."""
    compares_by = getattr(model, "compares_by", "cosine")
    if not is_like_cosine(compares_by):
        raise ConfigError(
            f"the model {model.name!r} was trained to compare by {compares_by}, and {what} ranks by the cosine; "
            "choose a model that was trained by the cosine"
        )


def reading(model: DualEncoder, *, has_videos: bool) -> tuple[Preprocess, Callable[[Any], Float32[np.ndarray, "b d"]]]:
    """`DualEncoder.reading` of images among which there are videos, or none."""
    if not has_videos:
        return model.preprocess, model.encode_pixels
    from diptych.encoders.video import MeanPooledVideo

    pooled = MeanPooledVideo(model.encode_pixels, model.preprocess)
    return pooled.preprocess, pooled.encode_pixels
