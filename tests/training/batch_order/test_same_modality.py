"""Pairs within one modality."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core.errors import ConfigError
from diptych.training.batch_order import (
    ACROSS,
    IMAGES,
    TEXTS,
    BatchRows,
    ImageBatches,
    MixedBatches,
    PairShares,
    TextBatches,
)
from diptych.training.batch_order.same_modality import kinds_of

shapes = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=2, max_size=10)


def owners(per_record: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(per_record)), per_record)


def mixed(shape: list[tuple[int, int]], shares: PairShares, views: int = 2, seed: int = 0) -> MixedBatches:
    images, texts = (owners(list(counts)) for counts in zip(*shape, strict=True))
    plan = TextBatches(images, texts, views=views, batch_size=4, seed=seed)
    return MixedBatches(plan, shares, images, texts, views=views, seed=seed)


@settings(deadline=None)
@given(shapes, st.integers(1, 4), st.integers(0, 5), st.integers(0, 3))
def test_the_second_of_a_pair_is_another_row_of_the_same_record(
    shape: list[tuple[int, int]], views: int, seed: int, epoch: int
) -> None:
    image_owner, text_owner = (owners(list(counts)) for counts in zip(*shape, strict=True))
    for batch in mixed(shape, PairShares(1, 1, 1), views, seed).epoch(epoch):
        if batch.kind == ACROSS:
            assert batch.second is None
            continue
        assert batch.second is not None
        owner, own = (text_owner, batch.text) if batch.kind == TEXTS else (image_owner, batch.image)
        assert owner[batch.second.row].tolist() == batch.owner.tolist()
        several = np.bincount(owner)[batch.owner] > 1
        assert (batch.second.row != own)[several].all()
        if batch.kind == IMAGES:
            assert batch.second.view.min() >= 0
            assert batch.second.view.max() < views
            same = (batch.second.row == batch.image) & (batch.second.view == batch.view)
            assert views == 1 or not same.any()


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.2, 1.0, 3.0]), min_size=3, max_size=3).filter(any),
    st.integers(1, 30),
    st.integers(0, 9),
)
def test_each_kind_gets_its_share_of_the_batches(weights: list[float], batches: int, seed: int) -> None:
    shares = PairShares(*weights)
    kinds = kinds_of(shares, batches, np.random.default_rng(seed))
    assert len(kinds) == batches
    for kind, weight in zip((ACROSS, TEXTS, IMAGES), weights, strict=True):
        expected = batches * weight / sum(weights)
        assert abs(kinds.count(kind) - expected) < 1 + 1e-9
        if not weight:
            assert kind not in kinds


def test_a_function_of_seed_and_epoch() -> None:
    def first(seed: int, epoch: int) -> list[object]:
        return [
            (b.kind, b.text.tolist(), b.second and b.second.row.tolist())
            for b in mixed([(2, 3)] * 8, PairShares(1, 1, 1), seed=seed).epoch(epoch)
        ]

    assert first(0, 1) == first(0, 1)
    assert first(0, 1) != first(0, 2)
    assert first(0, 1) != first(1, 1)


def test_part_of_a_batch_keeps_its_second_rows() -> None:
    (batch, *_) = mixed([(2, 2)] * 6, PairShares(0, 1, 0)).epoch(0)
    part = batch[1:3]
    assert isinstance(part, BatchRows)
    assert part.kind == TEXTS
    assert part.second is not None
    assert batch.second is not None
    assert part.second.row.tolist() == batch.second.row[1:3].tolist()


@pytest.mark.parametrize("shares", [(0, 0, 0), (1, -0.1, 0)])
def test_shares_that_make_no_sense_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match="at least 0, and one above 0"):
        PairShares(*shares)


def test_without_texts_every_image_comes_once_an_epoch() -> None:
    owner = owners([3, 1, 2, 5])
    order = MixedBatches(
        ImageBatches(owner, views=3, batch_size=4, seed=1), PairShares(0, 0, 1), owner, owner[:0], views=3, seed=1
    )
    batches = list(order.epoch(0))
    assert sorted(np.concatenate([batch.image for batch in batches]).tolist()) == list(range(11))
    for batch in batches:
        assert batch.kind == IMAGES
        assert owner[batch.image].tolist() == owner[batch.second.row].tolist() == batch.owner.tolist()
        assert len(set(batch.owner.tolist())) > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "colour"}, "unknown pairs.by 'colour'; choose from class, record"),
        ({"by": "class"}, "an image is paired with its own text; set pairs.across = 0"),
        ({"relevant_from": -1}, "pairs.relevant_from must be at least 0, found -1"),
    ],
)
def test_pairs_that_make_no_sense(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PairShares(**options)
