"""How alike an image and a text are, as a part that losses take.

A model must be searched with the similarity that it was trained with. A library ranks by cosine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from diptych.core.config import unknown
from diptych.core.shapes import Float

_CELLS = 1 << 24  # of the (rows, m, d) array that one step of `order` holds: 64 MB in 32 bits

Similarity = Callable[[Tensor, Tensor], Tensor]  # (n, d) images, (m, d) texts -> (n, m), higher is nearer


def cosine(image: Float[Tensor, "n d"], text: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Cosine of L2-normalised rows, in [-1, 1]; higher is nearer."""
    return image @ text.T


def order(image: Float[Tensor, "n d"], text: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Order-embedding similarity, in [-1, 0] for unit rows: how far a text says more than the image shows.

        s(v, t) = -|| max(0, |t| - |v|) ||^2

    0 where the text is at most the image in every dimension. |.| is taken here, of each element, so that
    any head will do: the order lives in the positive part of the space. Source: Vendrov et al. 2016,
    equation 2 (arXiv 1511.06361); abs after the norm as in VSE++ (arXiv 1707.05612). The square stays,
    because the root has no gradient where nothing is violated.
    """
    image, text = image.abs(), text.abs()
    rows = max(1, _CELLS // max(1, text.numel()))
    if len(image) <= rows:
        return _order(image, text)
    # Each slice is computed again for its gradient, so that no (n, m, d) array is ever kept.
    slices = [
        checkpoint(_order, some, text, use_reentrant=False, preserve_rng_state=False)
        for some in torch.split(image, rows)
    ]
    return torch.cat(slices)


def _order(image: Tensor, text: Tensor) -> Tensor:
    return -(text[None, :, :] - image[:, None, :]).clamp(min=0).square().sum(2)


SIMILARITIES: Mapping[str, Similarity] = {"cosine": cosine, "order": order}


def similarity_of(choice: str | Similarity) -> Similarity:
    """A similarity by its name in a config, or as it is. Raises ConfigError for an unknown name."""
    if not isinstance(choice, str):
        return choice
    if choice not in SIMILARITIES:
        raise unknown("similarity", choice, SIMILARITIES)
    return SIMILARITIES[choice]
