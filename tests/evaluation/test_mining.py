import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError, DataError
from diptych.evaluation.mining import MiningSettings, mine

WIDE = MiningSettings(k=99, margin=9, guard=9, text_guard=9)


def at_degrees(*degrees):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def world(records=25, dimension=5, seed=0):
    """One image a record and one to three texts."""
    generator = np.random.default_rng(seed)
    owner = np.repeat(np.arange(records), generator.integers(1, 4, records))
    pictures = normalise(generator.normal(size=(records, dimension)))
    return pictures, normalise(pictures[owner] + generator.normal(size=(len(owner), dimension))), owner


def with_more_images(pictures, seed):
    """One to three images a record."""
    generator = np.random.default_rng(seed)
    image_owner = np.repeat(np.arange(len(pictures)), generator.integers(1, 4, len(pictures)))
    noise = generator.normal(size=(len(image_owner), pictures.shape[1]))
    return normalise(pictures[image_owner] + 0.5 * noise), image_owner


def slow_gap(images, texts, image_owner, owner, record, other):
    """The formula of the module, term by term."""
    own, theirs = texts[owner == record], texts[owner == other]
    mine_, yours = images[image_owner == record], images[image_owner == other]
    to_text = max(max(a @ t for t in theirs) - max(a @ t for t in own) for a in mine_)
    to_image = max(max(b @ t for b in yours) - max(a @ t for a in mine_) for t in own)
    return float(max(to_text, to_image))


def test_gaps_by_hand():
    # Pictures at 0, 30 and 90 degrees, each with a text at the same place.
    places = at_degrees(0, 30, 90)
    found = list(mine(places, places, np.arange(3), WIDE))

    cos = lambda degrees: np.cos(np.radians(degrees))  # noqa: E731
    assert [one.others.tolist() for one in found] == [[1, 2], [0, 2], [1, 0]]
    assert found[0].gaps == pytest.approx([cos(30) - 1, cos(90) - 1], abs=1e-6)
    assert found[1].gaps == pytest.approx([cos(30) - 1, cos(60) - 1], abs=1e-6)


@given(seed=st.integers(0, 9999), block=st.integers(1, 4000), several=st.booleans())
@settings(max_examples=20, deadline=None)
def test_it_is_the_slow_formula_whatever_the_blocks(seed, block, several):
    images, texts, owner = world(12, seed=seed)
    image_owner = np.arange(12)
    if several:
        images, image_owner = with_more_images(images, seed)
    limits = MiningSettings(k=4, margin=0.5, guard=0.4, text_guard=0.9)
    for one in mine(images, texts, owner, limits, image_owner=image_owner, block_scores=block):
        others = [other for other in range(12) if other != one.record]
        gaps = {other: slow_gap(images, texts, image_owner, owner, one.record, other) for other in others}
        own = texts[owner == one.record]
        alike = {other: float((own @ texts[owner == other].T).max()) for other in others}
        kept = [other for other in others if -0.5 <= gaps[other] <= 0.4 and alike[other] < 0.9]
        wanted = sorted(kept, key=lambda other: -gaps[other])[:4]
        assert one.others.tolist() == wanted
        assert one.gaps == pytest.approx([gaps[other] for other in wanted], abs=1e-5)
        hard = [other for other in others if gaps[other] >= -0.5]
        assert one.guarded == len(hard) - len(kept)


def test_the_margin_leaves_out_what_is_easy():
    places = at_degrees(0, 30, 90)
    (first, *_) = mine(places, places, np.arange(3), MiningSettings(margin=0.2, guard=1, text_guard=9))
    assert first.others.tolist() == [1]


def test_what_may_be_right_is_no_negative():
    images = at_degrees(0, 40, 80)
    texts = at_degrees(38, 41, 80)  # picture 1 fits the text of picture 0 better than picture 0 does
    guarded = next(mine(images, texts, np.arange(3), MiningSettings(margin=1, guard=0.1, text_guard=2)))
    free = next(mine(images, texts, np.arange(3), MiningSettings(margin=1, guard=0.5, text_guard=2)))
    assert (guarded.others.tolist(), guarded.guarded) == ([2], 1)
    assert free.others.tolist() == [1, 2]


def test_the_same_text_and_the_same_class_are_no_negatives():
    images = at_degrees(0, 10, 20, 30)
    texts = at_degrees(0, 0, 20, 30)
    first = next(mine(images, texts, np.arange(4), MiningSettings(margin=9, guard=9, text_guard=0.999)))
    assert first.others.tolist() == [2, 3]
    by_class = next(mine(images, images, np.arange(4), WIDE, labels=np.array([7, 8, 7, 9])))
    assert by_class.others.tolist() == [1, 3]


def test_memory_is_bounded_by_the_block():
    generator = np.random.default_rng(0)
    images, texts = (normalise(generator.normal(size=(count, 8))) for count in (1500, 3000))
    owner = np.repeat(np.arange(1500), 2)
    list(mine(images[:2], texts[:4], owner[:4]))  # what is imported at the first call is no memory of a block
    tracemalloc.start()
    total = sum(len(one.others) for one in mine(images, texts, owner, block_scores=120_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total > 0
    assert peak < 6 * 120_000 * 4 + 2_000_000  # the whole text-text matrix alone would be 36 MB


def test_parts_that_do_not_fit_are_refused():
    images, texts, owner = world(4)
    with pytest.raises(DataError, match="every record"):
        next(mine(images, texts, np.zeros_like(owner)))
    with pytest.raises(DataError, match="order"):
        next(mine(images, texts[::-1].copy(), owner[::-1].copy()))
    with pytest.raises(ConfigError, match="k must be"):
        MiningSettings(k=0)
    with pytest.raises(ConfigError, match="margin"):
        MiningSettings(margin=-1)
