"""Captions of a whole source, and what they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.protocols import SILENT, Progress
from diptych.core.types import Pair, Skipped
from diptych.evaluation import Positives, ranks_from_scores
from diptych.evaluation.captions import bleu4, cider
from diptych.evaluation.metrics import recall_at
from diptych.models.cross_encoder import TrainedCrossEncoder
from diptych.models.cross_encoder.captions import Caption, DecodingSettings, describe


@dataclass(frozen=True)
class Described:
    """The caption of one image of a record."""

    id: str  # of the record, which is only a label
    image: str  # where the image is
    caption: Caption


@dataclass(frozen=True)
class CaptionReport:
    """Captions of a source's images, in their order, and their scores."""

    captions: tuple[Described, ...]
    decoding: str
    bleu4: float
    cider: float
    retrieval: dict[str, float]  # R@k in percent: does the cross-encoder find the image by its own caption?
    gallery: int
    skipped: tuple[Skipped, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "captions": [{"id": one.id, "image": one.image, "text": one.caption.text} for one in self.captions],
            "decoding": self.decoding,
            "BLEU-4": round(self.bleu4, 2),
            "CIDEr": round(self.cider, 3),
            "retrieval by its own captions": self.retrieval,
            "gallery": self.gallery,
            "skipped": len(self.skipped),
        }


def check_captioner(cross_encoder: TrainedCrossEncoder) -> None:
    """Raise ConfigError for a cross-encoder that was never taught to write."""
    objective = cross_encoder.config.objective.name
    if objective != "captioning":
        raise ConfigError(
            f"the cross-encoder {cross_encoder.name!r} was trained by {objective!r}; only captioning can describe"
        )


def evaluate_captions(
    cross_encoder: TrainedCrossEncoder,
    pairs: Sequence[Pair],
    settings: DecodingSettings,
    *,
    gallery: int = 100,
    progress: Progress = SILENT,
) -> CaptionReport:
    """Describe every image of each pair and compare with the pair's texts.

    Retrieval is among the first `gallery` images: each one's caption is scored with all of them, and is to find
    an image of its pair.
    Raises DataError when no pair has both a readable image and a text.
    """
    check_captioner(cross_encoder)
    usable = [(place, ref) for place, pair in enumerate(pairs) if pair.texts for ref in pair.images]
    skipped: list[Skipped] = []
    kept, rows = [], []
    for place, ref in progress.track(usable, "images", total=len(usable)):
        before = len(skipped)
        tokens = cross_encoder.encode_images([ref], workers=1, skipped=skipped)
        if len(skipped) == before:
            kept.append((place, ref))
            rows.append(tokens)
    if not kept:
        raise DataError(f"found no pair with a readable image and a text among {len(pairs)}", Reason.NO_IMAGE)
    regions = np.concatenate(rows)
    captions = describe(cross_encoder.scorer, regions, settings)
    texts = [caption.text for caption in captions]
    references = [[text.value for text in pairs[place].texts] for place, _ in kept]
    count = min(gallery, len(kept))
    labels = np.array([place for place, _ in kept[:count]])
    ranks = ranks_from_scores(
        cross_encoder.scores(regions[:count], [text or "." for text in texts[:count]]),
        Positives.from_labels(labels, labels),
    )
    return CaptionReport(
        captions=tuple(
            Described(pairs[place].id, ref.name, caption) for (place, ref), caption in zip(kept, captions, strict=True)
        ),
        decoding=settings.name,
        bleu4=bleu4(texts, references),
        cider=cider(texts, references),
        retrieval={f"R@{k}": round(100 * float(recall_at(ranks, k).mean()), 2) for k in (1, 5, 10)},
        gallery=count,
        skipped=tuple(skipped),
    )
