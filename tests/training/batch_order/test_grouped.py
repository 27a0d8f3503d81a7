"""Batches of records: with several of their texts, or drawn without end."""

import numpy as np

from diptych.training.batch_order import GroupedBatches, NearRecords, RandomBatches


def test_every_text_once_beside_the_others_of_its_record() -> None:
    image_owner, text_owner = np.array([0, 1, 1, 2, 3]), np.array([0, 0, 0, 1, 2, 2, 3])
    order = GroupedBatches(image_owner, text_owner, views=2, batch_size=3, seed=4)
    first = list(order.epoch(0))
    assert len(first) == order.batches == 2
    texts = np.concatenate([rows.text for rows in first])
    assert sorted(texts) == list(range(7))
    for rows in first:
        assert np.array_equal(text_owner[rows.text], rows.owner)
        assert np.array_equal(image_owner[rows.image], rows.owner)
        for owner in np.unique(rows.owner):
            here = rows.owner == owner
            assert len(np.unique(rows.image[here])) == len(np.unique(rows.view[here])) == 1
    again = list(order.epoch(0))
    assert all(np.array_equal(one.text, other.text) for one, other in zip(first, again, strict=True))
    assert not np.array_equal(np.concatenate([rows.text for rows in order.epoch(1)]), texts)


def test_with_one_text_an_image_no_record_is_twice_in_a_batch() -> None:
    order = GroupedBatches(np.arange(6), np.repeat(np.arange(6), 5), texts=1, batch_size=3)
    for rows in order.epoch(0):
        assert len(np.unique(rows.owner)) == len(rows.owner)


def test_random_batches_have_their_number_and_no_record_twice_in_one() -> None:
    owners = np.repeat(np.arange(7), 3)
    order = RandomBatches(owners, owners, steps=20, batch_size=5, seed=4)
    batches = list(order.epoch(0))
    assert len(batches) == order.batches == 20
    for rows in batches:
        assert len(rows) == 5
        assert len(set(rows.owner.tolist())) == 5
        assert np.array_equal(owners[rows.image], rows.owner)
        assert np.array_equal(owners[rows.text], rows.owner)
    shown = np.bincount(np.concatenate([rows.owner for rows in batches]))
    assert shown.max() - shown.min() <= 1  # one shuffle after the other
    again = list(RandomBatches(owners, owners, steps=20, batch_size=5, seed=4).epoch(0))
    assert all(np.array_equal(one.text, other.text) for one, other in zip(batches, again, strict=True))
    assert any(not np.array_equal(one.text, two.text) for one, two in zip(batches, order.epoch(1), strict=True))


def test_a_batch_is_no_larger_than_the_data() -> None:
    owners = np.arange(3)
    assert {len(rows) for rows in RandomBatches(owners, owners, steps=4, batch_size=64).epoch(0)} == {3}


def test_only_what_is_to_be_shown_is_drawn_and_then_replaced() -> None:
    text_owner = np.repeat(np.arange(4), 3)  # of each record an original, a translation and another original
    shown = np.array([row for row in range(12) if row % 3 != 1])
    order = GroupedBatches(
        np.arange(4),
        text_owner,
        batch_size=4,
        shown=shown,
        substitute=lambda rows, _: np.where(rows % 3 == 0, rows + 1, rows),
    )
    assert (order.batches, order.left_out) == (2, 0)
    batches = list(order.epoch(0))
    assert sorted(np.concatenate([rows.text for rows in batches])) == [row for row in range(12) if row % 3 != 0]
    assert all(np.array_equal(text_owner[rows.text], rows.owner) for rows in batches)


def test_near_records_stand_together() -> None:
    of = np.array([[(record ^ 1), (record ^ 2)] for record in range(16)])  # near: within a block of four
    near = NearRecords(of, 2)
    order = GroupedBatches(np.arange(16), np.repeat(np.arange(16), 2), batch_size=8, seed=3, near=near)
    batches = list(order.epoch(0))
    assert len(batches) == order.batches == 4
    assert sorted(np.concatenate([rows.text for rows in batches])) == list(range(32))
    pairs = np.concatenate([rows.owner[::2].reshape(-1, 2) for rows in batches])  # each record has two rows
    share = np.mean([second in of[first] for first, second in pairs])
    assert share == near.share(3) > 0.7
    again = list(order.epoch(0))
    assert all(np.array_equal(one.text, other.text) for one, other in zip(batches, again, strict=True))
    assert not np.array_equal(batches[0].owner, next(iter(order.epoch(1))).owner)


def test_groups_hold_every_record_once_and_only_the_last_is_small() -> None:
    near = NearRecords(np.zeros((11, 3), dtype=np.int64), 4)  # all are near to the first record alone
    draw = np.random.default_rng(0)
    groups = near.groups(draw.permutation(11), draw)
    assert sorted(np.concatenate(groups)) == list(range(11))
    assert [len(group) for group in groups] == [4, 4, 3]
    order = GroupedBatches(np.arange(11), np.arange(11), batch_size=2, near=near)
    assert [len(rows) for rows in order.epoch(0)] == [4, 4, 3]
