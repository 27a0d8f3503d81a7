"""The shapes of arrays in signatures: `Float32[np.ndarray, "n d"]`, as jaxtyping writes them.

Checked only where jaxtyping was imported before us, as the tests do. Elsewhere the names stand for the bare
array, because importing jaxtyping takes longer than a search may.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool, Float, Float16, Float32, Float64, Int, Int32, Int64, Shaped, UInt8, UInt64
else:

    class _Unchecked:
        """`Float32[array, shape]` is `array`."""

        def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
            return item[0]

    Bool = Float = Float16 = Float32 = Float64 = Int = Int32 = Int64 = Shaped = UInt8 = UInt64 = _Unchecked

__all__ = ["Bool", "Float", "Float16", "Float32", "Float64", "Int", "Int32", "Int64", "Shaped", "UInt8", "UInt64"]
