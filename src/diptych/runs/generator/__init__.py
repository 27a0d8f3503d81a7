"""The composition of text-to-image training."""

from .config import KIND, SynthesisConfig
from .train import build, forget, train

__all__ = ["KIND", "SynthesisConfig", "build", "forget", "train"]
