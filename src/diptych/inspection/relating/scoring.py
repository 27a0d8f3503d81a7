"""The scores of pairs: the similarity of a dual encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from shlex import quote
from typing import Any, Protocol, runtime_checkable

import numpy as np

from diptych.core import fingerprint
from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError
from diptych.core.notes import Note
from diptych.core.protocols import SILENT, Progress
from diptych.core.shapes import Float32, Int64
from diptych.core.similarity import is_like_cosine, similarity_of
from diptych.core.types import Skipped
from diptych.data.images import ImageInput, stream
from diptych.data.pair_list import IMAGE_TEXT, KINDS, TEXT_TEXT, Asked, Kind
from diptych.evaluation.calibrations import Calibrations, calibrations_of, uncalibrated
from diptych.models import DualEncoder, lasting_name

from .judges import Judge


@runtime_checkable
class PairScorer(Protocol):
    """Gives each pair its scores; higher is nearer."""

    name: str  # of the model
    fingerprint: str
    measures: tuple[str, ...]  # what each score is: ("cosine",)
    own: Judge | None  # the model's own probability, where it has one, of
    own_kind: Kind  # these pairs
    kinds: tuple[Kind, ...]  # of pairs that it can score
    models: list[Any]  # those behind it that may know what they were trained on

    def comes_with(self) -> Calibrations | None:
        """The calibrations that the model comes with."""
        ...

    def missing(self, kind: Kind) -> str:
        """Why there is no probability for a kind, and how to get one."""
        ...

    def cut_texts(self, texts: Sequence[str]) -> tuple[Note, ...]:
        """A note on texts that are longer than the model reads."""
        ...

    def scores(
        self, pairs: Sequence[Asked], skipped: list[Skipped] | None = None, *, progress: Progress = SILENT
    ) -> tuple[Int64[np.ndarray, " k"], Float32[np.ndarray, "k f"]]:
        """The places of the pairs that can be read, and their scores; the others are named in `skipped`.

        Without `skipped` the first image that cannot be read raises DataError.
        """
        ...


class DualScorer:
    """The similarity of a dual encoder: one score."""

    def __init__(self, model: DualEncoder) -> None:
        self.model, self.name, self.fingerprint = model, model.name, model.fingerprint
        self.models: list[Any] = [model]
        self.kinds = KINDS if is_like_cosine(model.compares_by) else (IMAGE_TEXT,)
        self.measures: tuple[str, ...] = (model.compares_by,)
        self.own: Judge | None = None
        self.own_kind: Kind = IMAGE_TEXT if model.has_images else TEXT_TEXT
        if model.judges_pairs:
            self.own = Judge(f"the own probability of {model.name} (its sigmoid)", own=model.pair_probability)

    def check(self, kinds: Sequence[Kind]) -> None:
        """Raise ConfigError for two of a kind where the similarity has an order of sides."""
        if any(kind not in self.kinds for kind in kinds):
            raise ConfigError(
                f"the model {self.name!r} compares an image with a text by {self.model.compares_by}, which says "
                "nothing about two of a kind; give an image and a text, or another model"
            )

    def comes_with(self) -> Calibrations | None:
        """As `PairScorer.comes_with`: relate.json in the model's folder."""
        return calibrations_of(self.model)

    def missing(self, kind: Kind) -> str:
        """As `PairScorer.missing`."""
        return uncalibrated(f"{kind} pairs and {self.name}", f"--model {quote(lasting_name(self.model))}")

    def cut_texts(self, texts: Sequence[str]) -> tuple[Note, ...]:
        """As `PairScorer.cut_texts`."""
        return self.model.cut_texts(texts)

    def scores(
        self, pairs: Sequence[Asked], skipped: list[Skipped] | None = None, *, progress: Progress = SILENT
    ) -> tuple[Int64[np.ndarray, " k"], Float32[np.ndarray, "k f"]]:
        """As `PairScorer.scores`. Raises ConfigError as `check`."""
        self.check([pair.kind for pair in pairs])
        read = _embedded(self.model, pairs, skipped, progress)
        there = np.array([place for place, both in enumerate(read) if both is not None], dtype=np.int64)
        left, right = (
            np.array([both[side] for both in read if both is not None], dtype=np.float32).reshape(-1, self.model.dim)
            for side in (0, 1)
        )
        return there, self.similarity(left, right)[:, None]

    def similarity(
        self, left: Float32[np.ndarray, "k d"], right: Float32[np.ndarray, "k d"]
    ) -> Float32[np.ndarray, " k"]:
        """Of row i with row i, images or the first of two of a kind on the left."""
        left, right = normalise(left).astype(np.float32), normalise(right).astype(np.float32)
        if self.model.compares_by == "cosine":
            return np.asarray(np.einsum("kd,kd->k", left, right), dtype=np.float32)
        similarity = similarity_of(self.model.compares_by)
        found = [similarity(one[None], other[None])[0, 0] for one, other in zip(left, right, strict=True)]
        return np.array(found, dtype=np.float32)


class BesideDual:
    """What the scorers of a cross-encoder and a dual encoder have in common: two scores, of one kind of pairs.

    Args:
        model: the dual encoder.
        cross_encoder: has a name and a fingerprint.
        measure: what its score is.
        kind: the pairs that it scores.
    """

    def __init__(self, model: DualEncoder, cross_encoder: Any, measure: str, kind: Kind) -> None:
        self.dual = DualScorer(model)
        self.name = f"{cross_encoder.name} with {model.name}"
        self.fingerprint = fingerprint.combined([model.fingerprint, cross_encoder.fingerprint])
        self.measures: tuple[str, ...] = (measure, *self.dual.measures)
        self.kinds: tuple[Kind, ...] = (kind,)
        self.own: Judge | None = None
        self.own_kind: Kind = kind

    def cut_texts(self, texts: Sequence[str]) -> tuple[Note, ...]:
        """As `PairScorer.cut_texts`."""
        return self.dual.cut_texts(texts)


def _embedded(
    model: DualEncoder, pairs: Sequence[Asked], skipped: list[Skipped] | None, progress: Progress
) -> list[tuple[Any, Any] | None]:
    """Both vectors of each pair, every image and text embedded once; None for a pair whose image cannot be read.

    The first of two texts asks for the other, where the model has a side for queries.
    """
    images: dict[Any, ImageInput] = {}
    texts: dict[bool, dict[str, None]] = {False: {}, True: {}}  # whether they ask

    def key_of(pair: Asked, place: int) -> Any:
        side, is_image = pair.sides[place]
        if is_image:
            return _key(side)
        return model.config.query is not None and place == 0 and pair.kind == TEXT_TEXT, side

    for pair in pairs:
        for place, (side, is_image) in enumerate(pair.sides):
            if is_image:
                images.setdefault(_key(side), side)
            else:
                texts[key_of(pair, place)[0]].setdefault(str(side))
    vectors: dict[Any, Any] = {}
    problems: dict[Any, Skipped] = {}
    names = list(images)
    batches = stream(list(images.values()), model.preprocess) if images else iter(())
    for batch in progress.track(batches, "batches of images", -(-len(images) // 32)):
        problems |= {names[place]: problem for place, problem in batch.skipped}
        if batch.indices:
            vectors |= zip([names[place] for place in batch.indices], model.encode_pixels(batch.pixels), strict=True)
    for asks, some in texts.items():
        encode = model.encode_queries if asks else model.encode_texts
        if some:
            vectors |= zip([(asks, text) for text in some], encode(list(some), progress=progress), strict=True)
    found: list[tuple[Any, Any] | None] = []
    for pair in pairs:
        keys = [key_of(pair, place) for place in (0, 1)]
        problem = next((problems[key] for key in keys if key in problems), None)
        if problem is not None:
            left_out(pair, problem, skipped)
        found.append(None if problem is not None else (vectors[keys[0]], vectors[keys[1]]))
    return found


def left_out(pair: Asked, problem: Skipped, skipped: list[Skipped] | None) -> None:
    """Name a pair whose image cannot be read, by where it is in its list; without `skipped` raise DataError."""
    if skipped is None:
        raise problem.error()
    detail = problem.detail if problem.name in problem.detail else f"{problem.name}: {problem.detail}".rstrip(": ")
    skipped.append(replace(problem, name=pair.where or problem.name, detail=detail))


def _key(image: ImageInput) -> tuple[str, Any]:
    """Equal for images that are known to be the same one; never equal to a text."""
    try:
        hash(image)
    except TypeError:
        return "object", id(image)
    return "image", image
