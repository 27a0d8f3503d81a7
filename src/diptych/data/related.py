"""Pairs of texts to learn from: a text that asks and one that was judged for it, or two texts of one meaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.shapes import Bool, Float, Int
from diptych.core.types import Role, Text


@dataclass(frozen=True)
class RelatedTexts:
    """Pairs of text rows of one record each.

    `relevance` is 0 for unrelated texts, more for more related ones; without a label the largest one, 1 where none has
    one.
    """

    first: Int[np.ndarray, " p"]  # the query
    second: Int[np.ndarray, " p"]  # the document
    owner: Int[np.ndarray, " p"]
    relevance: Float[np.ndarray, " p"]

    def __len__(self) -> int:
        return len(self.owner)

    def only(self, which: Bool[np.ndarray, " p"]) -> RelatedTexts:
        """Some of the pairs."""
        return RelatedTexts(self.first[which], self.second[which], self.owner[which], self.relevance[which])

    def is_related(self, least: float = 0.0) -> Bool[np.ndarray, " p"]:
        """Which pairs have a label above 0, and of at least `least`."""
        return (self.relevance > 0) & (self.relevance >= least)

    @property
    def are_graded(self) -> bool:
        """Whether the pairs differ in their relevance."""
        return len(np.unique(self.relevance)) > 1


def related_texts(written: Sequence[Text], owner: Int[np.ndarray, " m"]) -> RelatedTexts | None:
    """Each query with each document of its record; None where no text has a role.

    Of a record without roles, each text with the next one of the record.

    Args:
        written: the texts.
        owner: record of each, ascending.
    """
    if all(text.role is None for text in written):
        return None
    most = max((text.label for text in written if text.label is not None), default=0.0) or 1.0
    found: list[tuple[int, int, int, float]] = []
    for rows in np.split(np.arange(len(written)), np.flatnonzero(np.diff(owner)) + 1):
        record = int(owner[rows[0]])
        by_role = {role: [row for row in rows.tolist() if written[row].role is role] for role in (*Role, None)}
        alike = by_role[None]
        found += [
            (one, other, record, most) for one, other in zip(alike, alike[1:] + alike[:1], strict=True) if one != other
        ]
        found += [
            (query, document, record, most if (label := written[document].label) is None else label)
            for query in by_role[Role.QUERY]
            for document in by_role[Role.DOCUMENT]
        ]
    first, second, records = (np.array([pair[place] for pair in found], dtype=np.int64) for place in range(3))
    return RelatedTexts(first, second, records, np.array([pair[3] for pair in found], dtype=np.float64))
