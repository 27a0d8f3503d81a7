import math

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from ir_measures import AP, RR, P, Qrel, ScoredDoc, Success, nDCG

from diptych.core.errors import ConfigError
from diptych.core.registry import register
from diptych.evaluation import Positives, metric_table, ranks_from_scores
from diptych.evaluation.metrics import (
    average_precision,
    first_rank,
    metric_named,
    ndcg_at,
    precision_at,
    recall_at,
    reciprocal_rank,
    share_at,
)

from . import twins
from .test_ranks import tasks


def ranks_at(*places, gains=None, gallery=20):
    """One query whose relevant items sit at these places (from 0)."""
    scores = -np.arange(gallery, dtype=np.float64)[None]
    gains = gains or [1.0] * len(places)
    return ranks_from_scores(scores, Positives.from_gains([dict(zip(places, gains, strict=True))], gallery))


def test_by_hand_with_two_positives_at_the_second_and_fifth_place():
    ranks = ranks_at(1, 4)

    assert recall_at(ranks, 1).tolist() == [0.0]
    assert recall_at(ranks, 2).tolist() == [1.0]
    assert share_at(ranks, 2).tolist() == [1 / 2]
    assert share_at(ranks, 5).tolist() == [1.0]
    assert precision_at(ranks, 5).tolist() == [2 / 5]
    assert precision_at(ranks, 4).tolist() == [1 / 4]
    assert first_rank(ranks).tolist() == [2.0]
    assert reciprocal_rank(ranks).tolist() == [0.5]
    assert average_precision(ranks) == pytest.approx([(1 / 2 + 2 / 5) / 2])
    wanted = (1 / math.log2(3) + 1 / math.log2(6)) / (1 + 1 / math.log2(3))
    assert ndcg_at(ranks, 10) == pytest.approx([wanted])
    assert ndcg_at(ranks, 1).tolist() == [0.0]


def test_graded_ndcg_by_hand():
    # Gains 3, 1, 2 at the first, second and fourth place; the best order is 3, 2, 1.
    ranks = ranks_at(0, 1, 3, gains=[3.0, 1.0, 2.0])

    earned = 3 + 1 / math.log2(3) + 2 / math.log2(5)
    assert ndcg_at(ranks, 5) == pytest.approx([earned / (3 + 2 / math.log2(3) + 1 / 2)])
    assert ndcg_at(ranks, 2) == pytest.approx([(3 + 1 / math.log2(3)) / (3 + 2 / math.log2(3))])


def test_precision_beyond_the_gallery_counts_misses():
    assert precision_at(ranks_at(0, gallery=3), 10).tolist() == [0.1]


def test_medians_and_means_over_queries():
    scores = -np.tile(np.arange(9.0), (4, 1))
    ranks = ranks_from_scores(scores, Positives.from_labels(np.array([0, 2, 5, 8]), np.arange(9)))
    table = metric_table()

    assert table["medR"].of(ranks) == (3 + 6) / 2
    assert table["meanR"].of(ranks) == (1 + 3 + 6 + 9) / 4
    assert table["R@5"].of(ranks) == 0.5
    assert table["MRR"].of(ranks) == pytest.approx((1 + 1 / 3 + 1 / 6 + 1 / 9) / 4)


@given(tasks())
def test_every_metric_is_that_of_its_slow_twin(task):
    scores, relevant = task
    ranks = ranks_from_scores(scores, Positives.from_gains(relevant, scores.shape[1]))
    for k in (1, 3, 10):
        wanted = [twins.metrics(row, gains, k) for row, gains in zip(scores, relevant, strict=True)]
        found = {
            "recall": recall_at(ranks, k),
            "precision": precision_at(ranks, k),
            "first": first_rank(ranks),
            "reciprocal": reciprocal_rank(ranks),
            "average_precision": average_precision(ranks),
            "ndcg": ndcg_at(ranks, k),
        }
        for name, values in found.items():
            assert values == pytest.approx([one[name] for one in wanted]), name


@given(tasks())
def test_bounds_and_order(task):
    scores, relevant = task
    ranks = ranks_from_scores(scores, Positives.from_gains(relevant, scores.shape[1]))
    numbers = {name: metric.of(ranks) for name, metric in metric_table().items()}

    assert all(0 <= numbers[name] <= 1 + 1e-9 for name, metric in metric_table().items() if metric.percent)
    assert numbers["R@1"] <= numbers["R@5"] <= numbers["R@10"]
    assert numbers["R@1"] == numbers["P@1"] <= numbers["MRR"]
    assert 1 <= numbers["meanR"] <= scores.shape[1]
    assert numbers["mAP"] > 0


def test_against_ir_measures_on_distinct_scores():
    generator = np.random.default_rng(11)
    queries, gallery = 40, 300
    scores = generator.permuted(np.tile(np.arange(gallery) / gallery, (queries, 1)), axis=1)
    relevant = [
        {int(item): float(generator.integers(1, 4)) for item in generator.choice(gallery, 6, replace=False)}
        for _ in range(queries)
    ]
    ranks = ranks_from_scores(scores, Positives.from_gains(relevant, gallery))
    qrels = [Qrel(f"q{q}", f"d{d}", int(gain)) for q, wanted in enumerate(relevant) for d, gain in wanted.items()]
    run = [ScoredDoc(f"q{q}", f"d{d}", float(scores[q, d])) for q in range(queries) for d in range(gallery)]
    theirs = ir_measures.calc_aggregate(
        [AP, RR, *(measure @ k for k in (1, 5, 10, 100) for measure in (P, Success, nDCG))], qrels, run
    )
    table = metric_table((1, 5, 10, 100))
    ours = {
        AP: table["mAP"],
        RR: table["MRR"],
        **{P @ k: table[f"P@{k}"] for k in (1, 5, 10, 100)},
        **{Success @ k: table[f"R@{k}"] for k in (1, 5, 10, 100)},
        **{nDCG @ k: table[f"NDCG@{k}"] for k in (5, 10, 100)},
    }

    for measure, metric in ours.items():
        assert metric.of(ranks) == pytest.approx(theirs[measure], abs=1e-6), measure


def test_cuts_below_one_are_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        metric_table((0, 5))
    with pytest.raises(ConfigError, match="at least 1"):
        recall_at(ranks_at(0), 0)


def test_a_registered_metric_is_in_the_table_after_the_built_in_ones():
    @register.metric("worst", lower_is_better=True)
    def worst(ranks):
        """Place of the last relevant item."""
        return np.maximum.reduceat(ranks.ranks, ranks.offsets[:-1]) + 1

    @register.metric("all@k", percent=True)
    def all_at(ranks, k):
        """Whether all relevant items are among the first k."""
        return worst(ranks) <= k

    scores = -np.tile(np.arange(4.0), (2, 1))
    ranks = ranks_from_scores(scores, Positives.from_gains([{0: 1.0, 2: 1.0}, {1: 1.0}], 4))
    table = metric_table((1, 2))
    assert list(table)[-3:] == ["all@1", "all@2", "worst"]
    assert (table["worst"].of(ranks), table["all@2"].of(ranks)) == (2.5, 0.5)
    assert metric_named("all@7").percent
    assert metric_named("all@0") is None


def test_a_metric_that_is_no_number_a_query_is_refused():
    register.metric("mean", "one number for all")(lambda ranks: 0.5)
    with pytest.raises(ConfigError, match=r"the metric mean gave an array of shape \(\); expected one number for each"):
        metric_table()["mean"].checked(ranks_at(0))
