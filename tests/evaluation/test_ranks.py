import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core.errors import DataError
from diptych.evaluation import Positives, ranks_from_embeddings, ranks_from_scores
from diptych.evaluation.ranks import FEW_POSITIVES

from .twins import rank_positions


@st.composite
def tasks(draw, most=8):
    """Scores with many ties, and graded relevance with at least one relevant item a query."""
    queries, gallery = draw(st.integers(1, 5)), draw(st.integers(1, most))
    levels = draw(st.integers(1, 6))
    scores = draw(
        st.lists(
            st.lists(st.integers(0, levels), min_size=gallery, max_size=gallery),
            min_size=queries,
            max_size=queries,
        )
    )
    relevant = [
        draw(st.dictionaries(st.integers(0, gallery - 1), st.sampled_from([1.0, 2.0, 3.0]), min_size=1))
        for _ in range(queries)
    ]
    return np.array(scores, dtype=np.float32), relevant


def split(ranks):
    return [
        list(zip(ranks.ranks[start:stop].tolist(), ranks.gains[start:stop].tolist(), strict=True))
        for start, stop in zip(ranks.offsets[:-1], ranks.offsets[1:], strict=True)
    ]


@given(tasks())
def test_ranks_are_those_of_the_slow_twin_ties_and_grades_included(task):
    scores, relevant = task
    ranks = ranks_from_scores(scores, Positives.from_gains(relevant, scores.shape[1]))

    assert split(ranks) == [rank_positions(row, wanted) for row, wanted in zip(scores, relevant, strict=True)]


@settings(max_examples=30)
@given(tasks(most=40))
def test_many_positives_take_the_sorting_path_to_the_same_ranks(task):
    scores, _ = task
    scores = np.repeat(scores, 2 * FEW_POSITIVES, axis=1)
    relevant = [dict.fromkeys(range(0, scores.shape[1], 2), 1.0) for _ in scores]
    assert len(relevant[0]) >= FEW_POSITIVES
    ranks = ranks_from_scores(scores, Positives.from_gains(relevant, scores.shape[1]))

    assert split(ranks) == [rank_positions(row, wanted) for row, wanted in zip(scores, relevant, strict=True)]


@given(tasks(), st.integers(1, 50))
def test_the_block_size_changes_nothing(task, block):
    scores, relevant = task
    positives = Positives.from_gains(relevant, scores.shape[1])

    blocked = ranks_from_scores(scores, positives, block_scores=block)

    assert np.array_equal(blocked.ranks, ranks_from_scores(scores, positives).ranks)


@given(tasks(), st.randoms(use_true_random=False))
def test_the_order_of_the_gallery_changes_nothing(task, random):
    scores, relevant = task
    order = list(range(scores.shape[1]))
    random.shuffle(order)
    moved = [{order.index(item): gain for item, gain in wanted.items()} for wanted in relevant]

    before = ranks_from_scores(scores, Positives.from_gains(relevant, scores.shape[1]))
    after = ranks_from_scores(scores[:, order], Positives.from_gains(moved, scores.shape[1]))

    assert split(before) == split(after)


@given(tasks())
def test_an_irrelevant_item_changes_nothing_when_worst_and_pushes_down_when_tied(task):
    scores, relevant = task
    positives = Positives.from_gains(relevant, scores.shape[1] + 1)
    before = ranks_from_scores(scores, Positives.from_gains(relevant, scores.shape[1]))

    worst = ranks_from_scores(np.c_[scores, np.full(len(scores), -1.0)], positives)
    best = ranks_from_scores(np.c_[scores, scores.max(axis=1)], positives)

    assert np.array_equal(worst.ranks, before.ranks)
    assert np.array_equal(best.ranks, before.ranks + 1)


def test_ties_by_hand():
    scores = np.array([[0.5, 0.9, 0.5, 0.5, 0.1]])
    # Items 0 and 4 are relevant: 0.9 and the two irrelevant 0.5 come before item 0.
    ranks = ranks_from_scores(scores, Positives.from_gains([{0: 1.0, 4: 1.0}], 5))

    assert ranks.ranks.tolist() == [3, 4]
    assert ranks.best.tolist() == [3]


def test_equal_scores_everywhere_put_the_relevant_item_last():
    ranks = ranks_from_scores(np.zeros((2, 7)), Positives.from_labels(np.array([0, 3]), np.arange(7)))

    assert ranks.best.tolist() == [6, 6]


@pytest.mark.parametrize("dimension", [3, 17, 129, 512])
def test_copies_in_the_gallery_are_ties_whatever_the_rounding(dimension):
    generator = np.random.default_rng(dimension)
    once = generator.normal(size=(67, dimension)).astype(np.float32)
    gallery = np.concatenate([once, once, once])  # copies land in other columns of the matrix product
    queries = generator.normal(size=(50, dimension)).astype(np.float32)
    targets = generator.integers(0, len(gallery), 50)

    alone = ranks_from_embeddings(queries, once, Positives.from_labels(targets % 67, np.arange(67)))
    tripled = ranks_from_embeddings(queries, gallery, Positives.from_labels(targets, np.arange(201)))

    # Every item before the target counts three times, and its own two copies come before it too.
    assert np.array_equal(tripled.best, 3 * alone.best + 2)


def test_a_collapsed_model_gets_the_last_rank_not_the_first():
    same = np.full((40, 33), 0.1, dtype=np.float32)

    ranks = ranks_from_embeddings(same, same, Positives.from_labels(np.arange(40), np.arange(40)))

    assert (ranks.best == 39).all()


def test_zero_and_minus_zero_are_the_same_vector():
    gallery = np.array([[0.0, 1.0], [-0.0, 1.0]], dtype=np.float32)

    ranks = ranks_from_embeddings(gallery[:1], gallery, Positives.from_labels(np.array([0]), np.arange(2)))

    assert ranks.best.tolist() == [1]


def test_embeddings_and_their_scores_rank_alike_in_every_block_size():
    generator = np.random.default_rng(3)
    queries, gallery = (generator.integers(-4, 5, size=(n, 6)).astype(np.float32) for n in (31, 44))
    positives = Positives.from_labels(generator.integers(0, 5, 31), np.r_[generator.integers(0, 5, 39), :5])
    wanted = ranks_from_scores(queries @ gallery.T, positives)

    for block in (1, 100, 1000, 10**6):
        ranks = ranks_from_embeddings(queries, gallery, positives, block_scores=block)
        assert np.array_equal(ranks.ranks, wanted.ranks)


def test_memory_is_bounded_by_the_block_not_by_the_matrix():
    generator = np.random.default_rng(0)
    queries, gallery = (generator.normal(size=(n, 8)).astype(np.float32) for n in (4000, 3000))
    positives = Positives.from_labels(np.arange(4000) % 3000, np.arange(3000))

    tracemalloc.start()
    ranks_from_embeddings(queries, gallery, positives, block_scores=100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 4_000_000  # the whole matrix takes 48,000,000 bytes


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("side", [0, 1])
def test_vectors_that_are_not_finite_are_refused_by_number(bad, side):
    sides = [np.ones((3, 2), dtype=np.float32), np.ones((3, 2), dtype=np.float32)]
    sides[side][1, 0] = bad

    with pytest.raises(DataError, match=r"(query|gallery item) 1 "):
        ranks_from_embeddings(*sides, Positives.from_labels(np.arange(3), np.arange(3)))


@pytest.mark.parametrize("relevant", [1, FEW_POSITIVES + 1])
@pytest.mark.parametrize("place", [0, 5, 29])
def test_a_score_that_is_nan_is_refused_wherever_it_is(relevant, place):
    scores = np.zeros((2, 30), dtype=np.float32)
    scores[1, place] = np.nan
    positives = Positives.from_gains([dict.fromkeys(range(relevant), 1.0)] * 2, 30)

    with pytest.raises(DataError, match="NaN"):
        ranks_from_scores(scores, positives)


def test_minus_infinity_is_a_score_like_any_other():
    ranks = ranks_from_scores(np.array([[-np.inf, -np.inf, 1.0]]), Positives.from_gains([{0: 1.0}], 3))

    assert ranks.best.tolist() == [2]


def test_shapes_that_do_not_fit_are_refused():
    positives = Positives.from_labels(np.arange(3), np.arange(3))
    square = np.ones((3, 2), dtype=np.float32)

    with pytest.raises(DataError, match="number of columns"):
        ranks_from_embeddings(square, np.ones((3, 4), dtype=np.float32), positives)
    with pytest.raises(DataError, match="3 queries and 3 items"):
        ranks_from_embeddings(square[:2], square, positives)
    with pytest.raises(DataError, match="nothing to rank"):
        ranks_from_scores(np.ones((0, 3)), Positives.from_labels(np.arange(0), np.arange(3)))


def test_a_query_without_a_relevant_item_is_named():
    with pytest.raises(DataError, match="query 1 has no relevant item"):
        ranks_from_scores(np.ones((2, 3)), Positives.from_gains([{0: 1.0}, {}], 3))
