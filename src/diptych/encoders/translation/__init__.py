"""Translation engines by name; those that need PyTorch or CTranslate2 live here, imported when asked for."""

from __future__ import annotations

from .table import ENGINES, translator

__all__ = ["ENGINES", "translator"]
