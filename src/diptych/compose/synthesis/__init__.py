"""The composition of text-to-image training."""

from diptych.compose.synthesis.config import KIND, SynthesisConfig
from diptych.compose.synthesis.train import build, forget, train

__all__ = ["KIND", "SynthesisConfig", "build", "forget", "train"]
