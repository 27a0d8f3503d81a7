"""Which rows meet in which batch."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diptych.core.errors import ConfigError
from diptych.training.batch_order import BatchRows, TextBatches

counts = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 6)), min_size=2, max_size=12)


def owners(per_record: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(per_record)), per_record)


def plan(shape: list[tuple[int, int]], **options: object) -> TextBatches:
    images, texts = zip(*shape, strict=True)
    return TextBatches(owners(list(images)), owners(list(texts)), **options)  # type: ignore[arg-type]


def rows(batches: list[BatchRows]) -> list[list[int]]:
    return [np.stack([b.image, b.view, b.text, b.owner]).tolist() for b in batches]


@settings(deadline=None)
@given(
    counts,
    st.integers(1, 8),
    st.integers(2, 20),
    st.integers(0, 5),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.4, 1.0]),
)
def test_every_text_once_with_a_picture_of_its_record(
    shape: list[tuple[int, int]], views: int, batch_size: int, seed: int, epoch: int, plain: float
) -> None:
    made = plan(shape, views=views, batch_size=batch_size, seed=seed, plain=plain)
    batches = list(made.epoch(epoch))
    image_owner = owners([images for images, _ in shape])
    text_owner = owners([texts for _, texts in shape])
    assert len(batches) == made.batches
    assume(not made.left_out)
    assert sorted(text for batch in batches for text in batch.text) == list(range(len(text_owner)))
    for batch in batches:
        assert batch.owner.tolist() == text_owner[batch.text].tolist() == image_owner[batch.image].tolist()
        assert batch.view.min() >= 0
        assert batch.view.max() < views
        if views > 2 and plain == 1.0:
            assert batch.view.max() < 2
        if views > 2 and plain == 0.0:
            assert batch.view.min() >= 2


@settings(deadline=None)
@given(counts, st.integers(2, 12), st.integers(0, 3), st.integers(0, 3))
def test_a_function_of_seed_and_epoch_alone(shape: list[tuple[int, int]], size: int, seed: int, epoch: int) -> None:
    one, other = (plan(shape, batch_size=size, seed=seed, views=4) for _ in range(2))
    list(one.epoch(9))  # what was drawn before does not count
    assert rows(list(one.epoch(epoch))) == rows(list(other.epoch(epoch)))


def test_seeds_and_epochs_differ() -> None:
    shape = [(1, 5)] * 20
    drawn = [rows(list(plan(shape, seed=seed).epoch(epoch))) for seed in range(3) for epoch in range(3)]
    assert len({str(each) for each in drawn}) == 9


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(1, 6), st.integers(2, 30), st.integers(0, 9))
def test_siblings_meet_only_where_two_rounds_touch(records: int, texts: int, batch_size: int, epoch: int) -> None:
    batches = list(plan([(1, texts)] * records, batch_size=batch_size).epoch(epoch))
    order = np.concatenate([batch.owner for batch in batches])
    for each in order.reshape(texts, records):  # a round: every record once
        assert sorted(each) == list(range(records))


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(1, 6), st.integers(2, 30), st.integers(0, 9))
def test_no_batch_is_tiny_or_of_one_record(records: int, texts: int, batch_size: int, epoch: int) -> None:
    batches = list(plan([(1, texts)] * records, batch_size=batch_size).epoch(epoch))
    sizes = [len(batch.owner) for batch in batches]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(3, records * texts)
    assert all(len(set(batch.owner.tolist())) > 1 for batch in batches)


@settings(deadline=None)
@given(counts, st.integers(0, 60), st.integers(2, 12), st.integers(0, 3))
def test_however_unequal_the_records_no_batch_is_of_one_alone(
    shape: list[tuple[int, int]], more: int, batch_size: int, epoch: int
) -> None:
    shape = [*shape, (1, 1 + more)]
    made = plan(shape, batch_size=batch_size)
    batches = list(made.epoch(epoch))
    sizes = [len(batch.owner) for batch in batches]
    assert max(sizes) - min(sizes) <= 1
    assert all(len(set(batch.owner.tolist())) > 1 for batch in batches)
    texts = [text for batch in batches for text in batch.text.tolist()]
    assert len(set(texts)) == len(texts) == sum(texts for _, texts in shape) - made.left_out


def test_one_record_with_nearly_all_texts_by_hand() -> None:
    made = plan([(1, 1)] * 3 + [(1, 1000)], batch_size=5)
    # each batch of 5 has one of the 3 others: 3 batches, with 4 of the 1,000 texts each
    assert (made.batches, made.left_out) == (3, 1000 - 12)
    seen = set()
    for epoch in range(300):
        batches = list(made.epoch(epoch))
        assert [sorted(batch.owner.tolist())[1:] for batch in batches] == [[3] * 4] * 3
        seen.update(text for batch in batches for text in batch.text.tolist())
    assert len(seen) > 900  # other ones in each epoch


def test_a_record_with_many_texts_is_spread_over_the_epoch() -> None:
    shape = [(1, 1)] * 90 + [(1, 30)]
    for epoch in range(5):
        owner = [batch.owner.tolist() for batch in plan(shape, batch_size=12).epoch(epoch)]
        assert all(1 <= each.count(90) <= 6 for each in owner)  # 3 on average, of 12


def test_batches_are_evened_out() -> None:
    assert [len(batch.text) for batch in plan([(1, 1)] * 1010, batch_size=1000).epoch(0)] == [1010]
    assert [len(batch.text) for batch in plan([(1, 5)] * 7, batch_size=10).epoch(0)] == [9, 9, 9, 8]


def test_pictures_and_views_are_all_used() -> None:
    made = plan([(3, 5)] * 40, views=6, plain=0.4, batch_size=50)
    seen = [batch for epoch in range(20) for batch in made.epoch(epoch)]
    pictures = Counter(image for batch in seen for image in batch.image.tolist())
    assert len(pictures) == 120
    views = Counter(view for batch in seen for view in batch.view.tolist())
    assert views[0] + views[1] == pytest.approx(0.4 * 4000, abs=150)
    assert all(views[view] == pytest.approx(0.15 * 4000, abs=120) for view in range(2, 6))


def twin(image_owner: np.ndarray, text_owner: np.ndarray, views: int, size: int, seed: int, plain: float, epoch: int):  # type: ignore[no-untyped-def]
    """The plan, slowly and obviously, from the same draws."""
    draw = np.random.default_rng((seed, epoch))
    shuffled, jitter = draw.permutation(len(text_owner)), draw.random(len(text_owner))
    place = {}
    for record in set(text_owner.tolist()):
        siblings = [text for text in shuffled.tolist() if text_owner[text] == record]
        for rank, text in enumerate(siblings):
            place[text] = (rank + jitter[text]) / len(siblings)
    order = sorted(place, key=lambda text: place[text])
    batches = max(1, min(round(len(order) / size), len(order) // 3))
    small, extra = divmod(len(order), batches)
    for number in range(batches):
        here = [order.pop(0) for _ in range(small + (number < extra))]
        owner = [int(text_owner[text]) for text in here]
        own = [np.flatnonzero(image_owner == record) for record in owner]
        picked = draw.integers(0, [len(images) for images in own])
        image = [int(images[k]) for images, k in zip(own, picked, strict=True)]
        view = draw.integers(0, min(2, views), len(here))
        if views > 2:
            crop = draw.random(len(here)) >= plain
            view = np.where(crop, draw.integers(2, views, len(here)), view)
        yield [image, view.tolist(), here, owner]


@settings(deadline=None)
@given(counts, st.integers(1, 5), st.integers(2, 9), st.integers(0, 3), st.floats(0, 1), st.integers(0, 3))
def test_the_slow_twin(
    shape: list[tuple[int, int]], views: int, size: int, seed: int, plain: float, epoch: int
) -> None:
    images, texts = (owners([each[side] for each in shape]) for side in (0, 1))
    made = TextBatches(images, texts, views=views, batch_size=size, seed=seed, plain=plain)
    assume(
        not made.left_out
        and not any(len(set(owner)) < 2 for *_, owner in twin(images, texts, views, size, seed, plain, epoch))
    )
    assert rows(list(made.epoch(epoch))) == list(twin(images, texts, views, size, seed, plain, epoch))


def test_what_cannot_be_trained_on() -> None:
    with pytest.raises(ConfigError, match="at least 2 records, found 1"):
        plan([(1, 5)])
    with pytest.raises(ConfigError, match="batch_size must be at least 2, found 1"):
        plan([(1, 1)] * 5, batch_size=1)


def test_only_what_is_dealt_is_dealt_and_each_may_give_way() -> None:
    image_owner, text_owner = np.arange(4), np.repeat(np.arange(4), 3)
    originals = np.array([0, 1, 3, 6, 7, 9])

    def swap(rows: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        return np.where(draw.random(len(rows)) < 0.5, 3 * (rows // 3) + 2, rows)  # the third text of a record

    plan = TextBatches(image_owner, text_owner, batch_size=3, shown=originals)
    assert sorted(np.concatenate([rows.text for rows in plan.epoch(0)]).tolist()) == originals.tolist()
    swapping = TextBatches(image_owner, text_owner, batch_size=3, shown=originals, substitute=swap)
    first, again = ([rows.text.tolist() for rows in swapping.epoch(3)] for _ in range(2))
    assert first == again
    shown = [row for _ in range(3) for rows in swapping.epoch(_) for row in rows.text.tolist()]
    assert {row % 3 for row in shown} >= {0, 2}
    for rows in swapping.epoch(1):
        assert (text_owner[rows.text] == rows.owner).all()
        assert (image_owner[rows.image] == rows.owner).all()
