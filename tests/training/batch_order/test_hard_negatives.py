"""Records that are hard for each other meet in a batch."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core.errors import ConfigError
from diptych.training.batch_order import BatchRows, EpochOrder, HardNegatives, TextBatches

counts = st.lists(st.integers(1, 6), min_size=2, max_size=12)


def owners(per_record: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(per_record)), per_record)


def random_negatives(records: int, seed: int, share: float) -> HardNegatives:
    draw = np.random.default_rng(seed)
    return HardNegatives([[int(r) for r in draw.permutation(records)[:3] if r != own] for own in range(records)], share)


def batches_of(texts: list[int], hard: HardNegatives | None, **options: object) -> TextBatches:
    return TextBatches(np.arange(len(texts)), owners(texts), hard_negatives=hard, **options)  # type: ignore[arg-type]


def shown(batches: list[BatchRows]) -> list[list[int]]:
    return [batch.text.tolist() for batch in batches]


def pairs_of(records: int) -> HardNegatives:
    """0 and 1 are hard for each other, 2 and 3, and so on."""
    return HardNegatives([[record ^ 1] for record in range(records)])


def test_by_hand() -> None:
    """Four records, the first with two texts: its second is not due while its first is."""
    order = EpochOrder(
        time=np.array([0.1, 0.6, 0.3, 0.8, 0.2]),
        owner=np.array([0, 0, 1, 2, 3]),
        by_owner=np.array([0, 1, 2, 3, 4]),
        first=np.array([0, 2, 3, 4]),
        count=np.array([2, 1, 1, 1]),
    )
    assert order.order().tolist() == [0, 4, 2, 1, 3]
    draw = np.random.default_rng(0)
    assert order.order_with(HardNegatives([[2], [0], [], []]), draw).tolist() == [0, 3, 4, 2, 1]
    # Record 3 wants 0, whose first text has come; record 1 then takes the next in its list.
    assert order.order_with(HardNegatives([[], [3, 2], [], [0]]), draw).tolist() == [0, 4, 2, 3, 1]
    # Two each: the hardest first, and none where the list is at its end.
    assert order.order_with(HardNegatives([[2, 1, 3], [], [], []], 2 / 3), draw).tolist() == [0, 3, 2, 4, 1]
    assert order.due(0, 0.49) == 0
    assert order.due(0, 0.51) == 1


def test_a_record_without_a_text_is_never_due() -> None:
    order = EpochOrder(
        np.array([0.5, 0.1]), np.array([0, 2]), np.array([0, 1]), np.array([0, 1, 1]), np.array([1, 0, 1])
    )
    assert order.due(1, 0.3) is None
    assert order.order_with(HardNegatives([[], [], [1, 0]]), np.random.default_rng(0)).tolist() == [1, 0]


@settings(deadline=None)
@given(counts, st.integers(2, 20), st.integers(0, 5), st.integers(0, 3), st.floats(0.05, 0.95))
def test_every_text_once(texts: list[int], batch_size: int, seed: int, epoch: int, share: float) -> None:
    made = batches_of(texts, random_negatives(len(texts), seed, share), batch_size=batch_size, seed=seed)
    batches = list(made.epoch(epoch))
    assert len(batches) == made.batches
    shown_once = sorted(itertools.chain(*shown(batches)))
    assert len(set(shown_once)) == len(shown_once) == sum(texts) - made.left_out
    for batch in batches:
        assert batch.owner.tolist() == owners(texts)[batch.text].tolist() == batch.image.tolist()


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(1, 6), st.integers(2, 30), st.integers(0, 9), st.floats(0.05, 0.95))
def test_siblings_meet_only_where_two_rounds_touch(
    records: int, texts: int, batch_size: int, epoch: int, share: float
) -> None:
    made = batches_of([texts] * records, random_negatives(records, epoch, share), batch_size=batch_size)
    order = np.concatenate([batch.owner for batch in made.epoch(epoch)])
    for each in order.reshape(texts, records):  # a round: every record once
        assert sorted(each) == list(range(records))


@settings(deadline=None)
@given(counts, st.integers(2, 12), st.integers(0, 3), st.integers(0, 3))
def test_a_function_of_seed_and_epoch_alone(texts: list[int], size: int, seed: int, epoch: int) -> None:
    one, other = (batches_of(texts, random_negatives(len(texts), 1, 0.4), batch_size=size, seed=seed) for _ in range(2))
    list(one.epoch(9))  # what was drawn before does not count
    assert shown(list(one.epoch(epoch))) == shown(list(other.epoch(epoch)))
    assert shown(list(itertools.islice(one.epoch(epoch), 1, None))) == shown(list(other.epoch(epoch)))[1:]


def test_hard_records_meet_far_more_often_than_by_chance() -> None:
    def met(hard: HardNegatives | None) -> float:
        batches = [batch for epoch in range(3) for batch in batches_of([5] * 200, hard, batch_size=20).epoch(epoch)]
        with_negative = [np.isin(batch.owner ^ 1, batch.owner).mean() for batch in batches]
        return float(np.mean(with_negative))

    assert met(None) == pytest.approx(19 / 199, abs=0.03)
    assert met(pairs_of(200)) > 0.9  # all but those that the end of a batch parts


@pytest.mark.parametrize("share", [0.2, 0.5, 0.75])
def test_the_share_of_a_batch_that_is_for_partners(share: float) -> None:
    everyone = HardNegatives([[other for other in range(400) if other != own] for own in range(400)], share)
    brought = everyone.wanted(10_000, np.random.default_rng(0)).mean()
    assert brought / (1 + brought) == pytest.approx(share, abs=0.01)


def test_without_hard_records_the_order_is_that_of_chance() -> None:
    nobody = HardNegatives([[] for _ in range(20)])
    assert sorted(itertools.chain(*shown(list(batches_of([3] * 20, nobody).epoch(1))))) == list(range(60))
    by_chance = [batch.text.tolist() for batch in batches_of([3] * 20, None, batch_size=10).epoch(1)]
    assert [batch.text.tolist() for batch in batches_of([3] * 20, nobody, batch_size=10).epoch(1)] == by_chance


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_a_share_that_makes_no_sense(share: float) -> None:
    with pytest.raises(ConfigError, match="above 0 and below 1"):
        HardNegatives([[1], [0]], share)
