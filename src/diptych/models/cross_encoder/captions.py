"""Captions: a cross-encoder that was trained by captioning writes the text of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.core.checks import at_least
from diptych.core.config import unknown
from diptych.core.errors import ConfigError
from diptych.core.shapes import Float, Float32, Int64

from .backend import Backend
from .scorer import Scorer
from .vocabulary import BACKWARD, END, FORWARD, PAD, UNKNOWN

DECODINGS = ("greedy", "beam", "nucleus")
_NEVER = (PAD, UNKNOWN, FORWARD, BACKWARD)
_IMAGES_AT_ONCE = 16


@dataclass(frozen=True)
class DecodingSettings:
    """How words are chosen."""

    name: str = "beam"
    beams: int = 5  # beam
    length: float = 0.7  # beam: log-likelihood / words ** length
    top: float = 0.9  # nucleus: the likeliest words that hold so much of the probability
    temperature: float = 1.0  # nucleus
    most: int = 24  # words (pieces)
    seed: int = 0  # nucleus

    def __post_init__(self) -> None:
        if self.name not in DECODINGS:
            raise unknown("decoding", self.name, DECODINGS)
        at_least("beams", self.beams, 1)
        at_least("most", self.most, 1)
        if not (0 < self.top <= 1 and self.temperature > 0):
            raise ConfigError(f"top must be in (0, 1] and temperature above 0, found {self.top} and {self.temperature}")


@dataclass(frozen=True)
class Caption:
    """A text and how likely it is, read forwards: the sum of log p over its words and the end."""

    text: str
    log_likelihood: float


def describe(scorer: Scorer, regions: Float[np.ndarray, "n r w"], settings: DecodingSettings) -> list[Caption]:
    """One caption for each image, from its region tokens.

    greedy: always the likeliest word. beam: the best of several sentences that are extended in parallel, with a slight
    preference for longer ones. nucleus: drawn at random among the likely words, so that seeds differ.
    """
    backend = scorer.backend
    most = min(settings.most, backend.max_tokens)
    random = np.random.default_rng(settings.seed)
    found: list[Caption] = []
    for start in range(0, len(regions), _IMAGES_AT_ONCE):
        part = regions[start : start + _IMAGES_AT_ONCE]
        keys_values = backend.keys_values(part)
        if settings.name == "nucleus":
            pieces, sums = _drawn(backend, keys_values, len(part), settings, most, random)
        else:
            beams = settings.beams if settings.name == "beam" else 1
            pieces, sums = _beam(backend, keys_values, len(part), beams, settings.length, most)
        found += [Caption(scorer.words.decode(row), total) for row, total in zip(pieces, sums, strict=True)]
    return found


def _next_words(backend: Backend, so_far: list[list[list[int]]], keys_values: Any) -> Float32[np.ndarray, "b s v"]:
    """log p of the next word of each sequence; tokens that no text holds are masked."""
    found = np.array(backend.next_words(np.array(so_far, dtype=np.int64), keys_values))
    found[..., list(_NEVER)] = -np.inf
    return found


def _beam(
    backend: Backend, keys_values: Any, count: int, beams: int, length: float, most: int
) -> tuple[list[list[int]], list[float]]:
    so_far = [[[FORWARD]] * beams] * count
    sums = np.full((count, beams), -np.inf, dtype=np.float32)
    sums[:, 0] = 0.0  # all beams are equal at first, so only one of them is extended
    best: list[tuple[float, float, list[int]]] = [(-float("inf"), -float("inf"), [])] * count
    for step in range(1, most + 1):
        words = sums[..., None] + _next_words(backend, so_far, keys_values)
        if step == most:  # the last word must be the end
            words[..., :END] = words[..., END + 1 :] = -np.inf
        size = words.shape[-1]
        flat = words.reshape(count, -1)
        place = _largest(flat, min(2 * beams, flat.shape[1]))
        top = np.take_along_axis(flat, place, 1)
        kept, kept_sums = [], []
        for image in range(count):
            grown, grown_sums = [], []
            for total, at in zip(top[image].tolist(), place[image].tolist(), strict=True):
                beam, word = divmod(at, size)
                row = [*so_far[image][beam], word]
                if word != END:
                    grown.append(row)
                    grown_sums.append(total)
                elif total / step**length > best[image][0]:
                    best[image] = (total / step**length, total, row[1:-1])
            while len(grown) < beams:  # every likely word was the end
                grown.append([*so_far[image][0], UNKNOWN])
                grown_sums.append(-float("inf"))
            kept.append(grown[:beams])
            kept_sums.append(grown_sums[:beams])
        so_far, sums = kept, np.array(kept_sums, dtype=np.float32)
        worst = np.array([one[0] for one in best])
        if (sums.max(1) / most**length < worst).all():
            break
    return [one[2] for one in best], [one[1] for one in best]


def _largest(rows: Float32[np.ndarray, "n m"], count: int) -> Int64[np.ndarray, "n c"]:
    """Places of the largest numbers of each row, in their order."""
    some = np.sort(np.argpartition(-rows, count - 1, axis=1)[:, :count], axis=1)
    order = np.argsort(-np.take_along_axis(rows, some, 1), axis=1, kind="stable")
    return np.take_along_axis(some, order, 1)


def _drawn(
    backend: Backend,
    keys_values: Any,
    count: int,
    settings: DecodingSettings,
    most: int,
    random: np.random.Generator,
) -> tuple[list[list[int]], list[float]]:
    so_far: list[list[int]] = [[FORWARD] for _ in range(count)]
    sums = np.zeros(count)
    ended = np.zeros(count, dtype=bool)
    for step in range(1, most + 1):
        words = _next_words(backend, [[row] for row in so_far], keys_values)[:, 0].astype(np.float64)
        odds = np.exp((words - words.max(1, keepdims=True)) / settings.temperature)
        chosen = nucleus(odds / odds.sum(1, keepdims=True), settings.top).cumsum(1)
        word = (chosen > random.random((count, 1)) * chosen[:, -1:]).argmax(1)
        word[ended | (step == most)] = END
        sums += np.where(ended, 0.0, words[np.arange(count), word])
        ended |= word == END
        so_far = [[*row, int(one)] for row, one in zip(so_far, word, strict=True)]
        if ended.all():
            break
    return [row[1 : row.index(END)] for row in so_far], sums.tolist()


def nucleus(odds: Float[np.ndarray, "n v"], top: float) -> Float[np.ndarray, "n v"]:
    """The likeliest words whose probability adds up to `top` (at least one), the others at zero."""
    place = np.argsort(-odds, axis=1, kind="stable")
    ordered = np.take_along_axis(odds, place, 1)
    before = ordered.cumsum(1) - ordered
    found = np.zeros_like(odds)
    np.put_along_axis(found, place, np.where(before < top, ordered, 0.0), 1)
    return found
