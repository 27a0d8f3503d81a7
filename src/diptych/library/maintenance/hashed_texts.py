"""Which texts occurred among many, in 8 bytes each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diptych.core.shapes import Int64


class HashedTexts:
    """The ids, paths or contents of all rows, by Python's hash of 64 bits.

    `in` and `twice` may also name a text that only shares its hash with another (among ten million rows with a chance
    of one in 300,000), so nothing is reported or deleted by them alone.
    """

    def __init__(self) -> None:
        self._blocks: list[Int64[np.ndarray, n]] = [np.empty(0, dtype=np.int64)]  # each in order

    def __contains__(self, text: object) -> bool:
        hashes, wanted = self._ordered(), hash(text)
        place = int(np.searchsorted(hashes, wanted))
        return place < len(hashes) and int(hashes[place]) == wanted

    def add(self, texts: Sequence[str]) -> None:
        """Note some more."""
        self._blocks.append(np.sort(np.fromiter(map(hash, texts), dtype=np.int64, count=len(texts))))

    def twice(self) -> set[int]:
        """Hashes that occurred more than once."""
        hashes = self._ordered()
        return set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())

    def _ordered(self) -> Int64[np.ndarray, n]:
        if len(self._blocks) > 1:
            joined = np.concatenate(self._blocks)
            joined.sort(kind="stable")
            self._blocks = [joined]
        return self._blocks[0]
