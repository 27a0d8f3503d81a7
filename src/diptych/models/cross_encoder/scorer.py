"""Scores of images and texts by a trained cross-encoder, batched so that nothing is computed twice.

Keys and values of an image are made once for all its texts; texts of similar length share a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Float, Float32, Int64

from .backend import Backend
from .settings import TEXT_TO_IMAGE, ScoringSettings, check_direction
from .vocabulary import Vocabulary, both_directions

_IMAGES_AT_ONCE = 64


class Scorer:
    """Scores images with texts.

    Args:
        backend: what computes the network.
        words: its vocabulary.
        scoring: how image -> text scores are corrected.
        captioner: whether it was trained by captioning; else its matching score is used.
    """

    def __init__(self, backend: Backend, words: Vocabulary, scoring: ScoringSettings, *, captioner: bool) -> None:
        self.backend = backend
        self.words = words
        self.scoring = scoring
        self._captioner = captioner

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
            read, wanted = (np.ascontiguousarray(one) for one in stacked)
            found[part] = self._scores(read, wanted, self.backend.keys_values(regions[part])).sum(1)
        return found if direction == TEXT_TO_IMAGE else self.corrected(found[:, None], texts)[:, 0]

    def prior(self, texts: Sequence[str]) -> Float32[np.ndarray, " m"]:
        """log p(text) without any image: the likelihood given the learnt empty one."""
        return self._raw(self.backend.empty(), texts)[:, 0]

    def _raw(self, regions: Float[np.ndarray, "n r w"], texts: Sequence[str]) -> Float32[np.ndarray, "m n"]:
        pieces = self._encode(texts)
        lengths = np.array([len(one) for one in pieces])
        found = np.zeros((len(texts), len(regions)), dtype=np.float32)
        order = np.argsort(lengths, kind="stable")
        for first in range(0, len(regions), _IMAGES_AT_ONCE):
            part = slice(first, first + _IMAGES_AT_ONCE)
            keys_values = self.backend.keys_values(regions[part])
            for rows in self._steps(order, lengths, len(regions[part])):
                inputs, targets = both_directions([pieces[row] for row in rows])
                shape = (len(regions[part]), *inputs.shape)
                sums = self._scores(np.broadcast_to(inputs, shape), np.broadcast_to(targets, shape), keys_values)
                found[rows, part] = sums.reshape(len(sums), 2, -1).sum(1).T
        return found

    def _steps(self, order: np.ndarray, lengths: np.ndarray, images: int) -> list[np.ndarray]:
        """Texts of similar length in steps of bounded size."""
        steps: list[list[int]] = [[]]
        for row in order:
            longest = lengths[row] + 1
            if steps[-1] and (len(steps[-1]) + 1) * 2 * longest * images > self.backend.words_at_once:
                steps.append([])
            steps[-1].append(int(row))
        return [np.array(step) for step in steps]

    def _scores(
        self, inputs: Int64[np.ndarray, "b s t"], targets: Int64[np.ndarray, "b s t"], keys_values: Any
    ) -> Float32[np.ndarray, "b s"]:
        """Of a captioner a sum over the words of log p, not a mean (section 3 of the paper); the end is a word."""
        if self._captioner:
            return np.asarray(self.backend.word_likelihoods(inputs, targets, keys_values).sum(-1))
        return self.backend.matching(inputs, keys_values)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return self.words.encode(texts, self.backend.max_tokens)
