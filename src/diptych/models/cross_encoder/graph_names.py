"""What the graphs of a cross-encoder, and their inputs, are called."""

from __future__ import annotations

REGIONS, KEYS_VALUES, LIKELIHOOD = "regions", "keys_values", "likelihood"
NEXT_WORDS, ATTENTION, MATCHING = "next_words", "attention", "matching"
EMPTY_IMAGE = "empty_image_token"  # a weight of the network that is read without a graph


def keys_values_names(layers: int) -> list[str]:
    """Of each layer the keys, then the values."""
    return [f"{part}_{layer}" for layer in range(layers) for part in ("keys", "values")]
