"""Which texts answer which, by hand, and the nearest wrong ones against a slow search."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.errors import DataError
from diptych.core.types import Role, Text
from diptych.training.text_relations import nearest_wrong, text_relations

QUERY, DOCUMENT = Role.QUERY, Role.DOCUMENT


def test_captions_of_a_record_ask_for_each_other() -> None:
    texts = [Text("a dog"), Text("one dog"), Text("a cat"), Text("a hat"), Text("the hat"), Text("a hat")]
    found = text_relations(np.array([0, 0, 1, 2, 2, 2]), texts)
    assert found.asking.tolist() == [0, 1, 3, 4, 5]  # the cat is alone
    assert [answers.tolist() for answers in found.answers] == [[1], [0], [4], [3, 5], [4]]  # not the same words
    assert [degree.tolist() for degree in found.related] == [[1], [1], [1], [1, 1], [1]]
    assert found.gallery.tolist() == [0, 1, 2, 3, 4, 5]


def test_queries_ask_for_documents_to_the_degree_of_their_labels() -> None:
    texts = [
        Text("dogs?", role=QUERY),
        Text("all about dogs", role=DOCUMENT, label=4.0),
        Text("of cats and dogs", role=DOCUMENT, label=1.0),
        Text("hats", role=DOCUMENT, label=0.0),
        Text("hats?", role=QUERY),
        Text("hats", role=DOCUMENT),
        Text("nobody asks", role=DOCUMENT),
        Text("unanswered?", role=QUERY),
    ]
    found = text_relations(np.array([0, 0, 0, 0, 1, 1, 2, 3]), texts)
    assert found.asking.tolist() == [0, 4]
    assert [answers.tolist() for answers in found.answers] == [[1, 2], [5]]
    assert [degree.tolist() for degree in found.related] == [[1.0, 0.25], [1.0]]
    assert [wrong.tolist() for wrong in found.unrelated] == [[3], []]
    assert found.gallery.tolist() == [1, 2, 3, 5, 6]
    with pytest.raises(DataError, match="no text has another one in its record that answers it"):
        text_relations(np.array([0, 1]), [Text("a"), Text("b")])


@given(st.integers(0, 10_000), st.integers(1, 12))
def test_the_nearest_wrong_texts_are_those_of_a_slow_search(seed: int, most: int) -> None:
    draw = np.random.default_rng(seed)
    owner = np.sort(draw.integers(0, 5, 14))
    owner[:2], owner[-1] = owner[0], owner[0] + 9  # one record with two texts, and another record
    texts = [Text(str(draw.integers(0, 9)) + "ab"[row % 2]) for row in range(len(owner))]
    vectors = draw.normal(size=(len(owner), 3)).astype(np.float32)
    try:
        relations = text_relations(owner, texts)
        found = nearest_wrong(relations, vectors, owner, texts, most)
    except DataError:
        return
    expected = []
    for row, answers in zip(relations.asking, relations.answers, strict=True):
        right = {texts[place].value for place in (row, *answers)}
        wrong = [other for other in range(len(texts)) if owner[other] != owner[row] and texts[other].value not in right]
        expected.append(sorted(wrong, key=lambda other: -float(vectors[row] @ vectors[other])))
    least = min(map(len, expected))
    for given_rows, sorted_rows in zip(found, expected, strict=True):
        kept = sorted_rows[: min(most, least)]
        assert given_rows.tolist() == [kept[place % len(kept)] for place in range(most)]


def test_an_answer_is_not_wrong_where_another_record_holds_it_too() -> None:
    texts = [
        Text("dogs?", role=QUERY),
        Text("All about dogs", role=DOCUMENT, label=1.0),
        Text("what is a dog?", role=QUERY),
        Text("all about  dogs", role=DOCUMENT, label=1.0),
        Text("all about dogs", role=DOCUMENT, item="d1"),  # of a corpus, ranked for every query
        Text("hats", role=DOCUMENT, item="d2"),
    ]
    owner = np.array([0, 0, 1, 1, 2, 3])
    vectors = np.ones((6, 2), dtype=np.float32)
    found = nearest_wrong(text_relations(owner, texts), vectors, owner, texts, 3)
    assert found.tolist() == [[5, 5, 5], [5, 5, 5]]
