"""What a multilingual text side is to learn: for each text, the teacher's vector of the original that it translates.

Source: multilingual knowledge distillation (Reimers and Gurevych 2020, arXiv 2004.09813), section 2: the student should
give for a sentence and for its translation the vector that the teacher gives for the sentence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.cosine import normalise
from diptych.core.errors import DataError, Reason
from diptych.core.shapes import Float32, Int, Int64
from diptych.core.types import Text


@dataclass(frozen=True)
class TextTargets:
    """For some of the texts, the rows of the originals whose mean vector each is to have.

    `texts` are the rows that have a target, ascending; the i-th has `originals[starts[i] : starts[i + 1]]`.
    `unpaired` counts the texts among them that state no original, and learn the mean of all originals of their record;
    `without` the texts that have no target.
    """

    texts: Int64[np.ndarray, " t"]
    originals: Int64[np.ndarray, " o"]
    starts: Int64[np.ndarray, " t_and_1"]
    unpaired: int
    without: int

    def vectors(self, encode: Callable[[Sequence[int]], Float32[np.ndarray, "k d"]]) -> Float32[np.ndarray, "t d"]:
        """The targets, of unit length; `encode` gives the teacher's vectors of rows, and sees each original once."""
        distinct, place = np.unique(self.originals, return_inverse=True)
        made = encode(distinct.tolist())
        return normalise(np.add.reduceat(made[place], self.starts[:-1], axis=0))


def text_targets(
    owner: Sequence[int] | Int[np.ndarray, " m"], texts: Sequence[Text], original: str, *, unpaired: bool = True
) -> TextTargets:
    """Pair each text with originals: those in the language `original`, or of no stated language.

    An original is its own. A text in another language has the originals of the same meaning; where it states none, all
    originals of its record (`unpaired`), or no target.

    Args:
        owner: record of each text.
        texts: all texts, in the order of the rows.
        original: language that the teacher reads (ISO 639-1).
        unpaired: whether texts that state no original learn too.

    Raises DataError where no text is an original.
    """
    of_record: dict[int, list[int]] = defaultdict(list)
    of_meaning: dict[tuple[int, str, int], list[int]] = defaultdict(list)
    for row, (record, text) in enumerate(zip(owner, texts, strict=True)):
        if text.lang in (original, None):
            of_record[int(record)].append(row)
            if text.meaning is not None:
                of_meaning[int(record), text.field, text.meaning].append(row)
    if not of_record:
        raise DataError(
            f"found no text in {original!r} for the teacher to read; see language `original`", Reason.EMPTY_TEXT
        )
    rows, found, loose = [], [], 0
    for row, (record, text) in enumerate(zip(owner, texts, strict=True)):
        if text.lang in (original, None):
            chosen = [row]
        elif text.meaning is not None and (same := of_meaning.get((int(record), text.field, text.meaning))):
            chosen = same
        else:
            chosen = of_record.get(int(record), []) if unpaired else []
            loose += bool(chosen)
        if chosen:
            rows.append(row)
            found.append(chosen)
    return TextTargets(
        texts=np.array(rows, dtype=np.int64),
        originals=np.array([each for chosen in found for each in chosen], dtype=np.int64),
        starts=np.cumsum([0, *map(len, found)]).astype(np.int64),
        unpaired=loose,
        without=len(texts) - len(rows),
    )
