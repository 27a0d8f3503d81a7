"""XMC-GAN's contrastive losses and the hinge loss, and the distance of two images.

Source: XMC-GAN (arXiv 2101.04702), sections 4.1 and 4.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from diptych.core.shapes import Bool, Float

_NEVER = -1e4


def contrast(scores: Float[Tensor, "b b"], same: Bool[Tensor, "b b"] | None = None) -> Float[Tensor, ""]:
    """-log(exp S_ii / sum_j exp S_ij), mean over rows and over columns, and of both.

    Args:
        scores: already divided by the temperature; entry (i, i) belongs together.
        same: entries beside the diagonal that belong together too (siblings, equal texts): no negatives.
    """
    scores = scores.float()
    if same is not None:
        others = same & ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        scores = scores.masked_fill(others, _NEVER)
    own = torch.arange(len(scores), device=scores.device)
    return (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)) / 2


def cosines(one: Float[Tensor, "n e"], other: Float[Tensor, "m e"]) -> Float[Tensor, "n m"]:
    """Cosine of each with each."""
    return functional.normalize(one.float(), dim=1) @ functional.normalize(other.float(), dim=1).T


def centred(rows: Float[Tensor, "*b e"], by: Float[Tensor, "*c e"] | None = None) -> Float[Tensor, "*b e"]:
    """Rows without the mean of `by` (their own, when left out).

    What a network makes of any two images is alike to begin with (sums of positive numbers), so that cosines
    tell nothing and hardly learn; without the batch's mean they do.
    """
    rows = rows.float()
    by = rows if by is None else by.float()
    return rows - by.flatten(0, -2).mean(0)


def word_region_scores(
    words: Float[Tensor, "n w e"],
    mask: Bool[Tensor, "n w"],
    regions: Float[Tensor, "m r e"],
    region_sharpness: float = 5.0,
    word_sharpness: float = 5.0,
    *,
    mean: bool = True,
) -> Float[Tensor, "n m"]:
    """How well the regions of each image show the words of each text.

    a_wr = softmax over regions of rho_1 cos(w, r); c_w = sum_r a_wr r; S = 1/rho_2 log mean_w exp(rho_2 cos(w, c_w)).
    The paper has the sum over words in place of the mean: it favours long texts where lengths differ.

    Args:
        words, mask: of each text; False is padding.
        regions: of each image.
        region_sharpness, word_sharpness: rho_1 and rho_2.
        mean: over the words; False: the sum.
    """
    words = functional.normalize(words.float(), dim=2)
    regions = functional.normalize(regions.float(), dim=2)
    n, w, e = words.shape
    m, r, _ = regions.shape
    cosine = words.reshape(n * w, e) @ regions.reshape(m * r, e).T  # one product for all
    share = torch.softmax(region_sharpness * cosine.view(n * w, m, r), dim=2)
    context = torch.bmm(share.transpose(0, 1), regions)  # (m, n w, e)
    fit = functional.cosine_similarity(context, words.reshape(1, n * w, e), dim=2).view(m, n, w)
    fit = (word_sharpness * fit).masked_fill(~mask, -math.inf)
    total = torch.logsumexp(fit, dim=2)
    if mean:
        total = total - mask.sum(1).clamp(min=1).float().log()
    return total.T / word_sharpness


def hinge_discriminator(real: Float[Tensor, "*b"], fake: Float[Tensor, "*b"]) -> Float[Tensor, ""]:
    """mean max(0, 1 - real) + mean max(0, 1 + fake)."""
    return functional.relu(1 - real.float()).mean() + functional.relu(1 + fake.float()).mean()


def distance(
    made: Float[Tensor, "b 3 s s"],
    real: Float[Tensor, "b 3 s s"],
    made_maps: Sequence[Float[Tensor, "b _ _ _"]] = (),
    real_maps: Sequence[Float[Tensor, "b _ _ _"]] = (),
) -> Float[Tensor, " b"]:
    """How far each image is from its like: by colour, and by what a frozen network sees at each place.

    Mean absolute difference of colours, plus the mean over maps and positions of |a - b|^2 with a and b of length
    one (Zhang et al. 2018, arXiv 1801.03924, without learnt weights).
    """
    apart = (made.float() - real.float()).abs().mean((1, 2, 3))
    for a, b in zip(made_maps, real_maps, strict=True):
        unlike = functional.normalize(a.float(), dim=1) - functional.normalize(b.float(), dim=1)
        apart = apart + unlike.square().sum(1).mean((1, 2)) / len(made_maps)
    return apart
