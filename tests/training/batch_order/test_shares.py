"""Several sources in one epoch: each with its share, drawn anew, the same for one seed and epoch."""

import numpy as np
import pytest

from diptych.core.errors import ConfigError
from diptych.training.batch_order import GroupedBatches, SourceShares, TextBatches, check_weights


def test_a_share_by_hand() -> None:
    shares = SourceShares(np.repeat([0, 1, 2], [60, 300, 4]), (0.0, 0.3, 0.2))
    assert shares.counts().tolist() == [60, 36, 24]  # 60 rows are the half that is left of 120
    drawn = np.bincount(shares.draw(np.random.default_rng(0)), minlength=364)
    assert (drawn[:60] == 1).all()  # without a weight: every row once
    assert (drawn[60:360].max(), drawn[60:360].sum()) == (1, 36)  # larger than its share: some rows, none twice
    assert (drawn[360:] == 6).all()  # smaller: each as often as the others
    assert SourceShares(np.repeat([0, 1], [90, 10]), (0.5, 0.5)).counts().tolist() == [50, 50]
    uneven = np.bincount(SourceShares(np.repeat([0, 1], [10, 4]), (0.0, 0.5)).draw(np.random.default_rng(0)))
    assert sorted(uneven[10:]) == [2, 2, 3, 3]


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        ((0.0, 1.0), "above 0 and below 1; found 1"),
        ((0.0, -0.5), "found -0.5"),
        ((0.5, 0.4), "add up to 0.9; expected 1"),
        ((0.6, 0.4, 0.0), "leaves nothing of an epoch"),
    ],
)
def test_weights_that_are_no_shares_are_refused(weights: tuple[float, ...], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        check_weights(weights)


def test_a_weight_of_a_source_without_rows_of_its_own_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"source 2 has the weight 0\.3, and nothing of its own"):
        SourceShares(np.zeros(5, dtype=np.int64), (0.0, 0.3))


def test_an_epoch_has_the_shares_and_is_the_same_again() -> None:
    image_owner, text_owner = np.arange(50), np.repeat(np.arange(50), 4)
    source = np.repeat([0, 1], [160, 40])
    order = TextBatches(image_owner, text_owner, batch_size=40, seed=3, shares=SourceShares(source, (0.0, 0.5)))
    first, second, again = (list(order.epoch(number)) for number in (0, 1, 0))
    assert len(first) == order.batches == 8
    texts = np.concatenate([rows.text for rows in first])
    assert np.bincount(source[texts]).tolist() == [160, 160]
    assert np.bincount(texts).tolist() == [1] * 160 + [4] * 40
    for rows in first:
        assert np.array_equal(text_owner[rows.text], rows.owner)
        assert np.array_equal(image_owner[rows.image], rows.owner)
        assert 12 <= (source[rows.text] == 1).sum() <= 28  # spread over the epoch
    assert all(np.array_equal(one.text, two.text) for one, two in zip(first, again, strict=True))
    assert any(not np.array_equal(one.text, two.text) for one, two in zip(first, second, strict=True))


def test_shares_count_the_texts_that_are_shown() -> None:
    owner = np.repeat(np.arange(20), 2)
    shown = np.arange(0, 40, 2)
    shares = SourceShares(np.repeat([0, 1], [20, 20]), (0.0, 0.5))
    order = TextBatches(np.arange(20), owner, batch_size=10, shown=shown, shares=shares)
    texts = np.concatenate([rows.text for rows in order.epoch(0)])
    assert set(texts.tolist()) <= set(shown.tolist())
    assert (texts >= 20).sum() == len(texts) / 2


def test_a_group_has_shares_of_records_and_none_twice_in_a_batch() -> None:
    owner = np.repeat(np.arange(44), 3)
    source = np.repeat([0, 1], [120, 12])  # 40 records, and 4
    order = GroupedBatches(np.arange(44), owner, texts=2, batch_size=8, shares=SourceShares(source, (0.0, 0.5)))
    assert (order.batches, order.left_out) == (20, 44)  # the third text of each record
    seen = np.zeros(44, dtype=np.int64)
    for rows in order.epoch(0):
        records, counts = np.unique(rows.owner, return_counts=True)
        assert (counts == 2).all()
        seen[records] += 1
    assert (seen[:40] == 1).all()
    assert (seen[40:] >= 9).all()
    assert seen[40:].sum() <= 40
    few = GroupedBatches(np.arange(44), owner, texts=2, batch_size=80, shares=SourceShares(source, (0.0, 0.5)))
    assert (few.batches, few.left_out) == (2, 44 + 64)  # each of 4 records 8 times too often, with 2 texts
    assert sum(len(rows) for rows in few.epoch(0)) == 80 + 16
