"""Captions: a cross-encoder that was trained by captioning writes the text of an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diptych.core.checks import at_least
from diptych.core.config import unknown
from diptych.core.errors import ConfigError
from diptych.core.shapes import Float

from .network import CrossNetwork
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
    network = scorer.network
    most = min(settings.most, network.settings.max_tokens)
    random = torch.Generator().manual_seed(settings.seed)
    found: list[Caption] = []
    for start in range(0, len(regions), _IMAGES_AT_ONCE):
        part = torch.from_numpy(np.asarray(regions[start : start + _IMAGES_AT_ONCE], dtype=np.float32))
        with torch.inference_mode():
            keys_values = network.keys_values(part.to(network.empty_image_token.device))
            if settings.name == "nucleus":
                pieces, sums = _drawn(network, keys_values, settings, most, random)
            else:
                beams = settings.beams if settings.name == "beam" else 1
                pieces, sums = _beam(network, keys_values, beams, settings.length, most)
        found += [Caption(scorer.words.decode(row), total) for row, total in zip(pieces, sums, strict=True)]
    return found


def _next_words(network: CrossNetwork, so_far: Tensor, keys_values: list[tuple[Tensor, Tensor]]) -> Tensor:
    """log p of the next word of each sequence, (b, s, v); tokens that no text holds are masked."""
    found = network.next_words(so_far, keys_values)
    found[..., list(_NEVER)] = -torch.inf
    return found


def _beam(
    network: CrossNetwork, keys_values: list[tuple[Tensor, Tensor]], beams: int, length: float, most: int
) -> tuple[list[list[int]], list[float]]:
    count = len(keys_values[0][0])
    device = keys_values[0][0].device
    so_far = torch.full((count, beams, 1), FORWARD, device=device)
    sums = torch.full((count, beams), -torch.inf, device=device)
    sums[:, 0] = 0.0  # all beams are equal at first, so only one of them is extended
    best: list[tuple[float, float, list[int]]] = [(-float("inf"), -float("inf"), [])] * count
    for step in range(1, most + 1):
        words = sums[..., None] + _next_words(network, so_far, keys_values)
        if step == most:  # the last word must be the end
            words[..., :END] = words[..., END + 1 :] = -torch.inf
        size = words.shape[-1]
        top, place = words.flatten(1).topk(min(2 * beams, beams * size), dim=1)
        kept, kept_sums = [], []
        for image in range(count):
            grown, grown_sums = [], []
            for total, at in zip(top[image].tolist(), place[image].tolist(), strict=True):
                beam, word = divmod(at, size)
                row = [*so_far[image, beam].tolist(), word]
                if word != END:
                    grown.append(row)
                    grown_sums.append(total)
                elif total / step**length > best[image][0]:
                    best[image] = (total / step**length, total, row[1:-1])
            while len(grown) < beams:  # every likely word was the end
                grown.append([*so_far[image, 0].tolist(), UNKNOWN])
                grown_sums.append(-float("inf"))
            kept.append(grown[:beams])
            kept_sums.append(grown_sums[:beams])
        so_far, sums = torch.tensor(kept, device=device), torch.tensor(kept_sums, device=device)
        worst = torch.tensor([one[0] for one in best], device=device)
        if bool((sums.amax(1) / most**length < worst).all()):
            break
    return [one[2] for one in best], [one[1] for one in best]


def _drawn(
    network: CrossNetwork,
    keys_values: list[tuple[Tensor, Tensor]],
    settings: DecodingSettings,
    most: int,
    random: torch.Generator,
) -> tuple[list[list[int]], list[float]]:
    count = len(keys_values[0][0])
    device = keys_values[0][0].device
    so_far = torch.full((count, 1, 1), FORWARD, device=device)
    sums = torch.zeros(count)
    ended = torch.zeros(count, dtype=torch.bool)
    for step in range(1, most + 1):
        words = _next_words(network, so_far, keys_values)[:, 0].cpu()
        odds = (words / settings.temperature).softmax(-1)
        chosen = nucleus(odds, settings.top)
        word = torch.multinomial(chosen, 1, generator=random).squeeze(1)
        word = torch.where(ended | (step == most), END, word)
        sums += torch.where(ended, 0.0, words.gather(1, word[:, None]).squeeze(1))
        ended |= word == END
        so_far = torch.cat([so_far, word.to(device)[:, None, None]], dim=2)
        if bool(ended.all()):
            break
    rows = [row[: row.index(END)] if END in row else row for row in so_far[:, 0, 1:].tolist()]
    return rows, sums.tolist()


def nucleus(odds: Float[Tensor, "n v"], top: float) -> Float[Tensor, "n v"]:
    """The likeliest words whose probability adds up to `top` (at least one), the others at zero."""
    ordered, place = odds.sort(dim=-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    return torch.zeros_like(odds).scatter(-1, place, torch.where(before < top, ordered, 0.0))
