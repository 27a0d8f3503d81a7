"""Scores of images and texts by a trained network, batched so that nothing is computed twice.

Keys and values of an image are made once for all its texts; texts of similar length share a step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from diptych.core.errors import DataError
from diptych.core.shapes import Float, Float32

from .network import CrossNetwork
from .settings import TEXT_TO_IMAGE, ScoringSettings, check_direction
from .vocabulary import Vocabulary, both_directions

_WORDS_AT_ONCE = 16_384  # places of a step: bounds memory whatever the number of images and texts
_IMAGES_AT_ONCE = 64


class Scorer:
    """Runs a network without training it.

    Args:
        network: the network, in evaluation mode.
        words: its vocabulary.
        scoring: how image -> text scores are corrected.
        captioner: whether it was trained by captioning; else its matching score is used.
        half: compute in bfloat16 where that is quicker; the likelihoods themselves stay in float32.
    """

    def __init__(
        self, network: CrossNetwork, words: Vocabulary, scoring: ScoringSettings, *, captioner: bool, half: bool
    ) -> None:
        self.network = network
        self.words = words
        self.scoring = scoring
        self._captioner = captioner
        self._half = half

    @property
    def _device(self) -> torch.device:
        return self.network.empty_image_token.device

    def matrix(
        self, regions: Float[np.ndarray, "n r w"], texts: Sequence[str], direction: str = TEXT_TO_IMAGE
    ) -> Float32[np.ndarray, "m n"]:
        """Score of every text (row) with every image (column), as `direction` wants it."""
        check_direction(direction)
        raw = self._raw(regions, texts)
        return raw if direction == TEXT_TO_IMAGE else self.corrected(raw, texts)

    def corrected(self, h: Float[np.ndarray, "m n"], texts: Sequence[str]) -> Float32[np.ndarray, "m n"]:
        """Likelihoods of texts (rows) as image -> text scores: without the texts' own likelihood and length."""
        if not self._captioner:
            return np.asarray(h, dtype=np.float32)
        without_prior = h - self.scoring.prior * self.prior(texts)[:, None]
        return np.asarray(without_prior / self.lengths(texts)[:, None] ** self.scoring.length, dtype=np.float32)

    def lengths(self, texts: Sequence[str]) -> Float32[np.ndarray, " m"]:
        """Words of each text as the likelihood counts them: its pieces and the end."""
        return np.array([len(one) + 1 for one in self._encode(texts)], dtype=np.float32)

    def pairs(
        self, regions: Float[np.ndarray, "b r w"], texts: Sequence[str], direction: str = TEXT_TO_IMAGE
    ) -> Float32[np.ndarray, " b"]:
        """Score of image i with text i."""
        check_direction(direction)
        if len(regions) != len(texts):
            raise DataError(f"found {len(regions)} images and {len(texts)} texts; expected as many of each")
        found = np.zeros(len(texts), dtype=np.float32)
        pieces = self._encode(texts)
        order = np.argsort([len(one) for one in pieces], kind="stable")
        for start in range(0, len(order), _IMAGES_AT_ONCE):
            part = order[start : start + _IMAGES_AT_ONCE]
            inputs, targets = both_directions([pieces[i] for i in part])
            stacked = [one.reshape(2, len(part), -1).swapaxes(0, 1) for one in (inputs, targets)]
            with torch.inference_mode(), self._autocast():
                keys_values = self.network.keys_values(self._regions(regions[part]))
                read, wanted = (self._tensor(one) for one in stacked)
                found[part] = self._scores(read, wanted, keys_values).sum(1).cpu().numpy()
        return found if direction == TEXT_TO_IMAGE else self.corrected(found[:, None], texts)[:, 0]

    def prior(self, texts: Sequence[str]) -> Float32[np.ndarray, " m"]:
        """log p(text) without any image: the likelihood given the learnt empty one."""
        empty = self.network.empty().detach().cpu().numpy()
        return self._raw(empty, texts)[:, 0]

    def _raw(self, regions: Float[np.ndarray, "n r w"], texts: Sequence[str]) -> Float32[np.ndarray, "m n"]:
        pieces = self._encode(texts)
        lengths = np.array([len(one) for one in pieces])
        found = np.zeros((len(texts), len(regions)), dtype=np.float32)
        order = np.argsort(lengths, kind="stable")
        for first in range(0, len(regions), _IMAGES_AT_ONCE):
            part = slice(first, first + _IMAGES_AT_ONCE)
            with torch.inference_mode(), self._autocast():
                keys_values = self.network.keys_values(self._regions(regions[part]))
                for rows in self._steps(order, lengths, len(regions[part])):
                    inputs, targets = both_directions([pieces[row] for row in rows])
                    shape = (len(regions[part]), *inputs.shape)
                    sums = self._scores(
                        self._tensor(inputs).expand(shape), self._tensor(targets).expand(shape), keys_values
                    )
                    found[rows, part] = sums.reshape(len(sums), 2, -1).sum(1).T.cpu().numpy()
        return found

    def _steps(self, order: np.ndarray, lengths: np.ndarray, images: int) -> list[np.ndarray]:
        """Texts of similar length in steps of bounded size."""
        steps: list[list[int]] = [[]]
        for row in order:
            longest = lengths[row] + 1
            if steps[-1] and (len(steps[-1]) + 1) * 2 * longest * images > _WORDS_AT_ONCE:
                steps.append([])
            steps[-1].append(int(row))
        return [np.array(step) for step in steps]

    def _scores(self, inputs: Tensor, targets: Tensor, keys_values: list[tuple[Tensor, Tensor]]) -> Tensor:
        if self._captioner:
            return self.network.log_likelihood(inputs, targets, keys_values)
        return self.network.matching(inputs, keys_values)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return self.words.encode(texts, self.network.settings.max_tokens)

    def _regions(self, regions: Float[np.ndarray, "n r w"]) -> Tensor:
        return self._tensor(np.asarray(regions, dtype=np.float32))

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._half)
