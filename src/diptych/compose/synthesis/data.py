"""Pairs as a generator learns from them: pictures as bytes and text features, all memory-mapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from diptych.compose.synthesis.config import SynthesisConfig
from diptych.core.protocols import Progress, TextTower
from diptych.core.types import Pair
from diptych.data.features import FeaturePairs, collect
from diptych.encoders.image.pixel_tower import PixelTower
from diptych.synthesis.game import Batch
from diptych.synthesis.words import CachedTexts, TextArrays
from diptych.training.batches import BatchRows


@dataclass(frozen=True)
class PicturePairs:
    """Records with their pictures in the size that is generated, and texts as sentence and words."""

    pairs: FeaturePairs
    texts: CachedTexts
    size: int  # pixels

    @classmethod
    def collect(
        cls,
        config: SynthesisConfig,
        pairs: list[Pair],
        tower: TextTower,
        root: Path,
        views: tuple[str, ...],
        progress: Progress,
    ) -> PicturePairs:
        """Decode and embed everything once ever. Raises DataError when no pair is usable."""
        data = config.data
        found = collect(
            pairs,
            PixelTower(config.size),
            tower,
            root,
            view_names=views,
            langs=data.langs,
            fields=data.fields,
            workers=data.workers,
            progress=progress,
        )
        written = [text.value for text in found.written]
        texts = CachedTexts.collect(written, found.texts, tower, root, config.text.max_words, progress=progress)
        return cls(found, texts, config.size)

    def pictures(self, images: Int[np.ndarray, " b"], views: Int[np.ndarray, " b"] | None = None) -> Tensor:
        """Pictures (b, 3, s, s) in [-1, 1] by their row numbers; view 0 when left out."""
        bytes_ = np.empty((len(images), self.pairs.images[0].matrix.shape[1]), dtype=np.uint8)
        for view, stored in enumerate(self.pairs.images):
            here = views == view if views is not None else np.full(len(images), view == 0)
            if here.any():
                bytes_[here] = stored[images[here]]
        pixels = torch.from_numpy(bytes_).view(-1, self.size, self.size, 3)
        return (pixels.float() / 127.5 - 1).permute(0, 3, 1, 2)  # channels last in memory

    def batch(self, rows: BatchRows, device: torch.device) -> Batch:
        """What the networks see of these rows."""
        texts = self.texts[rows.text]
        content = self.pairs.texts.index[rows.text]  # equal texts share a row
        same = (rows.owner[:, None] == rows.owner) | (content[:, None] == content)
        return Batch(self.pictures(rows.image, rows.view).to(device), *as_tensors(texts, device), _tensor(same, device))

    def text_batch(self, texts: Int[np.ndarray, " b"], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Sentences, words and mask of texts by their row numbers."""
        return as_tensors(self.texts[texts], device)

    def first_texts(self, records: Int[np.ndarray, " r"]) -> Int[np.ndarray, " r"]:
        """Row number of the first text of each record."""
        return np.asarray(np.searchsorted(self.pairs.text_owner, records))

    def first_images(self, records: Int[np.ndarray, " r"]) -> Int[np.ndarray, " r"]:
        """Row number of the first picture of each record."""
        return np.asarray(np.searchsorted(self.pairs.image_owner, records))

    def spread(self, count: int) -> Int[np.ndarray, " r"]:
        """So many records (or all there are), spread over a source that may be sorted."""
        count = min(count, self.pairs.records)
        return np.linspace(0, self.pairs.records - 1, count).astype(np.int64)

    def written(self, texts: Sequence[int] | Int[np.ndarray, " b"]) -> list[str]:
        """Texts by their row numbers."""
        return [self.pairs.written[int(row)].value for row in texts]


def as_tensors(texts: TextArrays, device: torch.device) -> tuple[Float[Tensor, "b d"], Tensor, Tensor]:
    """Sentence, words and mask on a device."""
    return _tensor(texts.sentence, device), _tensor(texts.words, device), _tensor(texts.mask, device)


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
