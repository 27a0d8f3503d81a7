"""Which texts answer which: what a text cross-encoder learns from, and the wrong texts that it is shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.errors import DataError
from diptych.core.shapes import Float32, Int, Int64
from diptych.core.types import Role, Text

from .nearest import ROWS, nearest_allowed


@dataclass(frozen=True)
class TextRelations:
    """For each text that asks: the texts of its record that answer it, and those labelled unrelated.

    Among texts without sides each asks for all the others of its record; else queries ask for documents, whose label,
    as a share of the largest, says how well they answer.
    """

    asking: Int64[np.ndarray, " q"]  # rows of texts that have at least one answer
    answers: tuple[Int64[np.ndarray, " _"], ...]
    related: tuple[Float32[np.ndarray, " _"], ...]  # 0 to 1, of each answer
    unrelated: tuple[Int64[np.ndarray, " _"], ...]
    gallery: Int64[np.ndarray, " g"]  # rows that a wrong text may be taken from: the documents, or all


def text_relations(owner: Int[np.ndarray, " m"], texts: Sequence[Text]) -> TextRelations:
    """The relations within each record. Raises DataError where no text has another that answers it."""
    rows: dict[int, list[int]] = defaultdict(list)
    for row, record in enumerate(owner):
        rows[int(record)].append(row)
    most = max((text.label or 0.0 for text in texts), default=0.0) or 1.0
    asking, answers, related, unrelated = [], [], [], []
    for of_record in rows.values():
        sides = any(texts[row].role is not None for row in of_record)
        for row in of_record:
            if sides and texts[row].role is not Role.QUERY:
                continue
            others = [other for other in of_record if other != row and texts[other].value != texts[row].value]
            if sides:
                others = [other for other in others if texts[other].role is Role.DOCUMENT]
            right = [other for other in others if texts[other].relevance > 0]
            if right:
                asking.append(row)
                answers.append(np.array(right, dtype=np.int64))
                labels = [texts[other].label for other in right]
                related.append(np.array([1.0 if label is None else label / most for label in labels], dtype=np.float32))
                wrong = [other for other in others if texts[other].relevance <= 0]
                unrelated.append(np.array(wrong, dtype=np.int64))
    if not asking:
        raise DataError("no text has another one in its record that answers it; give pairs or groups of texts")
    documents = [row for row, text in enumerate(texts) if text.role is Role.DOCUMENT]
    gallery = documents or list(range(len(texts)))
    return TextRelations(
        np.array(asking), tuple(answers), tuple(related), tuple(unrelated), np.array(gallery, dtype=np.int64)
    )


def nearest_wrong(
    relations: TextRelations,
    vectors: Float32[np.ndarray, "m d"],
    owner: Int[np.ndarray, " m"],
    texts: Sequence[Text],
    most: int,
) -> Int64[np.ndarray, "q most"]:
    """The gallery's texts nearest to each asking one that are of another record and do not answer it, nearest first.

    A text that has the words of the asking one, or of one of its answers, is not wrong in whichever record it stands.
    Where there are fewer than `most`, they are repeated. Raises DataError where all texts are of one record.
    """
    gallery = relations.gallery
    words = word_numbers(texts)
    found = np.zeros((len(relations.asking), most), dtype=np.int64)
    for start in range(0, len(relations.asking), ROWS):
        rows = relations.asking[start : start + ROWS]
        scores = vectors[rows] @ vectors[gallery].T
        wrong = (owner[rows][:, None] != owner[gallery][None]) & (words[rows][:, None] != words[gallery][None])
        for is_wrong, answers in zip(wrong, relations.answers[start : start + ROWS], strict=True):
            is_wrong &= ~np.isin(words[gallery], words[answers])
        near = nearest_allowed(scores, wrong, most)
        if near is None:
            raise DataError("a text has no wrong one to be told apart from; give texts of two records or more")
        found[start : start + ROWS] = gallery[near]
    return found


def word_numbers(texts: Sequence[Text]) -> Int64[np.ndarray, " m"]:
    """A number for each text, the same for the same words: case and spaces do not count."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(" ".join(text.value.casefold().split()), len(known)) for text in texts])
