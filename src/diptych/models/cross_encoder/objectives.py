"""Losses of the network: captioning, or one of the two that it is compared with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from diptych.core.shapes import Bool, Float, Int

from .decoder import KeysValues
from .network import CrossNetwork
from .settings import ObjectiveSettings


def captioning_loss(
    network: CrossNetwork,
    regions: Float[Tensor, "b r w"],
    empty: Bool[Tensor, " b"],
    inputs: Int[Tensor, "b s t"],
    targets: Int[Tensor, "b s t"],
    settings: ObjectiveSettings,
) -> Float[Tensor, ""]:
    """-(h_fwd + h_bwd) a word: the sequences hold each text in both directions ("Thinking Fast and Slow", eq. 3).

    With `settings.has_partners` the first text of each image is also compared with the images of its group; `empty`
    marks images that became the empty one.
    """
    keys_values = network.keys_values(regions)
    loss = network.word_loss(inputs, targets, keys_values, settings.label_smoothing)
    if settings.has_partners:
        loss = loss + partners_loss(network, keys_values, empty, inputs[:, :2], targets[:, :2], settings)
    return loss


def partners_loss(
    network: CrossNetwork,
    keys_values: KeysValues,
    empty: Bool[Tensor, " b"],
    inputs: Int[Tensor, "b 2 t"],
    targets: Int[Tensor, "b 2 t"],
    settings: ObjectiveSettings,
) -> Float[Tensor, ""]:
    """ITM and the choices of the right image and the right text by h, over the pairs of each group; a mean over groups.

    Pairs beyond the last whole group wait, as in `matching_loss`. An empty image matches no text, so that the matching
    score has a prior as h has one; the choices leave it and its text out.
    """
    size = min(settings.group, len(inputs))
    whole = len(inputs) - len(inputs) % size
    every, wanted = (
        part[:whole].reshape(-1, 2 * size, part.shape[2]).repeat_interleave(size, dim=0) for part in (inputs, targets)
    )
    found = network.pair_scores(every, wanted, [(keys[:whole], values[:whole]) for keys, values in keys_values])
    likelihood, matched = (each.reshape(-1, size, size, 2).sum(-1) for each in found)  # group, image, text
    if settings.contrastive_texts:
        priors = text_priors(network, inputs[:whole], targets[:whole]).reshape(-1, size)
    losses = [likelihood.new_zeros(())]
    for group, is_empty in enumerate(empty[:whole].reshape(-1, size)):
        if settings.matching:
            losses.append(settings.matching * itm_loss(matched[group], settings.hardest, is_empty))
        shown = ~is_empty
        among = likelihood[group][shown][:, shown]
        if settings.contrastive and len(among) > 1:
            losses.append(settings.contrastive * contrastive_loss(among, settings.temperature))
        if settings.contrastive_texts and len(among) > 1:
            of_texts = (among - priors[group][shown]).T
            losses.append(settings.contrastive_texts * contrastive_loss(of_texts, settings.temperature))
    return torch.stack(losses).sum() / len(likelihood)


@torch.no_grad()
def text_priors(
    network: CrossNetwork, inputs: Int[Tensor, "b 2 t"], targets: Int[Tensor, "b 2 t"]
) -> Float[Tensor, " b"]:
    """log p(text) of each text, both directions added: the h of the empty image, which learns by captioning alone."""
    found, _ = network.pair_scores(
        inputs.flatten(0, 1)[None], targets.flatten(0, 1)[None], network.keys_values(network.empty())
    )
    return found.reshape(-1, 2).sum(1)


def contrastive_loss(scores: Float[Tensor, "b b"], temperature: float) -> Float[Tensor, ""]:
    """-log of the probability of each text's right image, by the softmax over all images of score / temperature.

    Images are rows. It is the teacher's distribution of distillation ("Thinking Fast and Slow", section 3.3).
    """
    right = torch.arange(len(scores), device=scores.device)
    return functional.cross_entropy(scores.T / temperature, right)


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


def itm_loss(
    scores: Float[Tensor, "b b"], hardest_alone: bool = True, empty: Bool[Tensor, " b"] | None = None
) -> Float[Tensor, ""]:
    """Binary cross-entropy of right pairs against wrong partners of each image and each text.

    The text of an `empty` image is a wrong partner of it too.
    """
    own = scores.diagonal()
    wrong = torch.cat(wrong_scores(scores, hardest_alone)).flatten()
    if empty is not None:
        own, wrong = own[~empty], torch.cat([wrong, own[empty]])
    right = functional.softplus(-own).sum() / max(1, len(own))
    return right + functional.softplus(wrong).mean()


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
