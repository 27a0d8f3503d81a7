"""Pairs as a generator learns from them: images as bytes and text features, all memory-mapped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diptych.core.protocols import ImageTower, Progress, TextTower
from diptych.core.shapes import Float, Int, UInt8
from diptych.core.types import Pair
from diptych.data.features import FeaturePairs, collect
from diptych.encoders.image.pixel_tower import PixelTower
from diptych.synthesis.adversarial_losses import AdversarialBatch
from diptych.synthesis.conditions import EncoderImages, EncoderTexts
from diptych.synthesis.words import CachedTexts, TextArrays, without_words
from diptych.training.batch_order import BatchRows
from diptych.training.two_sides import class_numbers, images_under_views

from .config import GeneratorConfig


@dataclass(frozen=True)
class GeneratorPairs:
    """Records with their images in the size that is generated, and texts as sentence and words."""

    pairs: FeaturePairs
    texts: CachedTexts
    size: int  # pixels
    embedded: FeaturePairs | None = None  # the same records in the space of a dual encoder
    by_image: bool = False  # the generator is given the embedding of the image, not of the text

    @classmethod
    def collect(
        cls,
        config: GeneratorConfig,
        pairs: list[Pair],
        tower: TextTower,
        root: Path,
        views: tuple[str, ...],
        progress: Progress,
    ) -> GeneratorPairs:
        """Decode and embed everything once ever. Raises DataError when no pair is usable."""

        def collected(image_tower: ImageTower) -> FeaturePairs:
            return collect(pairs, image_tower, tower, root, config.data.selection(views), progress=progress)

        found = collected(PixelTower(config.size))
        texts = CachedTexts.collect(
            found.captions, found.text_features, tower, root, config.max_words, way=config.text.words, progress=progress
        )
        embedded = collected(EncoderImages(tower.encoder)) if isinstance(tower, EncoderTexts) else None
        return cls(found, texts, config.size, embedded, config.condition == "image")

    def batch(self, rows: BatchRows, device: torch.device) -> AdversarialBatch:
        """What the networks see of these rows."""
        texts = self.texts[rows.text]
        content = self.pairs.texts.index[rows.text]  # equal texts share a row
        same = of_one_record(rows.owner, content)
        image = None if self.embedded is None else images_under_views(self.embedded, rows.image, rows.view)
        given = without_words(image) if self.by_image and image is not None else texts
        return AdversarialBatch(
            self._pixels(images_under_views(self.pairs, rows.image, rows.view)).to(device),
            *as_tensors(given, device),
            _tensor(same, device),
            None if self.labels is None else _tensor(self.labels[rows.owner], device),
            None if image is None else _tensor(image, device),
            None if image is None else _tensor(texts.sentence, device),
        )

    @cached_property
    def labels(self) -> Int[np.ndarray, " r"] | None:
        """Class of each record by number, -1 is none; None when no record has one."""
        return class_numbers(self.pairs.groups)

    @property
    def classes(self) -> int:
        """How many classes the records have."""
        return 0 if self.labels is None else int(self.labels.max()) + 1

    def images(self, records: Int[np.ndarray, " r"]) -> Float[Tensor, "r 3 s s"]:
        """The first image of each record, in [-1, 1]."""
        return self._pixels(self.pairs.images[0][self._first_images(records)])

    def given(self, records: Int[np.ndarray, " r"], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """What the generator is given for each record: sentences, words and mask of its first text (or image)."""
        if self.by_image and self.embedded is not None:
            return as_tensors(without_words(self.embedded.images[0][self._first_images(records)]), device)
        return as_tensors(self.texts[self.first_texts(records)], device)

    def conditions(self, count: int, seed: int) -> Float[Tensor, "n d"]:
        """A sample of the vectors that generators of these pairs are given."""
        rows = self.embedded.images[0] if self.by_image and self.embedded is not None else self.pairs.texts
        sample = np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])
        return torch.from_numpy(np.asarray(rows[sample], dtype=np.float32))

    def first_texts(self, records: Int[np.ndarray, " r"]) -> Int[np.ndarray, " r"]:
        """Row number of the first text of each record."""
        return np.asarray(np.searchsorted(self.pairs.text_owner, records))

    def _first_images(self, records: Int[np.ndarray, " r"]) -> Int[np.ndarray, " r"]:
        return np.asarray(np.searchsorted(self.pairs.image_owner, records))

    def _pixels(self, rows: UInt8[np.ndarray, "b f"]) -> Float[Tensor, "b 3 s s"]:
        return as_images(torch.from_numpy(rows), self.size)

    def spread(self, count: int) -> Int[np.ndarray, " r"]:
        """At most `count` records at even distances, since a source may be sorted."""
        count = min(count, self.pairs.records)
        return np.linspace(0, self.pairs.records - 1, count).astype(np.int64)

    def written(self, records: Int[np.ndarray, " r"]) -> list[str]:
        """The first text of each record."""
        return [self.pairs.captions[int(row)] for row in self.first_texts(records)]


def as_images(rows: UInt8[Tensor, "b f"], size: int) -> Float[Tensor, "b 3 s s"]:
    """Bytes of images to colours in [-1, 1]."""
    return (rows.view(-1, size, size, 3).float() / 127.5 - 1).permute(0, 3, 1, 2)  # channels last in memory


def of_one_record(owner: Any, content: Any) -> Any:
    """Which rows are of one record, or have equal texts: arrays or tensors (b) -> (b, b)."""
    return (owner[:, None] == owner) | (content[:, None] == content)


def as_tensors(texts: TextArrays, device: torch.device) -> tuple[Float[Tensor, "b d"], Tensor, Tensor]:
    """Sentence, words and mask on a device."""
    return _tensor(texts.sentence, device), _tensor(texts.words, device), _tensor(texts.mask, device)


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
