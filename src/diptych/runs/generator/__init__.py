"""The training of a generator: its config, its pairs, the two networks and what is measured after each round."""

from .config import GeneratorConfig

__all__ = ["GeneratorConfig"]
