"""How alike an image and a text are: functions that take NumPy arrays and tensors alike, by name in a config.

A model must be searched with the similarity that it was trained with. A library ranks by cosine. Similarities with the
fact `like_cosine` give the same order of unit vectors as the cosine, and the same number when both sides change places.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .extras import need
from .registry import find, get, has, register
from .shapes import Float

Similarity = Callable[[Any, Any], Any]  # (n, d) images, (m, d) texts -> (n, m), higher is nearer


@register.similarity("cosine", like_cosine=True)
def cosine(images: Float[Any, "n d"], texts: Float[Any, "m d"]) -> Float[Any, "n m"]:
    """Cosine of L2-normalised rows, in [-1, 1]; higher is nearer."""
    return images @ texts.T


@register.similarity("l2", like_cosine=True)
def l2(images: Float[Any, "n d"], texts: Float[Any, "m d"]) -> Float[Any, "n m"]:
    """Minus the Euclidean distance, at most 0; in [-2, 0] for unit rows, which it orders as the cosine does.

        s(v, t) = -|| v - t ||,  and || v - t ||^2 = 2 - 2 cos(v, t) for unit rows

    A margin in it is a distance: near a partner the same margin asks for a smaller change of the cosine than far from
    it. Vectors of any length are compared as they are.
    """
    if not isinstance(images, np.ndarray):  # its gradient is 0, not infinite, where two rows are equal
        torch = need("torch", "tensors")
        kinds = {torch.float16: torch.float32, torch.bfloat16: torch.float32}
        return -torch.cdist(*(rows.to(kinds.get(rows.dtype, rows.dtype)) for rows in (images, texts)))
    squares = (images * images).sum(1)[:, None] + (texts * texts).sum(1)[None] - 2 * (images @ texts.T)
    return -np.sqrt(squares.clip(min=0))


@register.similarity("order")
def order(images: Float[Any, "n d"], texts: Float[Any, "m d"]) -> Float[Any, "n m"]:
    """Order-embedding similarity, in [-1, 0] for unit rows: how far a text says more than the image shows.

        s(v, t) = -|| max(0, |t| - |v|) ||^2

    0 where the text is at most the image in every dimension. |.| is taken here, of each element, so that
    any head will do: the order lives in the positive part of the space. Source: Vendrov et al. 2016,
    equation 2 (arXiv 1511.06361); abs after the norm as in VSE++ (arXiv 1707.05612). The square stays,
    because the root has no gradient where nothing is violated.
    """
    return in_slices(_order, abs(images), abs(texts))


def _order(images: Any, texts: Any) -> Any:
    beyond = (texts[None] - images[:, None]).clip(min=0)
    return -(beyond * beyond).sum(-1)


def in_slices(similarity: Similarity, images: Any, texts: Any, elements: int | None = None) -> Any:
    """A similarity that makes an (n, m, d) array, computed for so many images at a time that it stays small.

    Args:
        similarity: of some images and all texts.
        images, texts: (n, d) and (m, d).
        elements: of the array that one step makes; by default what fits a CPU's cache, or 64 MB of tensors.
    """
    is_numpy = isinstance(images, np.ndarray)
    rows = max(1, (elements or 1 << (20 if is_numpy else 24)) // max(1, math.prod(texts.shape)))
    if len(images) <= rows:
        return similarity(images, texts)
    slices = [images[start : start + rows] for start in range(0, len(images), rows)]
    if is_numpy:
        return np.concatenate([similarity(each, texts) for each in slices])
    torch, checkpoint = need("torch", "tensors"), need("torch.utils.checkpoint", "tensors").checkpoint
    # Each slice is computed again for its gradient, so that no (n, m, d) array is ever kept.
    again = {"use_reentrant": False, "preserve_rng_state": False}
    return torch.cat([checkpoint(similarity, each, texts, **again) for each in slices])


def is_like_cosine(name: str) -> bool:
    """Whether a similarity of this name orders unit vectors as the cosine does; False for one that is not here."""
    return has("similarity", name) and bool(find("similarity", name).facts.get("like_cosine"))


def of_cosines(name: str, cosines: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The similarity of unit vectors by their cosine, for one that is like the cosine: l2 is -sqrt(2 - 2 cosine)."""
    cosines = np.clip(np.asarray(cosines, dtype=np.float64), -1, 1)
    others = np.column_stack([cosines, np.sqrt(1 - cosines * cosines)])  # unit vectors at that angle from the first
    found: Float[np.ndarray, " n"] = similarity_of(name)(np.array([[1.0, 0.0]]), others)[0]
    return found


def similarity_of(choice: str | Similarity) -> Similarity:
    """A similarity by its name in a config, or as it is. Raises ConfigError for an unknown name."""
    found: Similarity = get("similarity", choice) if isinstance(choice, str) else choice
    return found
