"""What the network may learn from: captioning, or the two losses it is compared with, on the same net."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

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
    return network.word_loss(inputs, targets, network.decoder.keys_values(regions), settings.label_smoothing)


def matching_matrix(
    network: CrossNetwork, regions: Float[Tensor, "b r w"], inputs: Int[Tensor, "b 2 t"]
) -> Float[Tensor, "b b"]:
    """Score of every picture (row) with every text (column); both directions added."""
    count = len(regions)
    every = inputs.flatten(0, 1).expand(count, -1, -1)
    scores = network.matching(every, network.decoder.keys_values(regions))
    return scores.reshape(count, count, 2).sum(-1)


def hardest(scores: Float[Tensor, "b b"]) -> tuple[Int[Tensor, " b"], Int[Tensor, " b"]]:
    """Of each picture the wrong text with the highest score, and of each text the wrong picture."""
    wrong = scores.detach().clone()
    wrong.fill_diagonal_(-torch.inf)
    return wrong.argmax(1), wrong.argmax(0)


def itm_loss(scores: Float[Tensor, "b b"]) -> Float[Tensor, ""]:
    """Binary cross-entropy of right pairs against the hardest wrong partner of each picture and each text."""
    rows = torch.arange(len(scores), device=scores.device)
    wrong_text, wrong_picture = hardest(scores)
    wrong = torch.cat([scores[rows, wrong_text], scores[wrong_picture, rows]])
    right = functional.softplus(-scores.diagonal()).mean()
    return right + functional.softplus(wrong).mean()


def vse_loss(scores: Float[Tensor, "b b"], margin: float) -> Float[Tensor, ""]:
    """[margin + wrong - right]+ with the hardest wrong text of each picture and wrong picture of each text."""
    rows = torch.arange(len(scores), device=scores.device)
    wrong_text, wrong_picture = hardest(scores)
    right = scores.diagonal()
    by_picture = functional.relu(margin + scores[rows, wrong_text] - right)
    by_text = functional.relu(margin + scores[wrong_picture, rows] - right)
    return (by_picture + by_text).mean()


def matching_loss(
    network: CrossNetwork,
    regions: Float[Tensor, "b r w"],
    inputs: Int[Tensor, "b 2 t"],
    settings: ObjectiveSettings,
) -> Float[Tensor, ""]:
    """ITM or VSE over groups of a batch: one text a picture, wrong partners from the same group only."""
    losses = []
    for start in range(0, len(regions) - len(regions) % settings.group or len(regions), settings.group):
        part = slice(start, start + settings.group)
        scores = matching_matrix(network, regions[part], inputs[part])
        losses.append(itm_loss(scores) if settings.name == "itm" else vse_loss(scores, settings.margin))
    return torch.stack(losses).mean()
