"""Ranks of classes, accuracies and their bootstrap: by hand, and against slow code."""

from __future__ import annotations

import numpy as np
import pytest

from diptych.core.errors import DataError
from diptych.evaluation.bootstrap import Resampling, by_draw, replicates, summarised
from diptych.evaluation.classification import (
    accuracy_numbers,
    check_labels,
    class_ranks,
    class_scores,
    confusions,
    predicted,
)

SCORES = np.array([[0.9, 0.1, 0.0], [0.5, 0.5, 0.1], [0.2, 0.3, 0.1], [0.1, 0.2, 0.7]], dtype=np.float32)
LABELS = np.array([0, 0, 0, 2])


def test_ties_count_against() -> None:
    ranks = class_ranks(SCORES, LABELS)
    assert ranks.tolist() == [0, 1, 1, 0]
    assert predicted(SCORES, LABELS).tolist() == [0, 1, 1, 2]
    assert class_ranks(np.array([[np.nan, 0.1]]), np.array([0])).tolist() == [1]


def test_accuracies_by_hand() -> None:
    numbers = accuracy_numbers([class_ranks(SCORES, LABELS)], LABELS, np.arange(4), 3)
    assert {name: summarised(number) for name, number in numbers.items()} == {
        "top-1": 0.5,  # images 0 and 3
        "per-class": pytest.approx((1 / 3 + 1) / 2),  # class 0: one of three; class 2: one of one
    }
    assert "top-5" in accuracy_numbers([np.array([0])], np.array([0]), np.array([0]), 6)


def test_a_number_is_the_mean_over_the_draws() -> None:
    draws = [np.array([0, 0, 1, 1]), np.array([0, 0, 0, 0])]
    numbers = accuracy_numbers(draws, LABELS, np.arange(4), 3)
    assert by_draw(numbers["top-1"]) == [0.5, 1.0]
    assert by_draw(numbers["per-class"]) == [pytest.approx(1 / 3), 1.0]


def test_the_bootstrap_of_the_mean_per_class_is_that_of_slow_code() -> None:
    generator = np.random.default_rng(0)
    labels, units = generator.integers(0, 3, 40), np.repeat(np.arange(20), 2)
    ranks = generator.integers(0, 2, 40)
    number = accuracy_numbers([ranks], labels, units, 3)["per-class"]
    resampling = Resampling(20, 50, seed=3)
    found = replicates([number], resampling)[0]
    for row, counts in zip(found, np.concatenate(list(resampling.counts())), strict=True):
        weight = counts[units]
        means = [
            np.average(ranks[labels == one] == 0, weights=weight[labels == one])
            for one in range(3)
            if weight[labels == one].any()
        ]
        assert row == pytest.approx(np.mean(means))


def test_a_resample_without_a_class_is_the_mean_of_the_others() -> None:
    labels, ranks = np.array([0, 0, 0, 1]), np.zeros(4, dtype=np.int64)
    number = accuracy_numbers([ranks], labels, np.arange(4), 2)["per-class"]
    assert set(replicates([number], Resampling(4, 200))[0]) == {1.0}  # all are right, whichever are drawn


def test_classes_and_confusions() -> None:
    ranks, guesses = class_ranks(SCORES, LABELS), predicted(SCORES, LABELS)
    first, last = class_scores(ranks, guesses, LABELS, ["dog", "cat", "fox"])
    assert (first.name, first.images, first.top_1, first.top_5) == ("dog", 3, pytest.approx(1 / 3), 1.0)
    assert first.taken_for == (("cat", 2),)
    assert (last.name, last.taken_for) == ("fox", ())
    assert confusions(guesses, LABELS, ["dog", "cat", "fox"]) == [("dog", "cat", 2)]


def test_images_of_one_class_are_refused() -> None:
    with pytest.raises(DataError, match="images of 1 class"):
        check_labels(np.array([1, 1]), 3)
    with pytest.raises(DataError, match="class number 3; expected numbers below 3"):
        check_labels(np.array([1, 3]), 3)
