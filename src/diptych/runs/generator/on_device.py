"""All pairs in the memory of a GPU: a batch is indexed there, always in the same shapes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diptych.core.shapes import Int
from diptych.data.features import CachedRows
from diptych.synthesis.adversarial_losses import AdversarialBatch
from diptych.training.batch_order import BatchRows

from .data import GeneratorPairs, as_images, of_one_record

_WIDENED = {torch.float16: torch.float32, torch.int32: torch.int64}


class _DeviceRows:
    """`CachedRows` on a device; only what is referred to is copied."""

    def __init__(self, rows: CachedRows, device: torch.device) -> None:
        used, place = np.unique(rows.index, return_inverse=True)
        self._matrix = torch.from_numpy(np.asarray(rows.matrix[used])).to(device)
        self._place = torch.from_numpy(place.astype(np.int64)).to(device)

    def __getitem__(self, which: Int[Tensor, "*n"]) -> Tensor:
        found = self._matrix[self._place[which]]
        return found.to(_WIDENED.get(found.dtype, found.dtype))


class DevicePairs:
    """The batches of `GeneratorPairs`, without a copy to the device for each: words are padded to the longest text.

    Args:
        pairs: what to hold, a few hundred MB for some ten thousand images of 64 pixels.
        device: where.
    """

    @staticmethod
    def size_of(pairs: GeneratorPairs) -> int:
        """Bytes that would be held, at most."""
        embedded = pairs.embedded.cached if pairs.embedded else ()
        rows = [*pairs.pairs.cached, *embedded, pairs.texts.sentences, pairs.texts.words]
        matrices = sum(min(len(each), len(each.matrix)) * each.matrix[:1].nbytes for each in rows)
        return matrices + pairs.texts.index.size * 8

    def __init__(self, pairs: GeneratorPairs, device: torch.device) -> None:
        self._device = device
        self._size, self._by_image = pairs.size, pairs.by_image
        self._pixels = [_DeviceRows(view, device) for view in pairs.pairs.cached]
        self._sentences = _DeviceRows(pairs.texts.sentences, device)
        self._content = torch.from_numpy(pairs.pairs.texts.index.astype(np.int64)).to(device)
        self._index = torch.from_numpy(pairs.texts.index.astype(np.int64)).to(device)
        self._words = _DeviceRows(pairs.texts.words, device) if self._index.shape[1] else None
        self._labels = None if pairs.labels is None else torch.from_numpy(pairs.labels).to(device)
        self._embedded = [_DeviceRows(view, device) for view in pairs.embedded.cached] if pairs.embedded else []

    def batch(self, rows: BatchRows) -> AdversarialBatch:
        """As `GeneratorPairs.batch`."""
        numbers = torch.from_numpy(np.stack([rows.image, rows.view, rows.text, rows.owner]).astype(np.int64))
        image, view, text, owner = numbers.to(self._device, non_blocking=True).unbind()
        sentence = self._sentences[text]
        embedding = _under(self._embedded, image, view) if self._embedded else None
        given = embedding if self._by_image and embedding is not None else sentence
        return AdversarialBatch(
            as_images(_under(self._pixels, image, view), self._size),
            given,
            *self._read(text, given),
            of_one_record(owner, self._content[text]),
            None if self._labels is None else self._labels[owner],
            embedding,
            None if embedding is None else sentence,
        )

    def _read(self, text: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Words and mask."""
        if self._words is None or self._by_image:
            return given.new_zeros(len(given), 1, given.shape[1]), given.new_ones(len(given), 1, dtype=torch.bool)
        index = self._index[text]
        mask = index >= 0
        words = self._words[index.clamp(min=0)]
        return words * mask[:, :, None], mask


def _under(views: list[_DeviceRows], image: Tensor, view: Tensor) -> Tensor:
    """Each image under the view that was drawn for it."""
    found = views[0][image]
    for number, stored in enumerate(views[1:], 1):
        found = torch.where((view == number)[:, None], stored[image], found)
    return found
