"""Batches of given pairs of texts."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diptych.core.errors import ConfigError
from diptych.training.batch_order import TEXTS, BatchOrder, RelatedBatches


@settings(deadline=None)
@example([6, 3], 2, 3)  # two batches of a single record each, of which one gives the other a row
@given(st.lists(st.integers(1, 6), min_size=2, max_size=9), st.integers(2, 8), st.integers(0, 3))
def test_every_pair_once_an_epoch_and_two_records_in_each_batch(counts: list[int], size: int, epoch: int) -> None:
    owner = np.repeat(np.arange(len(counts)), counts)
    first, second = 10 * owner, 1000 + np.arange(len(owner))
    labels = np.linspace(0, 1, len(owner))
    order = RelatedBatches(first, second, owner, labels, batch_size=size, seed=2)
    assert isinstance(order, BatchOrder)
    batches = list(order.epoch(epoch))
    assert len(batches) == order.batches
    shown = np.concatenate([batch.second.row for batch in batches])
    assert sorted(shown.tolist()) == second.tolist()
    for batch in batches:
        assert batch.kind == TEXTS
        assert (batch.text == 10 * batch.owner).all()
        assert batch.label.tolist() == labels[batch.second.row - 1000].tolist()
        assert len(set(batch.owner.tolist())) > 1
    again = np.concatenate([batch.second.row for batch in order.epoch(epoch)])
    assert again.tolist() == shown.tolist()


def test_without_labels_there_are_none() -> None:
    pairs = np.arange(6)
    assert all(batch.label is None for batch in RelatedBatches(pairs, pairs, pairs, batch_size=3).epoch(0))


def test_pairs_of_one_record_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs pairs of at least 2 records, found 1"):
        RelatedBatches(np.arange(4), np.arange(4), np.zeros(4, dtype=np.int64))
