"""From words to images: small generators, what they are trained against, and sampling from saved ones.

`load` needs no PyTorch: a saved generator runs on ONNX Runtime.
"""

from diptych.synthesis.sampling import SavedGenerator, UnknownLanguageWarning, load

__all__ = ["SavedGenerator", "UnknownLanguageWarning", "load"]
