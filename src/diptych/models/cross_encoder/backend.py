"""What a cross-encoder computes with: its network in PyTorch, or the graphs of it that ONNX Runtime runs.

The scorer, the captions and the explanations work on a `Backend` alone, with NumPy arrays.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from diptych.core.shapes import Float, Float32, Int64


@runtime_checkable
class Backend(Protocol):
    """The network's parts. Sequences come as (b, s, t), see `vocabulary.both_directions`.

    `keys_values` is made once for some images; what it gives is only passed on to the other methods.
    """

    @property
    def max_tokens(self) -> int:
        """Word pieces of a text that are read; what is longer is cut."""
        ...

    @property
    def words_at_once(self) -> int:
        """Places (b x s x t) of one call that fit in memory and run well."""
        ...

    def fuse(self, features: Float[np.ndarray, "b f"]) -> Float32[np.ndarray, "b r w"]:
        """Region tokens from the image tower's feature maps."""
        ...

    def empty(self) -> Float32[np.ndarray, "1 1 w"]:
        """The token of the learnt empty image: given it, a text's likelihood is its prior."""
        ...

    def keys_values(self, regions: Float[np.ndarray, "b r w"]) -> Any:
        """Keys and values of images for every layer."""
        ...

    def word_likelihoods(
        self, inputs: Int64[np.ndarray, "b s t"], targets: Int64[np.ndarray, "b s t"], keys_values: Any
    ) -> Float32[np.ndarray, "b s t"]:
        """log p of each word given those before it and the image; zeros at padding."""
        ...

    def matching(self, inputs: Int64[np.ndarray, "b s t"], keys_values: Any) -> Float32[np.ndarray, "b s"]:
        """The matching score of each sequence, of a network that was trained by it."""
        ...

    def next_words(self, so_far: Int64[np.ndarray, "b s t"], keys_values: Any) -> Float32[np.ndarray, "b s v"]:
        """log p of the next word of each sequence that is read forwards; all are of the same length."""
        ...

    def attention(self, inputs: Int64[np.ndarray, "b s t"], keys_values: Any) -> Float32[np.ndarray, "b s t r"]:
        """Attention of each place to the regions in the last layer, the mean over the heads."""
        ...
