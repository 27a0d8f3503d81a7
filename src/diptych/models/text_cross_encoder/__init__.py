"""Text cross-encoders: models that read a query and a text together, and say how well the text answers it.

`load_text_cross_encoder(folder)` gives one that was trained here; it runs on ONNX Runtime, without PyTorch.
"""

from __future__ import annotations

from .encoder import KIND, TextCrossEncoder, is_text_cross_encoder, load_text_cross_encoder
from .pair_tokens import PairTokens

__all__ = ["KIND", "PairTokens", "TextCrossEncoder", "is_text_cross_encoder", "load_text_cross_encoder"]
