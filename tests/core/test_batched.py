"""Items in lists of a size."""

from __future__ import annotations

import itertools

from diptych.core.batched import batched


def test_all_items_in_order_and_the_last_list_shorter() -> None:
    assert list(batched(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batched(iter([1, 2]), 2)) == [[1, 2]]
    assert list(batched([], 2)) == []


def test_no_more_is_read_than_asked_for() -> None:
    numbers = itertools.count()
    assert next(batched(numbers, 2)) == [0, 1]
    assert next(numbers) == 2
