"""Pairs of texts from records whose texts have roles."""

import numpy as np

from diptych.core.types import Role, Text
from diptych.data.related import related_texts


def test_each_query_meets_each_document_of_its_record() -> None:
    written = (
        Text("which dog", role=Role.QUERY),
        Text("a dog", role=Role.DOCUMENT, label=4.0),
        Text("a cat", role=Role.DOCUMENT, label=0.0),
        Text("what cat", role=Role.QUERY),
        Text("this cat", role=Role.DOCUMENT),
        Text("one", role=None),
        Text("1", role=None),
        Text("alone", role=None),
    )
    found = related_texts(written, np.array([0, 0, 0, 1, 1, 2, 2, 3]))
    pairs = zip(found.first, found.second, found.owner, found.relevance, strict=True)
    assert sorted(tuple(map(float, pair)) for pair in pairs) == [
        (0, 1, 0, 4), (0, 2, 0, 0), (3, 4, 1, 4), (5, 6, 2, 4), (6, 5, 2, 4),
    ]  # fmt: skip
    assert found.are_graded
    assert found.only(found.is_related(2)).relevance.tolist() == [4, 4, 4, 4]  # related without a label is fully so
    unlabelled = related_texts([Text("a", role=Role.QUERY), Text("b", role=Role.DOCUMENT)], np.array([0, 0]))
    assert unlabelled is not None
    assert unlabelled.relevance.tolist() == [1]


def test_texts_without_roles_are_no_such_pairs() -> None:
    assert related_texts((Text("a"), Text("b")), np.array([0, 0])) is None
    assert related_texts((), np.zeros(0, dtype=np.int64)) is None
