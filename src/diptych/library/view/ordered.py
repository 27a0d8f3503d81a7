"""The order of a list by the date a photo was taken, newest first, or by its pixels, most first; ties by id."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from diptych.core.errors import ConfigError
from diptych.core.shapes import Int64
from diptych.library.store.rows import ID_LENGTH, PHOTO

TAKEN = f"{PHOTO}TAKEN"
SIZE: Final = "size"
# order -> the columns that it reads
ORDERS = {"taken": ("id", TAKEN), SIZE: ("id", "width", "height")}
_CURSOR = re.compile(r"(none|-?\d{1,19})\.([0-9a-f]{16})")


@dataclass(frozen=True, slots=True)
class Ordered:
    """All ids of a list in order. Rows without the value come last."""

    ids: np.ndarray[Any, np.dtype[np.bytes_]]
    keys: Int64[np.ndarray, n]  # nanoseconds since 1970, or pixels; 0 without a value
    known: int  # how many, from the first, have a value

    @classmethod
    def of(cls, blocks: Iterable[dict[str, Any]], order: str) -> Ordered:
        """The order of rows that a scan of `ORDERS[order]` gives."""
        ids, values = [np.empty(0, dtype=f"S{ID_LENGTH}")], [np.empty((0, 2), dtype=np.int64)]
        for block in blocks:
            ids.append(np.array(block["id"], dtype=f"S{ID_LENGTH}"))
            if order == SIZE:
                pixels = np.array(block["width"], dtype=np.int64) * np.array(block["height"], dtype=np.int64)
                values.append(np.stack([pixels, np.ones_like(pixels)], axis=1))
            else:
                pairs = [(0, 0) if one is None else (one, 1) for one in block[TAKEN]]
                values.append(np.array(pairs, dtype=np.int64).reshape(-1, 2))
        all_ids, both = np.concatenate(ids), np.concatenate(values)
        places = np.lexsort((all_ids, -both[:, 0], -both[:, 1]))
        return cls(all_ids[places], both[places, 0], int(both[:, 1].sum()))

    def __len__(self) -> int:
        return len(self.ids)

    def page(self, cursor: str | None, limit: int) -> tuple[list[str], str | None]:
        """The next ids behind a cursor (None is the start), and the cursor of the page behind them; None on the last.

        Raises ConfigError for a cursor of another list.
        """
        start = 0 if cursor is None else self._behind(cursor)
        chosen = [str(one, "ascii") for one in self.ids[start : start + limit]]
        last = start + limit - 1
        if last + 1 >= len(self):
            return chosen, None
        return chosen, f"{int(self.keys[last]) if last < self.known else 'none'}.{chosen[-1]}"

    def _behind(self, cursor: str) -> int:
        """How many rows stand before or at a cursor: by its value and id, so that its row may be gone by now."""
        if (match := _CURSOR.fullmatch(cursor)) is None:
            raise ConfigError(f"found the cursor {cursor[:40]!r}; expected one that a page of this order gave")
        identifier = np.bytes_(match[2].encode())
        if match[1] == "none":
            return self.known + int((self.ids[self.known :] <= identifier).sum())
        key, keys = int(match[1]), self.keys[: self.known]
        return int(((keys > key) | ((keys == key) & (self.ids[: self.known] <= identifier))).sum())
