"""Rows of token ids, cut where their padding begins."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diptych.core.shapes import Int64, Shaped

_TOGETHER = 32  # texts of about one length, so that few places are padding


def by_length(
    rows: Shaped[np.ndarray, "n l"], *, cut: bool = True
) -> Iterator[tuple[Int64[np.ndarray, " b"], Shaped[np.ndarray, "b k"]]]:
    """Few rows at once, the shortest first: their places among `rows`, and they themselves.

    They end with the last token of the longest, unless `cut` is false. -1 is padding; other numbers, such as features,
    may stand before the ids.
    """
    last = rows.shape[1] - (rows >= 0)[:, ::-1].argmax(axis=1)  # up to the last place that is seen
    order = np.argsort(last, kind="stable")
    for start in range(0, len(order), _TOGETHER):
        chosen = order[start : start + _TOGETHER]
        yield chosen, rows[chosen, : last[chosen[-1]]] if cut else rows[chosen]
