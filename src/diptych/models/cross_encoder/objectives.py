"""Losses of the network: captioning, or one of the two that it is compared with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from diptych.core.shapes import Float, Int

from .network import CrossNetwork
from .settings import ObjectiveSettings


def captioning_loss(
    network: CrossNetwork,
    regions: Float[Tensor, "b r w"],
    inputs: Int[Tensor, "b s t"],
    targets: Int[Tensor, "b s t"],
    settings: ObjectiveSettings,
) -> Float[Tensor, ""]:
    """-(h_fwd + h_bwd) a word: the sequences hold each text in both directions ("Thinking Fast and Slow", eq. 3)."""
    return network.word_loss(inputs, targets, network.keys_values(regions), settings.label_smoothing)


def matching_matrix(
    network: CrossNetwork, regions: Float[Tensor, "b r w"], inputs: Int[Tensor, "b 2 t"]
) -> Float[Tensor, "b b"]:
    """Score of every image (row) with every text (column); both directions added."""
    count = len(regions)
    every = inputs.flatten(0, 1).expand(count, -1, -1)
    scores = network.matching(every, network.keys_values(regions))
    return scores.reshape(count, count, 2).sum(-1)


def hardest(scores: Float[Tensor, "b b"]) -> tuple[Int[Tensor, " b"], Int[Tensor, " b"]]:
    """Of each image the wrong text with the highest score, and of each text the wrong image."""
    wrong = scores.detach().clone()
    wrong.fill_diagonal_(-torch.inf)
    return wrong.argmax(1), wrong.argmax(0)


def wrong_scores(
    scores: Float[Tensor, "b b"], hardest_alone: bool
) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]:
    """Of each image the scores of wrong texts, and of each text those of wrong images: the hardest, or all."""
    if not hardest_alone:
        count = len(scores)
        wrong = ~torch.eye(count, dtype=torch.bool, device=scores.device)
        return scores[wrong].reshape(count, -1), scores.T[wrong].reshape(count, -1)
    rows = torch.arange(len(scores), device=scores.device)
    wrong_text, wrong_image = hardest(scores)
    return scores[rows, wrong_text, None], scores[wrong_image, rows, None]


def itm_loss(scores: Float[Tensor, "b b"], hardest_alone: bool = True) -> Float[Tensor, ""]:
    """Binary cross-entropy of right pairs against wrong partners of each image and each text."""
    right = functional.softplus(-scores.diagonal()).mean()
    return right + functional.softplus(torch.cat(wrong_scores(scores, hardest_alone))).mean()


def vse_loss(scores: Float[Tensor, "b b"], margin: float, hardest_alone: bool = True) -> Float[Tensor, ""]:
    """[margin + wrong - right]+ over wrong texts of each image and wrong images of each text, a mean of each."""
    right = scores.diagonal()[:, None]
    by_image, by_text = (
        functional.relu(margin + wrong - right).mean() for wrong in wrong_scores(scores, hardest_alone)
    )
    return by_image + by_text


def matching_loss(
    network: CrossNetwork,
    regions: Float[Tensor, "b r w"],
    inputs: Int[Tensor, "b 2 t"],
    settings: ObjectiveSettings,
) -> Float[Tensor, ""]:
    """ITM or VSE over groups of a batch: one text an image, wrong partners from the same group only."""
    losses = []
    for start in range(0, len(regions) - len(regions) % settings.group or len(regions), settings.group):
        part = slice(start, start + settings.group)
        scores = matching_matrix(network, regions[part], inputs[part])
        if settings.name == "itm":
            losses.append(itm_loss(scores, settings.hardest))
        else:
            losses.append(vse_loss(scores, settings.margin, settings.hardest))
    return torch.stack(losses).mean()
