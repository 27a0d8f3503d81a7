"""Why an image and a text match, by a dual encoder's own parts: the words its transformer attends to, and the regions
of its last feature map that raise the cosine. One pass; `occlusion` asks any model, and many times.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core.errors import ConfigError
from diptych.core.shapes import Float32, UInt8
from diptych.data.images import ImageInput, as_image, prepared
from diptych.models import DualEncoder

from .explanation import draw_explanation
from .occlusion import Explanation

_WORDS_KEY, _REGIONS_KEY = "words: share of attention", "regions: what raises the cosine"
_LEAST_SIDE = 2  # of a feature map that has regions


@dataclass(frozen=True)
class AttentionMaps:
    """What a dual encoder's towers look at in a match.

    `words` are those that the model reads, each with its share of the attention of the state that becomes the text's
    embedding; with `elsewhere`, the share of tokens that stand for no word, they add up to 1. None where the text side
    has no attention. `regions` are Grad-CAM's (Selvaraju et al. 2017, arXiv 1610.02391): the channels of the last
    feature map, weighted by how much the cosine rises with each, negative sums cut off. None where the image side has
    no such map.
    """

    pixels: UInt8[np.ndarray, "hh ww 3"]
    score: float
    words: tuple[tuple[str, float], ...] | None
    elsewhere: float
    regions: Float32[np.ndarray, "g g"] | None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready numbers."""
        shares = None if self.words is None else [{"word": word, "share": round(one, 5)} for word, one in self.words]
        regions = None if self.regions is None else np.round(self.regions.astype(float), 5).tolist()
        return {
            "score": round(self.score, 5),
            "words": shares,
            "elsewhere": round(self.elsewhere, 5),
            "regions": regions,
        }


def draw_attention(maps: AttentionMaps, text: str, title: str) -> bytes:
    """The figure as PNG bytes; the words of the text, or the regions, are not shaded where the model has none."""
    words = tuple((word, 0.0) for word in text.split()) if maps.words is None else maps.words
    key = [name for name, part in ((_WORDS_KEY, maps.words), (_REGIONS_KEY, maps.regions)) if part is not None]
    regions = np.zeros((1, 1), dtype=np.float32) if maps.regions is None else maps.regions
    shown = Explanation(
        maps.pixels,
        maps.score,
        regions,
        tuple(word for word, _ in words),
        np.array([share for _, share in words], dtype=np.float32),
        np.zeros((len(words), *regions.shape), dtype=np.float32),
        (),
        (" ",) * len(words),
    )
    return draw_explanation(shown, title, ("; ".join(key),))


def attention_maps(model: DualEncoder, image: ImageInput, text: str) -> AttentionMaps:
    """The words and the regions behind the match of an image and a text.

    Raises ConfigError for a model that has neither attention over words nor a feature map, or that takes patches of
    any proportion; DataError for an image that cannot be read.
    """
    if model.preprocess.mode == "patches":
        raise ConfigError(
            f"the model {model.name!r} takes images as patches of any proportion, which have no square map of regions; "
            "use --by occlusion"
        )
    module = model.torch().eval()
    words, elsewhere = _words(model, module.text.network, module.text_inputs([text]), text)
    score, regions = _regions(module, module.image_inputs([image]), module.text_inputs([text]))
    if words is None and regions is None:
        raise ConfigError(
            f"the model {model.name!r} has no attention over words and no feature map of regions; use --by occlusion, "
            "or a model with a transformer or a convolutional network of PyTorch"
        )
    return AttentionMaps(
        as_image(prepared(image, model.preprocess), model.preprocess), score, words, elsewhere, regions
    )


def _words(
    model: DualEncoder, network: nn.Module | None, ids: Tensor, text: str
) -> tuple[tuple[tuple[str, float], ...] | None, float]:
    """Each word with its share, and the share of what is no word; None for a text side without attention."""
    attention: Any = getattr(network, "attention", None)
    tower: Any = model.text_tower
    if attention is None or not hasattr(tower, "word_places"):
        return None, 0.0
    with torch.inference_mode():
        shares = attention(ids)[0].float().cpu().numpy()
    words = tuple((word, float(shares[places].sum())) for word, places in tower.word_places(text))
    return words, max(0.0, float(shares.sum()) - sum(share for _, share in words))


def _regions(module: Any, image: Tensor, text: Tensor) -> tuple[float, Float32[np.ndarray, "g g"] | None]:
    """The cosine, and Grad-CAM on the last feature map of the image side."""
    below = [part for part in (module.image_tower, module.image.network) if part is not None]
    image = image.float().requires_grad_()
    with _last_map(below) as found:
        embedded = module.encode_image(image)
    with torch.no_grad():
        target = module.encode_text(text)
    cosine = (embedded * target).sum()
    score = float(cosine.detach())
    if not found or found[0].ndim != 4 or not found[0].requires_grad:
        return score, None
    (gradient,) = torch.autograd.grad(cosine, found[0])
    raised = (gradient.mean((2, 3), keepdim=True) * found[0]).sum(1)[0].clamp(min=0)
    return score, raised.detach().float().cpu().numpy()


@contextmanager
def _last_map(parts: list[nn.Module]) -> Iterator[list[Tensor]]:
    """Within it, the list holds the last output of the parts that is a square map (1, c, g, g) or rows of tokens."""
    found: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        is_map = isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3] >= _LEAST_SIDE
        if is_map or (isinstance(output, Tensor) and output.ndim == 3):  # tokens: what a map became is no map
            found[:] = [output]

    hooks = [each.register_forward_hook(keep) for part in parts for each in part.modules()]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
